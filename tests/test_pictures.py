"""The figures beyond the table's: what they hold, and that a browser draws them."""

from __future__ import annotations

import math
import random
import time

import pandas as pd
import pytest
from dask import delayed

import daskkit as dk
from daskkit.accounts import PARTS, Ledger, Point, Stamp, Trace
from daskkit.comparison.laws import fit_law, fit_laws, speedup
from daskkit.comparison.ledger import make_ledger
from daskkit.comparison.pictures import KINDS
from daskkit.errors import ArgumentError, DaskkitError
from daskkit.graphs.outline import outline
from daskkit.pages import browser as browser_module
from daskkit.pages import theme
from daskkit.pages.categories import plot_categories
from daskkit.pages.coordinates import plot_coordinates
from daskkit.pages.figures import plot_speedups, plot_wall_times
from daskkit.pages.graph import plot_graph
from daskkit.pages.ledgers import plot_ledgers, plot_timeline
from daskkit.pages.picture import Picture
from daskkit.pages.scalings import plot_scaling
from tests.browser import missing_browser, severe_messages
from tests.made import make_comparison, make_run, make_trace

HOSTILE = "<script>alert('x')</script>&\"$$\\alpha$$"
TIMES = {n: [1 / speedup("usl", n, 0.05, 0.002)] * 5 for n in (1, 2, 4, 8)}
POINTS = [
    Point(n, t[0] ** -1, t[0] ** -1 * 0.9, t[0] ** -1 * 1.1) for n, t in TIMES.items()
]


def columns(plot, name):
    return dict(plot.select_one({"name": name}).data_source.data)


def make_table(n):
    """Return a sweep of so many runs, some of which failed."""
    rng = random.Random(n)
    statuses = ["failed" if k % 7 == 3 else "ok" for k in range(n)]
    return {
        "workload": [rng.choice(["pi", "words", HOSTILE]) for _ in range(n)],
        "backend": [rng.choice(["daskkit", "dask-bag", "threads"]) for _ in range(n)],
        "workers": [rng.choice([1, 2, 4]) for _ in range(n)],
        "status": statuses,
        "wall_s": [math.nan if s == "failed" else rng.random() for s in statuses],
    }


def make_rows(n):
    """Return summaries and runs of so many back ends; of many, some have failed."""
    runs = [
        make_run(f"{k} {HOSTILE}", status="failed", error="no", walls=())
        if k % 7 == 3
        else make_run(
            f"{k} {HOSTILE}", walls=[1.0 + 0.001 * k + 0.01 * j for j in range(5)]
        )
        for k in range(n)
    ]
    comparison = make_comparison(*runs)
    return comparison.summaries[1:], comparison.runs[1:]


# Theme


def test_no_colour_is_swapped_twice():
    """No colour for light ground is one for dark ground."""
    lights, darks = zip(*theme.PALETTE.values(), strict=True)
    assert not set(lights) & set(darks)


def test_parts_differ_in_grey():
    """Each part of a ledger has a hatch of its own; each series a dash with a marker."""
    assert set(theme.PART_LOOKS) == set(PARTS)
    assert len({pattern for _, pattern in theme.PART_LOOKS.values()}) == len(PARTS)
    assert len({look[2] for look in theme.SERIES}) == len(theme.SERIES)


# Ledgers


def test_ledgers_are_stacked_bars():
    """A bar's parts follow one another without a gap, up to workers x wall."""
    ledgers = {"a": make_ledger(make_trace()), "b": Ledger(1, 1.0, compute_s=1.0)}
    plot = plot_ledgers(ledgers)
    at = {0.0: 0.0, 1.0: 0.0}
    for part in PARTS:
        data = columns(plot, part)
        for y, left, right in zip(data["y"], data["left"], data["right"], strict=True):
            assert left == pytest.approx(at[y])
            at[y] = right
    assert list(at.values()) == pytest.approx([v.whole_s for v in ledgers.values()])
    assert plot.xaxis[0].axis_label == "Workers x wall time (core-seconds)"


def test_parts_of_nothing_are_left_out():
    """A part that took no time has no bar that the mouse could find, and no name."""
    plot = plot_ledgers({"b": Ledger(1, 1.0, compute_s=1.0)})
    assert [item.label.value for item in plot.legend[0].items] == ["compute (CPU)"]
    assert columns(plot, "compute_s")["share"] == ["100.0 %"]
    assert columns(plot, "tail_s")["y"] == []


# Timeline


def test_timeline_has_a_box_a_batch():
    """Each batch is a box on its worker's line, with its items for the mouse."""
    plot = plot_timeline(make_trace(2, 4))
    data = columns(plot, "batch")
    assert data["items"] == ["0 to 4", "5 to 9", "10 to 14", "15 to 19"]
    assert data["top"] == pytest.approx([-0.38, 0.62, -0.38, 0.62])
    assert data["start"] == pytest.approx([0.05, 0.05, 0.17, 0.17])
    assert plot.xaxis[0].axis_label == "Time since the call began (s)"


def test_boxes_are_filled_by_their_cpu_time():
    """A batch that waited half of its time is filled to the half."""
    plot = plot_timeline(Trace(1, 1.0, (Stamp("a", 0.0, 1.0, 0.5, 7, 1),)))
    data = columns(plot, "batch")
    assert data["level"] == [pytest.approx(0.0)]
    assert data["items"] == ["7"]


def test_idle_workers_have_a_line():
    """A worker that got nothing to do is seen."""
    plot = plot_timeline(Trace(3, 1.0, (Stamp("a", 0.0, 1.0, 0.5, 0, 1),)))
    texts = [text.text for text in plot.yaxis[0].major_label_overrides.values()]
    assert texts == ["a", "(idle)", "(idle)"]


# Scaling


def test_scaling_shows_measurements_ideal_and_laws():
    """Points with intervals, a line to the same number of workers, each law's curve."""
    laws = fit_laws(TIMES)
    plot = plot_scaling(POINTS, laws, n_cores=4)
    assert columns(plot, "measured")["x"] == [1, 2, 4, 8]
    assert len(columns(plot, "interval")["x0"]) == 4
    ideal = columns(plot, "ideal")
    assert list(ideal["x"]) == list(ideal["y"])
    for law in laws:
        assert columns(plot, law.name)["x"][-1] == law.limit
    assert columns(plot, "cores")["x"] == [4]
    labels = (plot.xaxis[0].axis_label, plot.yaxis[0].axis_label)
    assert labels == ("Workers (number)", "Speed-up over one worker (ratio)")


def test_cores_out_of_sight_are_not_drawn():
    """A machine with more cores than were measured needs no line."""
    assert plot_scaling(POINTS, n_cores=64).select_one({"name": "cores"}) is None


def test_weak_scaling_is_drawn_with_its_law():
    """Gustafson's law has a curve as the others have."""
    times = {n: [1 / speedup("gustafson", n, 0.1, 0.0)] * 5 for n in (1, 2, 4)}
    plot = plot_scaling(POINTS, [fit_law("gustafson", times)])
    assert columns(plot, "gustafson")["y"][0] == pytest.approx(1.0)


# Parallel coordinates and categories


def test_coordinates_draw_every_row():
    """Each row is a line through all axes; a missing value lies below its axis."""
    table = make_table(20)
    plot = plot_coordinates(table, color="backend", labels={"wall_s": "wall time (s)"})
    data = columns(plot, "row")
    assert len(data["ys"]) == 20
    failed = [k for k, status in enumerate(table["status"]) if status == "failed"]
    assert {data["ys"][k][4] for k in failed} == {-0.1}
    assert all(math.isfinite(y) for ys in data["ys"] for y in ys)
    heading = plot.select_one({"name": "heading"}).source.data["text"]
    assert heading[-1] == "wall time (s)"


def test_coordinates_take_a_frame():
    """A DataFrame is drawn as its columns are."""
    frame = pd.DataFrame({"n": [1, 2, 4], "t": [4.0, 2.0, 1.0], "b": ["x", "y", "x"]})
    assert columns(plot_coordinates(frame), "row") == columns(
        plot_coordinates({name: list(frame[name]) for name in frame}), "row"
    )


def test_few_numbers_are_all_ticks_and_many_are_not():
    """1, 2 and 4 workers are ticks themselves; many wall times have five round ones."""
    plot = plot_coordinates({"n": [4, 1, 2, 4], "t": [1.0, 2.0, 3.0, 500.0]})
    texts = plot.select_one({"name": "tick"}).source.data["text"]
    assert texts == ["1", "2", "4", "1", "2", "3", "500"]
    many = plot_coordinates({"t": [float(k) for k in range(101)]})
    texts = many.select_one({"name": "tick"}).source.data["text"]
    assert texts == ["0", "25", "50", "75", "100"]


def test_ribbons_are_as_wide_as_they_have_rows():
    """Between two axes, the ribbons of all rows fill what the gaps leave."""
    table = make_table(30)
    plot = plot_categories(
        table, dimensions=["backend", "workers", "status"], color="status"
    )
    data = columns(plot, "ribbon")
    rows = [int(text) for text in data["rows"]]
    assert sum(rows) == 2 * 30
    for ys, n in zip(data["ys"], rows, strict=True):
        width = ys[-1] - ys[0]
        assert 0.8 * n / 30 <= width <= n / 30
    assert len(set(data["hatch"])) == 2


def test_categories_of_numbers_are_in_order():
    """Workers stand in the order of their number, not of their appearance."""
    plot = plot_categories({"n": [8, 1, 2], "b": ["x", "y", "z"]})
    assert columns(plot, "category")["text"] == ["1", "2", "8", "x", "y", "z"]


@pytest.mark.parametrize("plot", [plot_coordinates, plot_categories])
@pytest.mark.parametrize("options", [{"dimensions": ["nope"]}, {"color": "nope"}])
def test_unknown_columns_are_refused(plot, options):
    """A column that isn't there is named, with those that are."""
    with pytest.raises(ArgumentError, match="no column 'nope'; there are: workload"):
        plot(make_table(3), **options)


# Graph


def test_graph_of_a_lazy_workload():
    """Its tasks stand right of what they wait for, kinds apart."""
    work = dk.Workload("squares", lambda x: x * x, range(40), combine=sum)
    tasks = outline(dk.build_delayed(work))
    plot = plot_graph(tasks)
    data = columns(plot, "task")
    assert len(data["x"]) == len(tasks)
    at = dict(zip(data["name"], data["x"], strict=True))
    assert all(at[b] < at[a] for a, before in tasks.items() for b in before)
    assert len(columns(plot, "edge")["x0"]) == sum(map(len, tasks.values()))
    assert set(data["kind"]) == {"squares-map", "squares-combine"}


def test_very_long_chains_are_drawn():
    """A chain longer than Python's recursion limit has as many steps."""
    tasks = {f"t {k}": [f"t {k - 1}"] if k else [] for k in range(1_500)}
    assert max(columns(plot_graph(tasks), "task")["x"]) == 1_499


def test_huge_graphs_are_cut_and_say_so():
    """Of more than 2,000 tasks the first are drawn, under a title that says so."""
    plot = plot_graph({f"t {k}": [] for k in range(3_000)})
    assert len(columns(plot, "task")["x"]) == 2_000
    titles = {getattr(item, "text", "") for item in plot.above}
    assert titles == {"The first 2,000 of 3,000 tasks, by steps"}


def test_outline_takes_lazy_collections_only():
    """Anything else is refused by its type."""
    assert len(outline(delayed(abs)(1))) == 1
    with pytest.raises(ArgumentError, match="such as a Bag or a Delayed, received int"):
        outline(7)


# Pictures


def test_picture_shows_itself_in_a_frame():
    """In a notebook it is a frame of its own, with nothing that could leave it."""
    picture = Picture(HOSTILE, plot_ledgers({HOSTILE: Ledger(1, 1.0, compute_s=1.0)}))
    text = picture._repr_html_()
    assert text.startswith("<iframe srcdoc=")
    assert "<script" not in text
    assert "default-src &#x27;none&#x27;" in text


def test_picture_is_saved_as_a_page(tmp_path):
    """A page with everything inside it."""
    picture = Picture("Ledgers", plot_ledgers({}))
    text = picture.save(tmp_path / "x.html").read_text()
    assert "<title>Ledgers</title>" in text


def test_picture_refuses_other_endings(tmp_path):
    """The endings that are allowed are named."""
    with pytest.raises(DaskkitError, match=r"'x\.svg': the name must end in \.html or"):
        Picture("Ledgers", plot_ledgers({})).save(tmp_path / "x.svg")


def test_image_without_a_browser_says_what_to_do(tmp_path, monkeypatch):
    """Without Chromium the error names what was looked for, and the other way."""
    monkeypatch.setattr(browser_module.shutil, "which", lambda _: None)
    with pytest.raises(DaskkitError, match=r"install Chromium, or save an \.html file"):
        Picture("Ledgers", plot_ledgers({})).save(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_browser_that_fails_is_quoted(tmp_path, monkeypatch):
    """A browser that gives no image ends in an error with its last words."""
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho starting >&2\necho no display >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DaskkitError, match="gave no image: no display"):
        browser_module.take_screenshot("<p>", (100, 100))


def test_browser_that_hangs_is_ended(tmp_path, monkeypatch):
    """A browser that doesn't end is killed, with all that it has started."""
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nsleep 600 &\nsleep 600\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(browser_module, "_LIMIT_S", 0.5)
    with pytest.raises(DaskkitError, match="gave no image within"):
        browser_module.take_screenshot("<p>", (100, 100))


# Browser


FIGURES = {
    "wall_times": lambda n: plot_wall_times(*make_rows(n)),
    "speedups": lambda n: plot_speedups(make_rows(n)[0], 2),
    "ledgers": lambda n: plot_ledgers(
        {f"{k} {HOSTILE}": make_ledger(make_trace()) for k in range(n)}
    ),
    "timeline": lambda n: plot_timeline(make_trace(2, n)),
    "scaling": lambda n: plot_scaling(POINTS[:n], fit_laws(TIMES) if n > 1 else ()),
    "coordinates": lambda n: plot_coordinates(make_table(n), color="workload"),
    "categories": lambda n: plot_categories(
        make_table(n), dimensions=["workload", "workers", "status"], color="backend"
    ),
    "graph": lambda n: plot_graph(
        {f"{HOSTILE} {k}": [f"{HOSTILE} {k - 1}"] if k else [] for k in range(n)}
    ),
}
# The renderer whose glyphs are counted and pointed at.
MARKS = {
    "wall_times": "row",
    "speedups": "row",
    "ledgers": "compute_s",
    "timeline": "batch",
    "scaling": "measured",
    "coordinates": "row",
    "categories": "ribbon",
    "graph": "task",
}


def wait_for(driver, script, *arguments):
    """Wait until a script returns something true, and return it."""
    deadline = time.monotonic() + 30
    while not (answer := driver.execute_script(script, *arguments)):
        assert time.monotonic() < deadline, script
        time.sleep(0.05)
    return answer


def open_figure(driver, path):
    """Open a page and wait until its figure is drawn."""
    driver.get(path.as_uri())
    wait_for(
        driver,
        "return window.Bokeh !== undefined && Bokeh.documents.length === 1"
        " && Bokeh.documents[0].is_idle",
    )


# Where on the page a point of the data is.
_LOCATE = """
const [name, x, y] = arguments
const renderer = Bokeh.documents[0].get_model_by_name(name)
const view = [...Bokeh.index.query((view) => view.model === renderer)][0]
const box = view.parent.canvas_view.el.getBoundingClientRect()
const {x_scale, y_scale} = view.coordinates
return [box.left + x_scale.compute(x), box.top + y_scale.compute(y)]
"""
_IS_FOUND = """
const renderer = Bokeh.documents[0].get_model_by_name(arguments[0])
return !renderer.data_source.inspected.is_empty()
"""


def find_point(plot, name):
    """Return a point of the first glyph of a figure, in the units of its axes."""
    data = columns(plot, name)
    if "xs" in data:
        xs, ys = data["xs"][0], data["ys"][0]
        # Of a ribbon the middle, of a line its first corner.
        return (sum(xs) / len(xs), sum(ys) / len(ys)) if len(xs) > 9 else (xs[0], ys[0])
    if "x" in data:
        return data["x"][0], data["y"][0]
    if not {"left", "start"} & set(data):  # bars from edge to edge
        return (plot.x_range.start + plot.x_range.end) / 2, data["y"][0]
    left = data.get("left", data.get("start"))[0]
    right = data.get("right", data.get("end"))[0]
    y = data["y"][0] if "y" in data else (data["top"][0] + data["bottom"][0]) / 2
    return (left + right) / 2, y


@pytest.mark.browser
@pytest.mark.parametrize("name", FIGURES)
def test_browser_draws_it(driver, tmp_path, name):
    """No run, one run, 500 runs, failed ones too: no error; the mouse finds what is there."""
    for n in (0, 1, 500):
        plot = FIGURES[name](n)
        mark = MARKS[name]
        n_marks = len(next(iter(columns(plot, mark).values())))
        open_figure(driver, Picture(name, plot).save(tmp_path / "x.html"))
        assert severe_messages(driver) == []
        count = (
            f"return Bokeh.documents[0].get_model_by_name('{mark}')"
            ".data_source.get_length() ?? 0"
        )
        assert driver.execute_script(count) == n_marks
        if n_marks:
            x, y = driver.execute_script(_LOCATE, mark, *find_point(plot, mark))
            move = {"type": "mouseMoved", "x": x, "y": y}
            driver.execute_cdp_cmd("Input.dispatchMouseEvent", move)
            wait_for(driver, _IS_FOUND, mark)
            assert severe_messages(driver) == []


@pytest.mark.browser
def test_picture_is_saved_as_an_image(tmp_path):
    """An image of the size asked for, and nothing of the browser is left."""
    reason = missing_browser()
    if reason:
        pytest.skip(reason)
    picture = Picture("Timeline", plot_timeline(make_trace()))
    image = picture.save(tmp_path / "x.png", width=640).read_bytes()
    assert image.startswith(b"\x89PNG")
    size = int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")
    assert size == (640, picture.height_px)


def make_full_comparison():
    """Return a comparison of which there is everything that a figure shows."""
    return make_comparison(
        make_run("threads", trace=make_trace()),
        make_run("broken", status="failed", error="no", walls=()),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_picture_can_be_had(kind):
    """A comparison draws each kind by its name, a failed row among the others."""
    picture = make_full_comparison().plot(kind)
    assert picture.height_px > 0
    assert picture._repr_html_().startswith("<iframe srcdoc=")


def test_unknown_kinds_are_refused():
    """The kinds that there are are named."""
    with pytest.raises(DaskkitError, match="no picture 'pie'; there are: wall_times"):
        make_full_comparison().plot("pie")


@pytest.mark.slow
@pytest.mark.browser
def test_each_kind_is_saved_as_an_image(tmp_path):
    """PNG export works for each kind, at the size of the figure."""
    reason = missing_browser()
    if reason:
        pytest.skip(reason)
    for kind in KINDS:
        picture = make_full_comparison().plot(kind)
        image = picture.save(tmp_path / f"{kind}.png", width=500).read_bytes()
        assert image.startswith(b"\x89PNG")
        assert int.from_bytes(image[16:20], "big") == 500
        assert int.from_bytes(image[20:24], "big") == picture.height_px
