"""The figure of speed-up against workers, with the ideal line and the fitted laws.

Reads records alone. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from bokeh.models import ColumnDataSource, FixedTicker
from bokeh.models.ranges import Range1d

from daskkit.pages.theme import add_legend, add_tips, color, make_plot
from daskkit.units import format_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.models.renderers import GlyphRenderer
    from bokeh.plotting import figure

    from daskkit.accounts import Law, Point

    # What a legend says: a name, and what it is the name of.
    _Entry = tuple[str, GlyphRenderer[Any]]

__all__ = ["plot_scaling"]

_HEIGHT_PX = 420
# Law: title, role and dash.
_LOOKS: Final = {
    "amdahl": ("Amdahl's law", "slower", "dashed"),
    "usl": ("Universal Scalability Law", "green", "solid"),
    "gustafson": ("Gustafson's law", "purple", "dotdash"),
}
# More labels than this touch one another on a telephone.
_MOST_TICKS = 8


def plot_scaling(
    points: Sequence[Point], laws: Sequence[Law] = (), *, n_cores: int | None = None
) -> figure:
    """Return speed-ups against workers, with the ideal line and the fitted laws.

    Parameters
    ----------
    points : sequence of Point
        What was measured.
    laws : sequence of Law, default ()
        Drawn up to their limits, with their intervals.
    n_cores : int, optional
        Cores of the machine, drawn as a vertical line where it is in sight.

    Returns
    -------
    bokeh.plotting.figure
        Workers along x and the speed-up over one worker along y, both logarithmic to
        base 2. Its renderers are named "ideal", "interval", "measured" and, for each
        law, its name and its name with "-band".

    Examples
    --------
    >>> from daskkit.accounts import Point
    >>> plot = plot_scaling([Point(1, 1.0), Point(2, 1.9)])
    >>> plot.yaxis[0].axis_label
    'Speed-up over one worker (ratio)'
    """
    curves = [point for law in laws for point in law.curve]
    most = max((point.n_workers for point in (*points, *curves)), default=1.0)
    values = [v for p in (*points, *curves) for v in (p.speedup, p.low, p.high)]
    least = min((v for v in values if v > 0 and math.isfinite(v)), default=1.0)
    most = max(most, 2.0)
    plot = make_plot(
        "Workers (number)",
        "Speed-up over one worker (ratio)",
        height=_HEIGHT_PX,
        x_axis_type="log",
        y_axis_type="log",
        x_range=Range1d(start=0.92, end=most * 1.1),
        y_range=Range1d(start=min(least, 1.0) * 0.9, end=most * 1.15),
    )
    entries = [_add_ideal(plot, most), *(_add_law(plot, law) for law in laws)]
    entries.append(_add_points(plot, points))
    if n_cores is not None and 1 < n_cores <= most:
        entries.append(_add_cores(plot, n_cores))
    _set_ticks(plot, most, min(least, 1.0))
    add_legend(plot, entries, location="top_left")
    return plot


def _add_ideal(plot: figure, most: float) -> _Entry:
    line = plot.line(
        x=[1.0, most],
        y=[1.0, most],
        line_color=color("rule"),
        line_dash="dotted",
        line_width=2,
        name="ideal",
    )
    return "ideal: as many times as workers", line


def _add_cores(plot: figure, n_cores: int) -> _Entry:
    rule = plot.vspan(
        x=[n_cores],
        line_color=color("ink"),
        line_dash="dotdash",
        line_width=1,
        name="cores",
    )
    return "cores of the machine", rule


def _add_law(plot: figure, law: Law) -> _Entry:
    title, role, dash = _LOOKS[law.name]
    source = ColumnDataSource(
        {
            "x": [point.n_workers for point in law.curve],
            "y": [point.speedup for point in law.curve],
            "low": [point.low for point in law.curve],
            "high": [point.high for point in law.curve],
            "workers": [f"{point.n_workers:.3g}" for point in law.curve],
            "law": [title] * len(law.curve),
            "speedup": [format_ratio(point.speedup) for point in law.curve],
            "interval": [_join(point) for point in law.curve],
        }
    )
    plot.varea(
        x="x",
        y1="low",
        y2="high",
        source=source,
        fill_color=color(role),
        fill_alpha=0.15,
        name=f"{law.name}-band",
    )
    line = plot.line(
        x="x",
        y="y",
        source=source,
        line_color=color(role),
        line_dash=dash,
        line_width=2.5,
        name=law.name,
    )
    rows = [
        ("law", "law"),
        ("workers", "workers"),
        ("speed-up", "speedup"),
        ("90 % interval", "interval"),
    ]
    add_tips(plot, [line], rows)
    return title, line


def _add_points(plot: figure, points: Sequence[Point]) -> _Entry:
    with_interval = [point for point in points if math.isfinite(point.high)]
    plot.segment(
        x0=[point.n_workers for point in with_interval],
        x1=[point.n_workers for point in with_interval],
        y0=[point.low for point in with_interval],
        y1=[point.high for point in with_interval],
        line_color=color("faster"),
        line_width=9,
        line_alpha=0.35,
        name="interval",
    )
    source = ColumnDataSource(
        {
            "x": [point.n_workers for point in points],
            "y": [point.speedup for point in points],
            "workers": [f"{point.n_workers:g}" for point in points],
            "speedup": [format_ratio(point.speedup) for point in points],
            "interval": [_join(point) for point in points],
            "efficiency": [
                format_ratio(point.speedup / point.n_workers) for point in points
            ],
        }
    )
    marks = plot.scatter(
        x="x",
        y="y",
        source=source,
        marker="circle",
        size=10,
        fill_color=color("faster"),
        line_color=color("ground"),
        name="measured",
    )
    rows = [
        ("workers", "workers"),
        ("measured speed-up", "speedup"),
        ("interval", "interval"),
        ("efficiency", "efficiency"),
    ]
    add_tips(plot, [marks], rows)
    return "measured", marks


def _set_ticks(plot: figure, most: float, least: float) -> None:
    """Put powers of two on both axes, as far apart as is needed."""
    for axis, grid, low in (
        (plot.xaxis, plot.xgrid, 1.0),
        (plot.yaxis, plot.ygrid, least),
    ):
        first = math.floor(math.log2(low * 0.9)) if low < 1 else 0
        exponents = range(first, math.floor(math.log2(most * 1.1)) + 1)
        step = math.ceil(len(exponents) / _MOST_TICKS)
        ticks = [2.0**k for k in exponents if k % step == 0]
        axis.ticker = FixedTicker(ticks=ticks)
        grid.ticker = FixedTicker(ticks=ticks)
        axis.major_label_overrides = {tick: f"{tick:g}" for tick in ticks}


def _join(point: Point) -> str:
    if not math.isfinite(point.high):
        return "none"
    return f"{format_ratio(point.low)} to {format_ratio(point.high)}"
