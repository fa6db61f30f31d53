"""Figures of a recording: what threads did as bars, Dask's tasks as a stream.

Reads records alone. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bokeh.models import ColumnDataSource
from bokeh.models.ranges import Range1d

from daskkit.pages.ledgers import label_rows
from daskkit.pages.theme import SLOT_LOOKS, add_legend, add_tips, box_style, make_plot
from daskkit.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.plotting import figure

    from daskkit.pages.recording import Recording, Task, WorkerBook

__all__ = ["plot_slots", "plot_stream"]

_ROW_PX = 26
_AXIS_PX = 60
_LEGEND_PX = 60
_MOST_PX = 900
# Below this height a name of a line can't be read.
_LEAST_PX = 12
# Colours of tasks by name, the one that took longest first.
_ROLES = ("faster", "green", "purple", "sky", "level", "yellow")
_ACTIONS = {
    "transfer": ("orange", "horizontal_line"),
    "deserialize": ("rule", "diagonal_cross"),
    "disk-read": ("rule", "dot"),
    "disk-write": ("rule", "cross"),
}


def plot_slots(recording: Recording) -> figure:
    """Return what the threads of workers did as stacked bars, all and each.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    bokeh.plotting.figure
        Core-seconds along x; a whole bar is threads x time. One renderer a label,
        named after it.
    """
    rows = _list_rows(recording)
    longest = max((sum(seconds.values()) for _, seconds in rows), default=0.0)
    plot = make_plot(
        "Threads x wall time (core-seconds)",
        "",
        height=min(_MOST_PX, _ROW_PX * len(rows)) + _AXIS_PX + _LEGEND_PX,
        x_range=Range1d(start=0, end=1.02 * longest or 1.0),
        y_range=Range1d(start=len(rows) - 0.4, end=-0.6),
    )
    entries = []
    left = [0.0] * len(rows)
    for label, (role, pattern) in SLOT_LOOKS.items():
        widths = [seconds.get(label, 0.0) for _, seconds in rows]
        right = [a + b for a, b in zip(left, widths, strict=True)]
        source = ColumnDataSource(
            {
                "y": [float(index) for index in range(len(rows))],
                "left": left,
                "right": right,
                "name": [name for name, _ in rows],
                "part": [label] * len(rows),
                "text": [format_seconds(width) for width in widths],
                "share": [
                    f"{100 * width / (sum(seconds.values()) or 1):.1f} %"
                    for width, (_, seconds) in zip(widths, rows, strict=True)
                ],
            }
        )
        bars = plot.hbar(
            y="y",
            left="left",
            right="right",
            height=0.7,
            source=source,
            **box_style(role, pattern),
            name=label,
        )
        tips = [("worker", "name"), ("thread is", "part")]
        add_tips(plot, [bars], [*tips, ("core-seconds", "text"), ("share", "share")])
        if any(widths):
            entries.append((label, bars))
        left = right
    add_legend(plot, entries, "above", orientation="horizontal", ncols=6, padding=2)
    if _MOST_PX / len(rows) >= _LEAST_PX:
        label_rows(plot, [name for name, _ in rows])
    return plot


def plot_stream(recording: Recording) -> figure:
    """Return Dask's task stream: a line a thread, a box a task or transfer.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    bokeh.plotting.figure
        Seconds since the recording began along x. One renderer a name of tasks,
        "compute-0" and so on, and one for each other action, named after it.
    """
    tasks = recording.tasks
    lines = sorted({task.line for task in tasks}, key=_natural)
    n_lines = max(len(lines), 1)
    plot = make_plot(
        "Time since the recording began (s)",
        "Thread of a worker",
        height=min(_MOST_PX, _ROW_PX * n_lines) + _AXIS_PX + _LEGEND_PX,
        x_range=Range1d(start=0, end=recording.wall_s or 1.0),
        y_range=Range1d(start=n_lines - 0.4, end=-0.6),
    )
    names = [group.name for group in recording.groups][: len(_ROLES)]
    kinds: list[tuple[str, str, str, str, list[Task]]] = []
    computed = [task for task in tasks if task.action == "compute"]
    good = [task for task in computed if not task.is_failed]
    for index, name in enumerate(names):
        chosen = [task for task in good if task.name == name]
        kinds.append((f"compute-{index}", name, _ROLES[index], "blank", chosen))
    others = [task for task in good if task.name not in names]
    kinds.append(("compute-other", "other tasks", "grey", "blank", others))
    failed = [task for task in computed if task.is_failed]
    kinds.append(("failed", "failed", "slower", "vertical_line", failed))
    for action, (role, pattern) in _ACTIONS.items():
        chosen = [task for task in tasks if task.action == action]
        kinds.append((action, action, role, pattern, chosen))
    entries = []
    for label, title, role, pattern, chosen in kinds:
        if not chosen:
            continue
        boxes = plot.quad(
            left="start",
            right="end",
            top="top",
            bottom="bottom",
            source=ColumnDataSource(_describe(chosen, lines)),
            **box_style(role, pattern),
            name=label,
        )
        rows = [("thread", "line"), ("task", "name"), ("action", "action")]
        add_tips(plot, [boxes], [*rows, ("began after", "began"), ("took", "took")])
        entries.append((title if len(title) <= _LEGEND_PX else title[:40], boxes))
    add_legend(plot, entries, "above", orientation="horizontal", ncols=5, padding=2)
    if _MOST_PX / n_lines >= _LEAST_PX:
        label_rows(plot, lines)
    return plot


def _list_rows(recording: Recording) -> list[tuple[str, dict[str, float]]]:
    """Return the rows of bars by name: all workers, and each if there are few."""
    workers: Sequence[WorkerBook] = recording.workers
    rows = [("all workers", recording.totals())]
    if 1 < len(workers) <= _MOST_PX // _ROW_PX:
        rows += [(worker.name, dict(worker.seconds)) for worker in workers]
    return rows


def _describe(tasks: Sequence[Task], lines: Sequence[str]) -> dict[str, Any]:
    at = {line: float(index) for index, line in enumerate(lines)}
    return {
        "start": [round(task.start_s, 6) for task in tasks],
        "end": [round(task.end_s, 6) for task in tasks],
        # y runs down; a transfer can take place while the thread executes another task.
        "top": [
            at[task.line] - (0.38 if task.action == "compute" else 0.2)
            for task in tasks
        ],
        "bottom": [
            at[task.line] + (0.38 if task.action == "compute" else 0.2)
            for task in tasks
        ],
        "line": [task.line for task in tasks],
        "name": [task.name for task in tasks],
        "action": [task.action for task in tasks],
        "began": [format_seconds(task.start_s) for task in tasks],
        "took": [format_seconds(task.end_s - task.start_s) for task in tasks],
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers as numbers.

    Examples
    --------
    >>> sorted(["10 #1", "9 #2", "9 #1"], key=_natural)
    ['9 #1', '9 #2', '10 #1']
    """
    words = name.replace("#", "").split()
    return [(int(w), "") if w.isdecimal() else (1 << 60, w) for w in words]
