"""Parallel coordinates: one line a run, through one axis a column.

Reads plain columns alone. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bokeh.models import ColumnDataSource, TapTool
from bokeh.models.ranges import Range1d

from daskkit.pages.dimensions import (
    choose_dimensions,
    make_dimension,
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

    from daskkit.pages.dimensions import Dimension

__all__ = ["add_headings", "plot_coordinates"]

_HEIGHT_PX = 400
# Of the line below the mouse; Bokeh's types don't know of it.
_EMPHASIS: dict[str, Any] = {"hover_line_width": 4}


def plot_coordinates(
    columns: Mapping[str, Sequence[Any]],
    *,
    dimensions: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    color: str | None = None,
) -> figure:
    """Return parallel coordinates: one line a row, through one axis a column.

    Parameters
    ----------
    columns : mapping of str to sequence
        Columns of the same length; a DataFrame is one.
    dimensions : sequence of str, optional
        Which columns become axes, from left to right. Default: all.
    labels : mapping of str to str, optional
        What axes are called, with their units, where it isn't the column's name.
    color : str, optional
        The column by which lines are told apart, by colour and by dash.

    Returns
    -------
    bokeh.plotting.figure
        The mouse shows a row's values; a click keeps its line and fades the others.
        A row that lacks a value goes below that axis. The renderer of the lines is
        named "row", that of the axes "axis".

    Raises
    ------
    ArgumentError
        If there is no such column.

    Examples
    --------
    >>> plot = plot_coordinates({"workers": [1, 2], "wall_s": [2.0, 1.0]})
    >>> plot.select_one({"name": "row"}).data_source.data["ys"]
    [[0.0, 1.0], [1.0, 0.0]]
    """
    names = choose_dimensions(columns, dimensions)
    labels = dict(labels or {})
    if color is not None:
        choose_dimensions(columns, [color])
    axes = [make_dimension(n, list(columns[n]), labels.get(n, n)) for n in names]
    n_rows = len(axes[0].positions) if axes else 0
    looks = style_rows(None if color is None else list(columns[color]), n_rows)
    plot = make_plot(
        "",
        "",
        height=_HEIGHT_PX,
        x_range=Range1d(start=-0.25, end=max(len(axes) - 1, 0) + 0.55),
        y_range=Range1d(start=-0.16, end=1.16),
    )
    plot.axis.visible = False
    plot.grid.visible = False
    _add_axes(plot, axes)
    shown = list(dict.fromkeys((*names, *((color,) if color else ()))))
    tips = {f"tip{k}": [_show(v) for v in columns[n]] for k, n in enumerate(shown)}
    source = ColumnDataSource(
        {
            "xs": [[float(k) for k in range(len(axes))] for _ in range(n_rows)],
            "ys": [[axis.positions[row] for axis in axes] for row in range(n_rows)],
            **looks,
            **tips,
        }
    )
    lines = plot.multi_line(
        xs="xs",
        ys="ys",
        source=source,
        line_color="color",
        line_dash="dash",
        line_width=2,
        line_alpha=0.7,
        hover_line_alpha=1.0,
        nonselection_line_alpha=0.08,
        name="row",
        **_EMPHASIS,
    )
    add_tips(
        plot, [lines], [(labels.get(n, n), f"tip{k}") for k, n in enumerate(shown)]
    )
    plot.add_tools(TapTool(renderers=[lines]))
    _add_ticks(plot, axes)
    add_headings(plot, [axis.label for axis in axes], y=1.1)
    return plot


def add_headings(plot: figure, labels: Sequence[str], *, y: float) -> None:
    """Write what parallel axes are called above them.

    Parameters
    ----------
    plot : bokeh.plotting.figure
    labels : sequence of str
        From left to right; the axes are at 0, 1, 2 and so on.
    y : float
        The height, in the units of the axis.
    """
    source = ColumnDataSource(
        {
            "x": [float(k) for k in range(len(labels))],
            "y": [y] * len(labels),
            "text": list(labels),
        }
    )
    bold = {"text_font_size": "12px", "text_font_style": "bold"}
    add_texts(plot, source, "x", "y", "heading", text_align="center", **bold)


def _add_axes(plot: figure, axes: Sequence[Dimension]) -> None:
    at = [float(k) for k in range(len(axes))]
    plot.segment(
        x0=at,
        x1=at,
        y0=[0.0] * len(axes),
        y1=[1.0] * len(axes),
        line_color=color("rule"),
        line_width=1.5,
        name="axis",
    )


def _add_ticks(plot: figure, axes: Sequence[Dimension]) -> None:
    ticks = [
        (float(k), place, text)
        for k, axis in enumerate(axes)
        for place, text in axis.ticks
    ]
    source = ColumnDataSource(
        {
            "x": [x for x, _, _ in ticks],
            "y": [y for _, y, _ in ticks],
            "text": [text for _, _, text in ticks],
        }
    )
    add_texts(plot, source, "x", "y", "tick", **BESIDE_A_MARK)


def _show(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)
