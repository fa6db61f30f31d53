"""The figure of a task graph: what waits for what, from left to right.

Reads plain data alone. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bokeh.models import BasicTicker, ColumnDataSource
from bokeh.models.annotations import Title
from bokeh.models.ranges import Range1d

from daskkit.pages.dimensions import style_rows
from daskkit.pages.theme import FONT, SERIES, add_tips, color, make_plot
from daskkit.units import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bokeh.plotting import figure

__all__ = ["plot_graph"]

_ROW_PX = 22
_LEAST_PX = 160
_MOST_PX = 700
# A figure of more tasks than this is a grey block.
_MOST_TASKS: Final = 2_000
# The end of a key that differs from task to task: a token, a number, or both.
_INDIVIDUAL = re.compile(r"(-[0-9a-f]{8,})?( .*)?$")


def plot_graph(tasks: Mapping[str, Sequence[str]]) -> figure:
    """Return a task graph: what waits for what, from left to right.

    Parameters
    ----------
    tasks : mapping of str to sequence of str
        Tasks by name, each with the names of those that it waits for.

    Returns
    -------
    bokeh.plotting.figure
        A task stands right of all that it waits for. Kinds of tasks, which are told
        by the names without numbers, have colours and shapes of their own. The mouse
        shows names. Of a graph of more than 2,000 tasks the first ones are drawn, and
        a title says so. Its renderers are named "edge" and "task".

    Examples
    --------
    >>> plot = plot_graph({"sum": ["map 0", "map 1"], "map 0": [], "map 1": []})
    >>> plot.select_one({"name": "task"}).data_source.data["x"]
    [0, 0, 1]
    """
    depths = _measure_depths(tasks)
    names = sorted(depths, key=depths.__getitem__)[:_MOST_TASKS]
    places = _place(names, depths, tasks)
    n_rows = max((row for _, row in places.values()), default=0.0) + 1
    n_steps = max((depths[name] for name in names), default=0) + 1
    plot = make_plot(
        "Steps from the begin of the graph (number)",
        "",
        height=int(min(max(_ROW_PX * n_rows, _LEAST_PX), _MOST_PX)) + 50,
        x_range=Range1d(start=-0.4, end=n_steps - 0.6),
        y_range=Range1d(start=n_rows - 0.4, end=-0.6),
    )
    plot.yaxis.visible = False
    plot.grid.visible = False
    plot.xaxis.ticker = BasicTicker(min_interval=1)
    _add_edges(plot, names, places, tasks)
    _add_tasks(plot, names, places, tasks)
    if len(names) < len(tasks):
        text = (
            f"The first {len(names):,} of {format_count(len(tasks), 'task')}, by steps"
        )
        plot.add_layout(
            Title(text=text, text_font=FONT, text_color=color("muted")), "above"
        )
    return plot


def _measure_depths(tasks: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how many tasks stand before each one in its longest chain."""
    depths: dict[str, int] = {}
    for root in tasks:
        # A stack of our own: chains are longer than Python's.
        stack = [root]
        while stack:
            name = stack[-1]
            before = [other for other in tasks.get(name, ()) if other in tasks]
            missing = [other for other in before if other not in depths]
            if missing and name not in depths:
                stack += missing
                continue
            depths.setdefault(
                name, 1 + max((depths[other] for other in before), default=-1)
            )
            stack.pop()
    return depths


def _place(
    names: Sequence[str],
    depths: Mapping[str, int],
    tasks: Mapping[str, Sequence[str]],
) -> dict[str, tuple[int, float]]:
    """Return step and row of each task: beside those that it waits for, if it can."""
    steps: dict[int, list[str]] = {}
    for name in names:
        steps.setdefault(depths[name], []).append(name)
    most = max(map(len, steps.values()), default=1)
    places: dict[str, tuple[int, float]] = {}
    for depth, members in sorted(steps.items()):
        wishes = {}
        for index, name in enumerate(members):
            rows = [places[other][1] for other in tasks[name] if other in places]
            wishes[name] = sum(rows) / len(rows) if rows else float(index)
        first = (most - len(members)) / 2
        for index, name in enumerate(sorted(members, key=wishes.__getitem__)):
            places[name] = (depth, first + index)
    return places


def _add_edges(
    plot: figure,
    names: Sequence[str],
    places: Mapping[str, tuple[int, float]],
    tasks: Mapping[str, Sequence[str]],
) -> None:
    pairs = [
        (places[other], places[name])
        for name in names
        for other in tasks[name]
        if other in places
    ]
    plot.segment(
        x0=[one[0] for one, _ in pairs],
        y0=[one[1] for one, _ in pairs],
        x1=[other[0] for _, other in pairs],
        y1=[other[1] for _, other in pairs],
        line_color=color("rule"),
        line_alpha=0.6,
        name="edge",
    )


def _add_tasks(
    plot: figure,
    names: Sequence[str],
    places: Mapping[str, tuple[int, float]],
    tasks: Mapping[str, Sequence[str]],
) -> None:
    kinds = [_INDIVIDUAL.sub("", name) or name for name in names]
    found = list(dict.fromkeys(kinds))
    markers = {kind: SERIES[min(k, len(SERIES) - 1)][2] for k, kind in enumerate(found)}
    source = ColumnDataSource(
        {
            "x": [places[name][0] for name in names],
            "y": [places[name][1] for name in names],
            "color": style_rows(kinds, len(kinds))["color"],
            "marker": [markers[kind] for kind in kinds],
            "name": list(names),
            "kind": kinds,
            "waits": [format_count(len(tasks[name]), "task") for name in names],
        }
    )
    marks = plot.scatter(
        x="x",
        y="y",
        marker="marker",
        size=11,
        source=source,
        fill_color="color",
        line_color=color("ground"),
        legend_group="kind",
        name="task",
    )
    add_tips(
        plot, [marks], [("task", "name"), ("kind", "kind"), ("waits for", "waits")]
    )
    if not names:
        plot.legend.items = []
    plot.legend.label_text_font = FONT
    plot.legend.label_text_color = color("ink")
    plot.legend.background_fill_alpha = 0.0
    plot.legend.border_line_color = None
    plot.add_layout(plot.legend[0], "right")
