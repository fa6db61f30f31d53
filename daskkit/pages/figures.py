"""The report's two figures, in plain Bokeh.

Reads records alone and draws their numbers as they are: no statistics, no files, no
HTML. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearAxis,
    PlainText,
    Range1d,
)
from bokeh.models.annotations import Span

from daskkit.pages.theme import color, make_plot, style_axis
from daskkit.units import format_ratio, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bokeh.plotting import figure

    from daskkit.records import Run, Summary

__all__ = [
    "LOOKS",
    "Look",
    "find_loop",
    "is_drawn",
    "name_look",
    "plot_speedups",
    "plot_wall_times",
]

# Beyond this quotient of the largest and the smallest value, the small ones would
# share the first twentieth of a linear axis.
_LOG_FROM = 20.0
# More labels than this touch one another on a telephone.
_MAX_TICKS = 7
_ROW_PX = 28
_AXIS_PX = 56
_LABEL_LENGTH = 24
_TIP_REPEATS = 7


@dataclasses.dataclass(frozen=True)
class Look:
    """How a row is drawn; shape and filling say it again without the colour."""

    #: Role in `theme.PALETTE`.
    role: str
    #: Bokeh's name of the marker.
    marker: str
    #: Filled with its colour, or with the ground's.
    filled: bool
    #: What the legend says: where the interval lies. What follows from that is for
    #: the verdict to say, which asks for more.
    meaning: str


LOOKS = {
    "faster": Look("faster", "circle", filled=True, meaning="interval above 1"),
    "level": Look(
        "level", "circle", filled=False, meaning="interval includes 1, or none"
    ),
    "slower": Look("slower", "square", filled=True, meaning="interval below 1"),
    "loop": Look("ink", "diamond", filled=True, meaning="the plain loop"),
}


def find_loop(summaries: Sequence[Summary]) -> Summary | None:
    """Return the row of the plain loop, which all speed-ups refer to.

    Parameters
    ----------
    summaries : sequence of Summary

    Returns
    -------
    Summary or None
        The first "ok" row with one worker and a speed-up of exactly 1, if any.
    """
    rows = (row for row in summaries if row.status == "ok" and row.workers == 1)
    return next((row for row in rows if row.speedup == 1.0), None)


def is_drawn(summary: Summary) -> bool:
    """Return whether a row has something to draw.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    bool
        True where the status is "ok" and the median is a finite number.
    """
    return summary.status == "ok" and math.isfinite(summary.median_s)


def name_look(summary: Summary, loop: Summary | None) -> str:
    """Return which of `LOOKS` fits a row: what its interval says about the loop.

    Parameters
    ----------
    summary : Summary
    loop : Summary or None
        The row of the loop itself.

    Returns
    -------
    str
        "loop"; "faster" or "slower" where the whole interval of the speed-up lies on
        that side of 1; "level" otherwise, and where there is no interval.
    """
    if summary is loop:
        return "loop"
    if summary.speedup_low > 1.0:
        return "faster"
    return "slower" if summary.speedup_high < 1.0 else "level"


def plot_wall_times(summaries: Sequence[Summary], runs: Sequence[Run] = ()) -> figure:
    """Return a figure of wall times: medians, their intervals and single repeats.

    Starts nothing and computes no statistics.

    Parameters
    ----------
    summaries : sequence of Summary
        One row each, drawn from top to bottom. A row without figures stays empty and
        says its status.
    runs : sequence of Run, default ()
        Where the single repeats are; found by the name of the back end.

    Returns
    -------
    bokeh.plotting.figure
        Wall time in seconds along x, logarithmic where values differ more than
        twentyfold. Its renderers are named "row", "interval", "repeat" and "median".
    """
    walls = {run.backend: run.walls for run in runs}
    drawn = {row.backend: walls.get(row.backend, []) for row in _drawn(summaries)}
    marks = [(row.low_s, row.median_s, row.high_s) for row in summaries]
    plot = _make_figure(
        "Wall time (s)",
        summaries,
        [
            *_values(summaries, marks),
            *(wall for some in drawn.values() for wall in some),
        ],
    )
    loop = find_loop(summaries)
    if loop is not None:
        _add_rule(plot, loop.median_s, "dashed")
    tips = [
        ("median", [format_seconds(row.median_s) for row in summaries]),
        ("interval", [_join(low, high, format_seconds) for low, _, high in marks]),
        ("repeats", [_list_walls(drawn.get(row.backend, [])) for row in summaries]),
    ]
    _add_rows(plot, summaries, tips)
    _add_intervals(plot, summaries, marks)
    _add_repeats(plot, summaries, drawn)
    _add_medians(plot, summaries, marks)
    _label_rows(plot, summaries, lambda row: format_seconds(row.median_s))
    return plot


def plot_speedups(summaries: Sequence[Summary], n_workers: int) -> figure:
    """Return a figure of speed-ups over the plain loop with their intervals.

    Starts nothing and computes no statistics.

    Parameters
    ----------
    summaries : sequence of Summary
        One row each, drawn from top to bottom. A row without figures stays empty and
        says its status.
    n_workers : int
        Where the line of linear scaling is; with 1 it would hide the loop's own.

    Returns
    -------
    bokeh.plotting.figure
        Speed-up, dimensionless, along x, logarithmic where values differ more than
        twentyfold. Its renderers are named "row", "stem", "interval" and "median".
    """
    marks = [(row.speedup_low, row.speedup, row.speedup_high) for row in summaries]
    plot = _make_figure(
        "Speed-up over the plain loop (ratio)",
        summaries,
        [1.0, float(n_workers), *_values(summaries, marks)],
    )
    _add_rule(plot, 1.0, "dashed")
    if n_workers != 1:
        _add_rule(plot, float(n_workers), "dotted")
    tips = [
        ("speed-up", [format_ratio(row.speedup) for row in summaries]),
        ("interval", [_join(low, high, format_ratio) for low, _, high in marks]),
        ("efficiency", [format_ratio(row.efficiency) for row in summaries]),
        ("workers", [str(row.workers) for row in summaries]),
    ]
    _add_rows(plot, summaries, tips)
    _add_stems(plot, summaries, marks)
    _add_intervals(plot, summaries, marks)
    _add_medians(plot, summaries, marks)
    _label_rows(plot, summaries, lambda row: _format_times(row.speedup))
    return plot


# Low, middle and high of one row.
_Mark = tuple[float, float, float]


def _drawn(summaries: Sequence[Summary]) -> list[Summary]:
    return [row for row in summaries if is_drawn(row)]


def _values(summaries: Sequence[Summary], marks: Sequence[_Mark]) -> list[float]:
    """Return every number of the rows that are drawn."""
    pairs = zip(summaries, marks, strict=True)
    return [bound for row, mark in pairs if is_drawn(row) for bound in mark]


def _make_figure(
    label: str, summaries: Sequence[Summary], values: Sequence[float]
) -> figure:
    """Return an empty figure whose x axis has room for `values`."""
    finite = [number for number in values if math.isfinite(number)] or [1.0]
    low, high = min(finite), max(finite) or 1.0
    is_log = 0.0 < low < high / _LOG_FROM
    plot = make_plot(
        label,
        "",
        height=_ROW_PX * max(len(summaries), 1) + _AXIS_PX,
        x_axis_type="log" if is_log else "linear",
        x_range=Range1d(start=low / 1.3, end=high * 1.3)
        if is_log
        else Range1d(start=0, end=high * 1.06),
        y_range=Range1d(start=max(len(summaries), 1) - 0.4, end=-0.6),
    )
    ticks = _log_ticks(low, high) if is_log else _linear_ticks(high)
    plot.xaxis.ticker = FixedTicker(ticks=ticks)
    plot.xaxis.major_label_overrides = {tick: f"{tick:g}" for tick in ticks}
    plot.xgrid.ticker = FixedTicker(ticks=ticks)
    plot.ygrid.ticker = FixedTicker(ticks=list(_positions(summaries)))
    return plot


def _label_rows(
    plot: figure, summaries: Sequence[Summary], text: Callable[[Summary], str]
) -> None:
    """Write names on the left, and values on the right, or why there are none."""
    ticker = FixedTicker(ticks=list(_positions(summaries)))
    values = LinearAxis()
    style_axis(values)
    plot.add_layout(values, "right")
    plot.yaxis.ticker = ticker  # of both axes
    # PlainText, because Bokeh takes a name with dollar signs for a formula, and would
    # load MathJax from the network.
    plot.yaxis[0].major_label_overrides = {
        at: PlainText(text=_shorten(row.backend))
        for at, row in zip(_positions(summaries), summaries, strict=True)
    }
    values.major_label_overrides = {
        at: PlainText(text=text(row) if is_drawn(row) else _why_empty(row))
        for at, row in zip(_positions(summaries), summaries, strict=True)
    }
    plot.yaxis.major_label_text_color = color("ink")


def _why_empty(row: Summary) -> str:
    return "no figures" if row.status == "ok" else row.status


def _add_rule(plot: figure, location: float, dash: str) -> None:
    rule = Span(
        location=location,
        dimension="height",
        line_color=color("rule"),
        line_dash=dash,
        line_width=1.5,
        level="underlay",
    )
    plot.add_layout(rule)


def _add_rows(
    plot: figure, summaries: Sequence[Summary], tips: Sequence[tuple[str, list[str]]]
) -> None:
    """Lay an invisible bar over each row, so that the mouse finds all of it."""
    keep = [index for index, row in enumerate(summaries) if is_drawn(row)]
    columns: dict[str, Any] = {
        title: [texts[index] for index in keep] for title, texts in tips
    }
    columns["y"] = [float(index) for index in keep]
    columns["backend"] = [summaries[index].backend for index in keep]
    assert isinstance(plot.x_range, Range1d)
    bars = plot.hbar(
        y="y",
        left=plot.x_range.start,
        right=plot.x_range.end,
        height=1,
        source=ColumnDataSource(columns),
        fill_color=color("level"),
        fill_alpha=0,
        line_color=None,
        hover_fill_color=color("level"),
        hover_fill_alpha=0.1,
        hover_line_color=None,
        name="row",
    )
    rows = [("back end", "@backend"), *((title, f"@{{{title}}}") for title, _ in tips)]
    plot.add_tools(
        HoverTool(
            renderers=[bars],
            tooltips=rows,
            point_policy="follow_mouse",
            attachment="vertical",
        )
    )


def _add_stems(
    plot: figure, summaries: Sequence[Summary], marks: Sequence[_Mark]
) -> None:
    """Tie each mark to the line of the plain loop."""
    rows = _looks(summaries, marks)
    plot.segment(
        x0=1.0,
        x1="middle",
        y0="y",
        y1="y",
        source=ColumnDataSource(rows),
        line_color="color",
        line_width=2,
        line_alpha=0.55,
        name="stem",
    )


def _add_intervals(
    plot: figure, summaries: Sequence[Summary], marks: Sequence[_Mark]
) -> None:
    pairs = zip(summaries, marks, strict=True)
    known = [all(map(math.isfinite, mark)) for _, mark in pairs]
    plot.segment(
        x0="low",
        x1="high",
        y0="y",
        y1="y",
        source=ColumnDataSource(_looks(summaries, marks, known)),
        line_color="color",
        line_width=15,  # higher than the mark, which else would hide a short one
        line_alpha=0.3,
        name="interval",
    )


def _add_repeats(
    plot: figure, summaries: Sequence[Summary], walls: dict[str, list[float]]
) -> None:
    """Draw one ring a repeat; within a row, earlier rounds lie higher."""
    loop = find_loop(summaries)
    columns: dict[str, Any] = {"x": [], "y": [], "color": []}
    for at, row in zip(_positions(summaries), summaries, strict=True):
        some = walls.get(row.backend, [])
        columns["x"] += some
        columns["y"] += [at + offset for offset in _offsets(len(some))]
        columns["color"] += [color(LOOKS[name_look(row, loop)].role)] * len(some)
    plot.scatter(
        x="x",
        y="y",
        source=ColumnDataSource(columns),
        size=5,
        fill_color=None,
        line_color="color",
        line_alpha=0.8,
        name="repeat",
    )


def _add_medians(
    plot: figure, summaries: Sequence[Summary], marks: Sequence[_Mark]
) -> None:
    plot.scatter(
        x="middle",
        y="y",
        marker="marker",
        size="size",
        source=ColumnDataSource(_looks(summaries, marks)),
        fill_color="fill",
        line_color="color",
        line_width=1.5,
        name="median",
    )


def _looks(
    summaries: Sequence[Summary],
    marks: Sequence[_Mark],
    keep: Sequence[bool] | None = None,
) -> dict[str, Any]:
    """Return the columns of the rows that are drawn and, if given, are to be kept."""
    loop = find_loop(summaries)
    at = [
        index
        for index, row in enumerate(summaries)
        if is_drawn(row) and (keep is None or keep[index])
    ]
    looks = [LOOKS[name_look(summaries[index], loop)] for index in at]
    return {
        "y": [float(index) for index in at],
        "low": [marks[index][0] for index in at],
        "middle": [marks[index][1] for index in at],
        "high": [marks[index][2] for index in at],
        "color": [color(look.role) for look in looks],
        "fill": [color(look.role if look.filled else "ground") for look in looks],
        "marker": [look.marker for look in looks],
        # A diamond and a square of the circle's width look smaller and larger.
        "size": [
            {"diamond": 12.0, "square": 8.0}.get(look.marker, 9.0) for look in looks
        ],
    }


def _positions(summaries: Sequence[Summary]) -> list[float]:
    """Return where the rows are along y (a range would not be serialisable)."""
    return [float(index) for index in range(len(summaries))]


def _offsets(n: int) -> list[float]:
    """Return `n` offsets from the middle of a row, from its top to its bottom."""
    return [0.6 * ((index + 0.5) / n - 0.5) for index in range(n)]


def _linear_ticks(high: float) -> list[float]:
    """Return round numbers from 0 to `high`, at most `_MAX_TICKS`."""
    power = 10.0 ** math.floor(math.log10(high / (_MAX_TICKS - 1)))
    step = next(s * power for s in (1, 2, 5, 10) if high / (s * power) < _MAX_TICKS - 1)
    return [float(f"{index * step:.6g}") for index in range(int(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between `low` and `high`, at most `_MAX_TICKS`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{power}") for power in powers for step in steps]
        inside = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
        if len(inside) <= _MAX_TICKS:
            return inside
    return inside[:: math.ceil(len(inside) / _MAX_TICKS)]


def _shorten(name: str) -> str:
    if len(name) <= _LABEL_LENGTH:
        return name
    return name[: _LABEL_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _join(low: float, high: float, text: Callable[[float], str]) -> str:
    """Return an interval, or that there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "none"
    return f"{text(low)} to {text(high)}"


def _format_times(speedup: float) -> str:
    sign = "" if math.isnan(speedup) else "\N{MULTIPLICATION SIGN}"
    return format_ratio(speedup) + sign


def _list_walls(walls: Sequence[float]) -> str:
    """Return the first repeats in order, and how many more there are."""
    shown = ", ".join(format_seconds(wall) for wall in walls[:_TIP_REPEATS])
    more = len(walls) - _TIP_REPEATS
    return f"{shown} and {more} more" if more > 0 else shown
