"""The report: what its figures hold, what its page says, how it is written."""

import contextlib
import dataclasses
import itertools
import math
import os
import re
import stat
import subprocess
import sys
import time

import pytest

from daskkit.accounts import Ledger, Point
from daskkit.errors import DaskkitError
from daskkit.pages import figures, theme
from daskkit.pages.page import format_fragment, format_page, save_page
from daskkit.pages.section import Section
from daskkit.records import Host, Repeat, Run, Summary
from tests.browser import resize, severe_messages

NAN = math.nan
HOSTILE = "<script>alert('x')</script>&\"$$\\alpha$$"
HOST = Host(
    cores_usable=2,
    cores_present=8,
    memory_bytes=24 * 2**30,
    memory_kind="PSS",
    load=0.31,
    platform="Linux x86_64",
    versions={"python": "3.11.7", "dask": "2026.8.0"},
)


def make_row(backend, median=1.0, *, loop=1.0, workers=2, spread=0.1, **changes):
    row = Summary(
        backend=backend,
        workers=workers,
        setting="8 tasks",
        status="ok",
        cold_s=2 * median,
        median_s=median,
        low_s=median * (1 - spread),
        high_s=median * (1 + spread),
        speedup=loop / median,
        speedup_low=loop / median * (1 - spread),
        speedup_high=loop / median * (1 + spread),
        efficiency=loop / median / workers,
        cpu_s=median,
        peak_memory_bytes=3 * 2**20,
        error=None,
    )
    return dataclasses.replace(row, **changes)


def make_failure(backend, status="failed", error="ValueError: no"):
    return Summary(backend, 2, "", status, *[NAN] * 10, error)


def make_run(row, n=3):
    repeats = tuple(Repeat(k, row.median_s * (1 + k / 100), 1.0) for k in range(n))
    return Run(row.backend, row.backend, row.workers, "8 tasks", row.status,
               repeats=repeats)  # fmt: skip


def make_section(*rows, name="squares", n_workers=2, n=3, **changes):
    section = Section(
        workload=name,
        n_items=100,
        n_workers=n_workers,
        n_rounds=n,
        created="2026-03-01T09:05:07+00:00",
        verdict=("dask-bag is twice as fast as the plain loop.",),
        summaries=rows,
        runs=tuple(make_run(row, n) for row in rows),
        host=HOST,
    )
    return dataclasses.replace(section, **changes)


SERIAL = make_row("serial", workers=1)
BAG = make_row("dask-bag", 0.5)
TYPICAL = make_section(SERIAL, BAG, make_failure("mpire"))


def columns(plot, name):
    return dict(plot.select_one({"name": name}).data_source.data)


def labels(axis):
    """Return the texts at an axis's rows, from top to bottom."""
    return [axis.major_label_overrides[at].text for at in axis.ticker.ticks]


# Figures


def test_wall_times_hold_medians_intervals_and_repeats():
    """Each "ok" row has its median, its interval and all its single repeats."""
    plot = figures.plot_wall_times(TYPICAL.summaries, TYPICAL.runs)
    assert columns(plot, "median")["middle"] == [1.0, 0.5]
    assert columns(plot, "interval")["low"] == pytest.approx([0.9, 0.45])
    assert columns(plot, "interval")["high"] == pytest.approx([1.1, 0.55])
    walls = [wall for run in TYPICAL.runs[:2] for wall in run.walls]
    assert columns(plot, "repeat")["x"] == walls


def test_speedups_hold_ratios_and_intervals():
    """Each "ok" row has its speed-up with its interval, tied to the loop's line."""
    plot = figures.plot_speedups(TYPICAL.summaries, n_workers=2)
    assert columns(plot, "median")["middle"] == [1.0, 2.0]
    assert columns(plot, "interval")["high"] == pytest.approx([1.1, 2.2])
    assert plot.select_one({"name": "stem"}).glyph.x0 == 1.0


def test_axes_have_labels_with_units():
    """The x axes say what they show and in which unit."""
    walls = figures.plot_wall_times(TYPICAL.summaries, TYPICAL.runs)
    speedups = figures.plot_speedups(TYPICAL.summaries, n_workers=2)
    assert walls.xaxis[0].axis_label == "Wall time (s)"
    assert speedups.xaxis[0].axis_label == "Speed-up over the plain loop (ratio)"


@pytest.mark.parametrize(("n_workers", "expected"), [(1, [1.0]), (4, [1.0, 4.0])])
def test_speedups_have_the_lines_of_loop_and_ideal(n_workers, expected):
    """A line at 1 and one at n_workers, inside the axis; one line where they meet."""
    from bokeh.models import Span

    plot = figures.plot_speedups([SERIAL, BAG], n_workers)
    spans = plot.select({"type": Span})
    assert sorted(span.location for span in spans) == expected
    assert plot.x_range.start <= 1.0 <= n_workers <= plot.x_range.end


def test_rows_keep_their_order_from_top_to_bottom():
    """Rows, failed ones included, are where the table has them: y runs down."""
    rows = [BAG, make_failure("mpire"), SERIAL]
    plot = figures.plot_wall_times(rows)
    assert plot.y_range.start > plot.y_range.end
    assert labels(plot.yaxis[0]) == ["dask-bag", "mpire", "serial"]
    assert columns(plot, "median")["y"] == [0.0, 2.0]


@pytest.mark.parametrize("status", ["failed", "wrong", "unavailable"])
def test_rows_that_are_not_ok_stay_empty_and_say_so(status):
    """A row without figures has its status where the others have their value."""
    plot = figures.plot_wall_times([SERIAL, make_failure("ray", status)])
    assert labels(plot.yaxis[1]) == ["1.00 s", status]
    assert columns(plot, "median")["y"] == [0.0]


def test_no_record_gives_an_empty_figure():
    """Without rows the figures have axes and nothing in them."""
    for plot in (figures.plot_wall_times([]), figures.plot_speedups([], n_workers=1)):
        assert columns(plot, "median")["middle"] == []
        assert plot.xaxis[0].axis_label


def test_one_row_with_one_repeat_has_no_interval():
    """A single repeat is drawn as ring and median, without an interval."""
    row = make_row("dask-bag", low_s=NAN, high_s=NAN, speedup_low=NAN, speedup_high=NAN)
    plot = figures.plot_wall_times([row], [make_run(row, n=1)])
    assert columns(plot, "interval")["y"] == []
    assert columns(plot, "repeat")["x"] == columns(plot, "median")["middle"] == [1.0]
    assert columns(plot, "row")["interval"] == ["none"]


@pytest.mark.parametrize(
    ("medians", "is_log"),
    [((1.0, 2.0), False), ((0.001, 100.0), True), ((0.0,), False)],
)
def test_axis_is_logarithmic_only_where_the_range_demands_it(medians, is_log):
    """More than twentyfold differences get a logarithmic axis; a zero never does."""
    from bokeh.models import LogScale

    rows = [
        make_row(f"b{k}", median_s=m, low_s=m, high_s=m) for k, m in enumerate(medians)
    ]
    plot = figures.plot_wall_times(rows)
    assert isinstance(plot.x_scale, LogScale) is is_log
    assert 2 <= len(plot.xaxis[0].ticker.ticks) <= 7


@pytest.mark.parametrize("exponent", range(-6, 7))
@pytest.mark.parametrize("digits", [1.0, 2.3, 4.9, 6.0, 9.9])
def test_ticks_are_few_round_and_inside(exponent, digits):
    """At any magnitude an axis has two to seven labels, round and within its range."""
    high = digits * 10.0**exponent
    axes = {0.0: figures._linear_ticks(high)}
    for quotient in (20.1, 300.0, 1e5, 1e9):
        low = high / quotient
        axes[low / 1.3] = figures._log_ticks(low, high)
    for start, ticks in axes.items():
        assert 2 <= len(ticks) <= 7
        assert start <= ticks[0] < ticks[-1] <= 1.3 * high
        assert all(float(f"{tick:g}") == tick for tick in ticks)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (SERIAL, "loop"),
        (make_row("a", speedup_low=1.01, speedup_high=1.2), "faster"),
        (make_row("b", speedup_low=0.99, speedup_high=1.2), "level"),
        (make_row("c", speedup_low=0.8, speedup_high=0.99), "slower"),
        (make_row("d", 0.1, speedup_low=NAN, speedup_high=NAN), "level"),
    ],
)
def test_marks_say_what_the_interval_says(row, expected):
    """A side of 1 only where the whole interval is; shapes tell it without colours."""
    assert figures.name_look(row, SERIAL) == expected
    shapes = {(look.marker, look.filled) for look in figures.LOOKS.values()}
    assert len(shapes) == len(figures.LOOKS)


def test_long_names_are_cut_in_figures():
    """A very long name doesn't push the figure aside; its tool tip has all of it."""
    row = make_row("x" * 200)
    plot = figures.plot_wall_times([row])
    assert len(labels(plot.yaxis[0])[0]) == 24
    assert columns(plot, "row")["backend"] == ["x" * 200]


def test_figures_pass_bokeh_validation(caplog):
    """Bokeh finds no fault: no missing column, nothing that can't be serialised."""
    format_page([TYPICAL])
    assert caplog.text == ""


# Page


def test_page_shows_table_host_and_method():
    """Verdict, every row, the machine and the method are on the page."""
    page = format_page([TYPICAL])
    for text in (
        "dask-bag is twice as fast as the plain loop.",
        "ValueError: no",
        "8 tasks",
        "500 ms",
        "450\N{EN DASH}550 ms",
        "3.00 MiB",
        "2 usable of 8",
        "dask&nbsp;2026.8.0",
        "100 items",
        "2026-03-01 09:05 UTC",
        "bootstrap",
    ):
        assert text in page


@pytest.mark.parametrize(("n", "n_labels"), [(4, 0), (5, 2)])
def test_ninety_five_percent_is_said_only_where_it_holds(n, n_labels):
    """Intervals are called 95 % intervals from 5 rounds on, and not before."""
    section = make_section(SERIAL, BAG, n=n, verdict=())
    label = "95\N{NO-BREAK SPACE}% interval"
    page = format_page([section])
    assert page.count(f"<small>{label}</small>") == n_labels
    assert page.count(f"Bar: its {label}") == n_labels
    assert ("none can reach 95&nbsp;%" in page) is (n < 5)
    fragment = format_fragment(section)
    assert fragment.count(label) == n_labels


def test_headings_descend_one_level_at_a_time():
    """One h1, an h2 for each comparison and one for all, h3 below; labels are set."""
    page = format_page([TYPICAL, TYPICAL], title="Mine")
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels.count(1) == 1
    assert levels.count(2) == 3
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert '<html lang="en">' in page
    assert page.count('role="img" aria-label=') == 6


def test_texts_from_users_are_escaped():
    """No name, setting, error, verdict or title becomes markup or a script."""
    row = make_row(HOSTILE)
    section = make_section(
        SERIAL, row, make_failure(HOSTILE + "2", error=HOSTILE), name=HOSTILE,
        verdict=(HOSTILE,), created=HOSTILE,
        host=dataclasses.replace(HOST, platform=HOSTILE, versions={HOSTILE: HOSTILE}),
    )  # fmt: skip
    for text in (
        format_page([section, section], title=HOSTILE),
        format_fragment(section),
    ):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


def test_page_loads_nothing():
    """The browser is forbidden to load, and no element asks it to."""
    page = format_page([TYPICAL])
    assert "default-src 'none'" in page
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#)""", markup)
    assert "http" not in markup.replace("http-equiv", "")
    assert not re.search(r"<script[^>]*\ssrc", page)


def test_numbers_that_are_missing_show_as_a_dash():
    """NaN is never printed: not measured is "-", and no interval is nothing."""
    row = make_row("dask-bag", cpu_s=NAN, peak_memory_bytes=NAN, low_s=NAN, high_s=NAN)
    section = make_section(row, host=dataclasses.replace(HOST, load=NAN))
    for text in (format_page([section]), format_fragment(section)):
        markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        assert not re.search(r"\bnan\b", markup, flags=re.IGNORECASE)
    assert '<td class="n">-</td>' in format_page([section])


@pytest.mark.parametrize(
    "sections", [[], [make_section()], [make_section(make_failure("a"))]]
)
def test_nothing_to_draw_gives_a_small_page_without_scripts(sections):
    """Without an "ok" row the page says so and carries no script."""
    page = format_page(sections)
    assert "<script" not in page
    assert len(page) < 20_000
    assert "Nothing was compared" in page or "No back end finished" in page


def test_without_the_loop_there_is_no_figure_of_speedups():
    """If the loop failed, wall times are drawn and speed-ups are not."""
    row = make_row("dask-bag", speedup=NAN, speedup_low=NAN, speedup_high=NAN)
    page = format_page([make_section(make_failure("serial"), row)])
    assert 'id="c1-walls"' in page
    assert 'id="c1-speedups"' not in page


def test_several_sections_share_one_copy_of_the_script():
    """Each comparison has its own anchors; the script is inside only once."""
    one = format_page([TYPICAL])
    names = ("squares", "cubes", "roots")
    three = format_page([dataclasses.replace(TYPICAL, workload=name) for name in names])
    assert len(three) < 1.2 * len(one)
    for n, name in enumerate(names, start=1):
        assert f'<a href="#c{n}">{name}</a>' in three
        assert three.count(f'id="c{n}"') == 1


def test_fragment_is_static_and_small():
    """The notebook's fragment has all rows, no scripts and no identifiers."""
    fragment = format_fragment(TYPICAL)
    assert not re.search(r"<script|<style|<link|<iframe|\bid=|\bon\w+=|http", fragment)
    assert len(fragment) < 10_000
    for text in (
        "serial",
        "dask-bag",
        "mpire",
        "ValueError: no",
        "450\N{EN DASH}550 ms",
    ):
        assert text in fragment


def test_fragment_bars_are_to_scale():
    """A bar ends at the upper bound; its solid part at the lower one."""
    fragment = format_fragment(make_section(SERIAL, BAG))
    widths = re.findall(r"width:([\d.]+%);\"", fragment)[-4:]
    assert widths == ["50.0%", "81.8%", "100.0%", "81.8%"]


def test_report_imports_no_bokeh_before_a_page_is_made():
    """Importing the page module is cheap."""
    code = "import sys, daskkit.pages.page; sys.exit('bokeh' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# File


def test_save_page_writes_the_page(tmp_path):
    """The file is the page in UTF-8, readable by its owner; nothing else is left."""
    path = save_page(str(tmp_path / "report.html"), [make_section()], title="Größe")
    assert path.read_text(encoding="utf-8") == format_page([make_section()], "Größe")
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_save_page_follows_a_link_and_replaces_the_old_page(tmp_path):
    """An older page is replaced where it lies; a link to it stays a link."""
    old = tmp_path / "old.html"
    old.write_text("old")
    link = tmp_path / "latest.html"
    link.symlink_to(old)
    save_page(link, [])
    assert link.is_symlink()
    assert "Nothing was compared" in old.read_text(encoding="utf-8")


def test_save_page_keeps_the_old_page_when_writing_fails(tmp_path, monkeypatch):
    """After a failure the old page is whole, and no draft is left."""
    path = tmp_path / "report.html"
    path.write_text("old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(DaskkitError, match="No space left on device"):
        save_page(path, [])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_save_page_writes_names_that_utf_8_lacks(tmp_path):
    """A name made of undecodable bytes is written in an escaped form."""
    name = os.fsdecode(b"caf\xe9")
    path = save_page(tmp_path / "a.html", [make_section(SERIAL, name=name)])
    assert "caf\\udce9" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "is a directory; name a file, such as .*report.html"),
        ("missing/report.html", "there is no directory .*missing"),
        ("file/report.html", "there is no directory .*file"),
        ("n" * 300, "can't be written: File name too long"),
    ],
)
def test_save_page_says_what_is_wrong_with_a_path(tmp_path, path, message):
    """An unusable path raises an error that names it and says what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(DaskkitError, match=message):
        save_page(tmp_path / path, [])


def test_figures_that_only_some_have():
    """Ledgers, scaling and several comparisons have figures beyond the table's."""
    plain = format_page([TYPICAL])
    ledger = Ledger(2, 1.0, compute_s=2.0)
    scaling = ("Speed-up of the same work", (Point(1, 1.0), Point(2, 1.9)), ())
    rich = dataclasses.replace(
        TYPICAL, ledgers=(("dask-bag", ledger),), scalings=(scaling,)
    )
    page = format_page([rich])
    for target in ("c1-ledger", "c1-scaling0"):
        assert f'id="{target}"' in page
        assert f'id="{target}"' not in plain
    assert "All runs" not in page
    assert 'id="all-measures"' in format_page([rich, TYPICAL])


# Browser


def open_page(driver, path, n_figures):
    """Open a page and wait until Bokeh has drawn its figures."""
    driver.get(path.as_uri())
    script = (
        "return window.Bokeh === undefined ? 0 :"
        " Bokeh.documents.filter(d => d.roots().length && d.is_idle).length"
    )
    deadline = time.monotonic() + 30
    while driver.execute_script(script) != n_figures and time.monotonic() < deadline:
        time.sleep(0.05)
    assert driver.execute_script(script) == n_figures


HOSTILE_SECTION = make_section(
    SERIAL, make_row(HOSTILE, 0.5), make_failure(HOSTILE + "2")
)
WIDE_SECTION = make_section(
    SERIAL, *(make_row(f"{k}-{'b' * k * 3}", 10.0 ** (k / 8 - 3)) for k in range(40)),
    n_workers=64,
)  # fmt: skip


@pytest.mark.browser
@pytest.mark.parametrize(
    "section",
    [TYPICAL, HOSTILE_SECTION, WIDE_SECTION],
    ids=["typical", "hostile", "wide"],
)
def test_page_works_from_a_file(driver, tmp_path, section):
    """Opened from disk it draws both figures, without errors or sideways scrolling."""
    path = save_page(tmp_path / "report.html", [section])
    n_ok = sum(row.status == "ok" for row in section.summaries)
    for width in (400, 1400):
        resize(driver, width)
        open_page(driver, path, n_figures=2)
        assert severe_messages(driver) == []
        scrolls = "return document.documentElement.scrollWidth > window.innerWidth"
        assert not driver.execute_script(scrolls)
        drawn = driver.execute_script(
            "return Bokeh.documents.map(d => d.get_model_by_name('median')"
            ".data_source.get_length())"
        )
        assert drawn == [n_ok, n_ok]
        for target in ("c1-walls", "c1-speedups"):
            size = driver.find_element("id", target).size
            assert size["height"] > 80
            assert 200 < size["width"] <= width


@pytest.mark.browser
def test_page_asks_for_no_network(driver, tmp_path):
    """Neither opening the page nor a name that looks like TeX loads anything."""
    path = save_page(tmp_path / "report.html", [HOSTILE_SECTION, TYPICAL])
    open_page(driver, path, n_figures=6)
    loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
    names = driver.execute_script(loaded)
    assert [name for name in names if not name.startswith(("data:", "blob:"))] == []


@pytest.mark.browser
def test_figures_follow_the_colour_scheme(driver, tmp_path):
    """Turning the system dark redraws each figure once, in the colours for it."""
    path = save_page(tmp_path / "report.html", [TYPICAL])
    open_page(driver, path, n_figures=2)
    color = (
        "return Bokeh.documents.map(d => d.get_model_by_name('median')"
        ".data_source.get('color')[1])"
    )
    light, dark = theme.PALETTE["faster"]
    assert driver.execute_script(color) == [light, light]
    with emulated(driver, "prefers-color-scheme", "dark"):
        deadline = time.monotonic() + 30
        while driver.execute_script(color) != [dark, dark]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert severe_messages(driver) == []


@contextlib.contextmanager
def emulated(driver, feature, setting):
    features = {"features": [{"name": feature, "value": setting}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
