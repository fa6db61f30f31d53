"""Parallel categories: ribbons between columns, as wide as they have rows.

Reads plain columns alone. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from bokeh.models import ColumnDataSource, TapTool
from bokeh.models.ranges import Range1d

from daskkit.pages.coordinates import add_headings
from daskkit.pages.dimensions import (
    choose_dimensions,
    order_categories,
    style_rows,
)
from daskkit.pages.theme import (
    BESIDE_A_MARK,
    add_texts,
    add_tips,
    color,
    make_plot,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bokeh.plotting import figure

__all__ = ["plot_categories"]

_HEIGHT_PX = 420
# Between two categories, and half the width of their bars, in units of the axes.
_GAP: Final = 0.03
_BAR: Final = 0.03
# All gaps of an axis together take no more than this of it.
_MOST_GAPS: Final = 0.4
# Points of one edge of a ribbon.
_N_STEPS: Final = 20
# Hatches tell the series apart without colours, in their order.
_HATCHES: Final = (
    "blank",
    "right_diagonal_line",
    "dot",
    "horizontal_line",
    "vertical_line",
    "left_diagonal_line",
    "cross",
    "diagonal_cross",
)


def plot_categories(
    columns: Mapping[str, Sequence[Any]],
    *,
    dimensions: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    color: str | None = None,
) -> figure:
    """Return parallel categories: ribbons between columns, as wide as they have rows.

    Parameters
    ----------
    columns : mapping of str to sequence
        Columns of the same length; a DataFrame is one. Each value is a category, so
        columns of measurements are better drawn by `plot_coordinates`.
    dimensions : sequence of str, optional
        Which columns become axes, from left to right. Default: all.
    labels : mapping of str to str, optional
        What axes are called, where it isn't the column's name.
    color : str, optional
        The column by which ribbons are told apart, by colour and by hatch.

    Returns
    -------
    bokeh.plotting.figure
        The mouse shows what a ribbon joins and how many rows it has; a click keeps it
        and fades the others. Its renderers are named "ribbon" and "category".

    Raises
    ------
    ArgumentError
        If there is no such column.

    Examples
    --------
    >>> columns = {"backend": ["bag", "bag", "loop"], "status": ["ok", "ok", "failed"]}
    >>> plot = plot_categories(columns)
    >>> plot.select_one({"name": "ribbon"}).data_source.data["rows"]
    ['2', '1']
    """
    names = choose_dimensions(columns, dimensions)
    labels = dict(labels or {})
    if color is not None:
        choose_dimensions(columns, [color])
    values = [list(columns[name]) for name in names]
    rows = [tuple(map(str, row)) for row in zip(*values, strict=True)]
    by = [""] * len(rows) if color is None else [str(value) for value in columns[color]]
    stacks = [_stack(column) for column in values]
    plot = make_plot(
        "",
        "",
        height=_HEIGHT_PX,
        x_range=Range1d(start=-0.25, end=max(len(names) - 1, 0) + 0.55),
        y_range=Range1d(start=1.04, end=-0.14),
    )
    plot.axis.visible = False
    plot.grid.visible = False
    ribbons = [
        ribbon for k in range(len(names) - 1) for ribbon in _weave(k, rows, by, stacks)
    ]
    _add_ribbons(plot, ribbons, by, None if color is None else labels.get(color, color))
    _add_bars(plot, stacks)
    add_headings(plot, [labels.get(name, name) for name in names], y=-0.08)
    return plot


@dataclasses.dataclass(frozen=True)
class _Ribbon:
    """What joins two categories of neighbouring axes for one series."""

    #: The axis on its left.
    at: int
    left: str
    right: str
    series: str
    n_rows: int
    #: Its upper edge on both sides, and its width.
    top_left: float
    top_right: float
    width: float


@dataclasses.dataclass(frozen=True)
class _Stack:
    """The categories of one axis, one below the other."""

    #: Upper edge of each, in order; 0 is the top.
    tops: dict[str, float]
    #: Rows of each.
    counts: dict[str, int]
    #: Width of one row.
    unit: float


def _stack(values: Sequence[Any]) -> _Stack:
    found = Counter(map(str, values))
    counts = {text: found[text] for text in order_categories(values)}
    n_gaps = max(len(counts) - 1, 0)
    gap = min(_GAP, _MOST_GAPS / n_gaps) if n_gaps else 0.0
    unit = (1 - gap * n_gaps) / max(len(values), 1)
    tops, top = {}, 0.0
    for value, count in counts.items():
        tops[value] = top
        top += count * unit + gap
    return _Stack(tops, counts, unit)


def _weave(
    at: int,
    rows: Sequence[tuple[str, ...]],
    by: Sequence[str],
    stacks: Sequence[_Stack],
) -> list[_Ribbon]:
    """Return the ribbons between two axes, none of which crosses another needlessly."""
    left, right = stacks[at], stacks[at + 1]
    groups = Counter(
        (row[at], row[at + 1], series) for row, series in zip(rows, by, strict=True)
    )
    rank_left = {value: k for k, value in enumerate(left.tops)}
    rank_right = {value: k for k, value in enumerate(right.tops)}
    rank_series = {value: k for k, value in enumerate(dict.fromkeys(by))}

    def from_left(key: tuple[str, str, str]) -> tuple[int, ...]:
        return rank_left[key[0]], rank_series[key[2]], rank_right[key[1]]

    def from_right(key: tuple[str, str, str]) -> tuple[int, ...]:
        return rank_right[key[1]], rank_series[key[2]], rank_left[key[0]]

    tops_left, tops_right = dict(left.tops), dict(right.tops)
    edge_right = {}
    for key in sorted(groups, key=from_right):
        edge_right[key] = tops_right[key[1]]
        tops_right[key[1]] += groups[key] * right.unit
    ribbons = []
    for key in sorted(groups, key=from_left):
        width = groups[key] * left.unit
        ribbons.append(
            _Ribbon(
                at,
                *key,
                groups[key],
                tops_left[key[0]],
                edge_right[key],
                # Axes with more gaps are tighter; this is the width where it is less.
                min(width, groups[key] * right.unit),
            )
        )
        tops_left[key[0]] += width
    return ribbons


def _add_ribbons(
    plot: figure, ribbons: Sequence[_Ribbon], by: Sequence[str], title: str | None
) -> None:
    series = list(dict.fromkeys(by))
    colors = dict(zip(series, style_rows(series, len(series))["color"], strict=True))
    hatches = {
        name: _HATCHES[min(k, len(_HATCHES) - 1)] for k, name in enumerate(series)
    }
    source = ColumnDataSource(
        {
            "xs": [_edge_x(ribbon.at) for ribbon in ribbons],
            "ys": [_edge_y(ribbon) for ribbon in ribbons],
            "color": [colors[ribbon.series] for ribbon in ribbons],
            "hatch": [hatches[ribbon.series] for ribbon in ribbons],
            "joins": [f"{one.left} \N{EN DASH} {one.right}" for one in ribbons],
            "series": [ribbon.series for ribbon in ribbons],
            "rows": [f"{ribbon.n_rows:,}" for ribbon in ribbons],
        }
    )
    patches = plot.patches(
        xs="xs",
        ys="ys",
        source=source,
        fill_color="color",
        fill_alpha=0.5,
        line_color="color",
        line_width=0.5,
        hatch_pattern="hatch",
        hatch_color=color("ink"),
        hatch_alpha=0.35,
        hatch_scale=8,
        hover_fill_alpha=0.9,
        nonselection_fill_alpha=0.1,
        nonselection_hatch_alpha=0.05,
        name="ribbon",
    )
    tips = [("joins", "joins"), ("rows", "rows")]
    if title is not None:
        tips.insert(1, (title, "series"))
    add_tips(plot, [patches], tips)
    plot.add_tools(TapTool(renderers=[patches]))


def _edge_x(at: int) -> list[float]:
    """Return the x of a ribbon's outline: there on top, back below."""
    steps = [at + _BAR + (1 - 2 * _BAR) * k / (_N_STEPS - 1) for k in range(_N_STEPS)]
    return steps + steps[::-1]


def _edge_y(ribbon: _Ribbon) -> list[float]:
    shares = [k / (_N_STEPS - 1) for k in range(_N_STEPS)]
    # Level at both ends (Hermite's cubic).
    rise = ribbon.top_right - ribbon.top_left
    top = [ribbon.top_left + rise * s * s * (3 - 2 * s) for s in shares]
    return top + [y + ribbon.width for y in reversed(top)]


def _add_bars(plot: figure, stacks: Sequence[_Stack]) -> None:
    bars = [
        (float(k), top, top + stack.counts[value] * stack.unit, value)
        for k, stack in enumerate(stacks)
        for value, top in stack.tops.items()
    ]
    source = ColumnDataSource(
        {
            "left": [x - _BAR for x, *_ in bars],
            "right": [x + _BAR for x, *_ in bars],
            "top": [top for _, top, _, _ in bars],
            "bottom": [bottom for _, _, bottom, _ in bars],
            "middle": [(top + bottom) / 2 for _, top, bottom, _ in bars],
            "text": [text for *_, text in bars],
        }
    )
    plot.quad(
        left="left",
        right="right",
        top="top",
        bottom="bottom",
        source=source,
        fill_color=color("muted"),
        line_color=color("ground"),
        name="category",
    )
    add_texts(plot, source, "right", "middle", "text", **BESIDE_A_MARK)
