"""Figures of where the core-seconds went: ledgers as bars, a call as a timeline.

Reads records alone. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bokeh.models import ColumnDataSource, FixedTicker, PlainText
from bokeh.models.ranges import Range1d

from daskkit.accounts import PARTS
from daskkit.pages.theme import (
    PART_LOOKS,
    add_legend,
    add_tips,
    box_style,
    color,
    make_plot,
    style_axis,
)
from daskkit.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bokeh.plotting import figure

    from daskkit.accounts import Ledger, Stamp, Trace

__all__ = ["label_rows", "plot_ledgers", "plot_timeline"]

_ROW_PX = 30
_AXIS_PX = 60
_LEGEND_PX = 60
_LABEL_LENGTH = 24
# A line a worker must not be thinner than this; more of them share the height.
_LEAST_LINE_PX = 4
_MOST_PX = 900


def plot_ledgers(ledgers: Mapping[str, Ledger]) -> figure:
    """Return ledgers as stacked bars, one below the other.

    Parameters
    ----------
    ledgers : mapping of str to Ledger
        By what they are called, drawn from top to bottom.

    Returns
    -------
    bokeh.plotting.figure
        Core-seconds along x; the whole bar is workers x wall. One renderer a part,
        named after it; colours have hatch patterns beside them.

    Examples
    --------
    >>> from daskkit.accounts import Ledger
    >>> plot = plot_ledgers({"bag": Ledger(2, 1.0, compute_s=1.5, tail_s=0.5)})
    >>> plot.xaxis[0].axis_label
    'Workers x wall time (core-seconds)'
    """
    names = list(ledgers)
    longest = max((ledger.whole_s for ledger in ledgers.values()), default=0.0)
    plot = make_plot(
        "Workers x wall time (core-seconds)",
        "",
        height=_ROW_PX * max(len(names), 1) + _AXIS_PX + _LEGEND_PX,
        x_range=Range1d(start=0, end=1.02 * longest or 1.0),
        y_range=Range1d(start=max(len(names), 1) - 0.4, end=-0.6),
    )
    entries = []
    left = [0.0] * len(names)
    for part, title in PARTS.items():
        seconds = [ledger.parts()[part] for ledger in ledgers.values()]
        right = [a + b for a, b in zip(left, seconds, strict=True)]
        role, pattern = PART_LOOKS[part]
        bars = plot.hbar(
            y="y",
            left="left",
            right="right",
            height=0.7,
            source=ColumnDataSource(_describe_bars(ledgers, part, left, right)),
            **box_style(role, pattern),
            name=part,
        )
        rows = [
            ("back end", "name"),
            ("part", "part"),
            ("core-seconds", "text"),
            ("share", "share"),
            ("workers", "workers"),
        ]
        add_tips(plot, [bars], rows)
        if any(seconds):  # a name without a colour would be a riddle
            entries.append((title, bars))
        left = right
    add_legend(plot, entries, "above", orientation="horizontal", ncols=4, padding=2)
    label_rows(plot, names)
    return plot


def plot_timeline(trace: Trace, since: str = "the call began") -> figure:
    """Return a call as a timeline: one line a worker, one box a batch.

    Parameters
    ----------
    trace : Trace
        Workers stand from top to bottom in the order in which they began.
    since : str, default "the call began"
        What happened at 0 s.

    Returns
    -------
    bokeh.plotting.figure
        Seconds along x. A box is filled as high as its share of
        CPU time; its outline, and what is empty of it, is its wall time. The mouse
        shows its items. The renderers are named "batch" and "cpu".

    Examples
    --------
    >>> from daskkit.accounts import Stamp, Trace
    >>> stamp = Stamp("a", start_s=0.5, end_s=1.0, cpu_s=0.4, first=0, n_items=2)
    >>> plot = plot_timeline(Trace(n_workers=1, wall_s=2.0, stamps=(stamp,)))
    >>> plot.select_one({"name": "batch"}).data_source.data["items"]
    ['0 to 1']
    """
    workers = list(dict.fromkeys(_by_start(trace)))
    n_lines = max(len(workers), trace.n_workers, 1)
    plot = make_plot(
        f"Time since {since} (s)",
        "Worker",
        height=min(_MOST_PX, _ROW_PX * n_lines) + _AXIS_PX,
        x_range=Range1d(start=0, end=trace.wall_s or 1.0),
        y_range=Range1d(start=n_lines - 0.4, end=-0.6),
    )
    source = ColumnDataSource(_describe_batches(trace, workers))
    role, _ = PART_LOOKS["waiting_s"]
    boxes = plot.quad(
        left="start",
        right="end",
        top="top",
        bottom="bottom",
        source=source,
        fill_color=color(role),
        fill_alpha=0.35,
        line_color=color("ink"),
        line_width=0.8,
        hover_fill_alpha=0.8,
        name="batch",
    )
    plot.quad(
        left="start",
        right="end",
        top="level",
        bottom="bottom",
        source=source,
        fill_color=color(PART_LOOKS["compute_s"][0]),
        line_color=None,
        name="cpu",
    )
    rows = [
        ("worker", "worker"),
        ("items", "items"),
        ("began after", "began"),
        ("took", "took"),
        ("of it CPU", "cpu"),
        ("bytes in, out", "bytes"),
    ]
    add_tips(plot, [boxes], rows)
    if _MOST_PX / n_lines >= _LEAST_LINE_PX * 3:
        label_rows(plot, [*workers, *["(idle)"] * (n_lines - len(workers))])
    return plot


def _by_start(trace: Trace) -> list[str]:
    return [
        stamp.worker for stamp in sorted(trace.stamps, key=lambda stamp: stamp.start_s)
    ]


def _describe_bars(
    ledgers: Mapping[str, Ledger],
    part: str,
    left: Sequence[float],
    right: Sequence[float],
) -> dict[str, Any]:
    """Return the columns of one part; ledgers that have none of it are left out."""
    rows = [
        (index, name, ledger)
        for index, (name, ledger) in enumerate(ledgers.items())
        if ledger.parts()[part] > 0
    ]
    return {
        "y": [float(index) for index, _, _ in rows],
        "left": [left[index] for index, _, _ in rows],
        "right": [right[index] for index, _, _ in rows],
        "name": [name for _, name, _ in rows],
        "part": [PARTS[part]] * len(rows),
        "text": [format_seconds(ledger.parts()[part]) for _, _, ledger in rows],
        "share": [f"{100 * ledger.share(part):.1f} %" for _, _, ledger in rows],
        "workers": [str(ledger.n_workers) for _, _, ledger in rows],
    }


def _describe_batches(trace: Trace, workers: Sequence[str]) -> dict[str, Any]:
    at = {worker: float(index) for index, worker in enumerate(workers)}
    stamps = trace.stamps
    return {
        "start": [stamp.start_s for stamp in stamps],
        "end": [stamp.end_s for stamp in stamps],
        # y runs down.
        "top": [at[stamp.worker] - 0.38 for stamp in stamps],
        "bottom": [at[stamp.worker] + 0.38 for stamp in stamps],
        "level": [at[s.worker] + 0.38 - 0.76 * _cpu_share(s) for s in stamps],
        "worker": [stamp.worker for stamp in stamps],
        "items": [_name_items(stamp) for stamp in stamps],
        "began": [format_seconds(stamp.start_s) for stamp in stamps],
        "took": [format_seconds(stamp.end_s - stamp.start_s) for stamp in stamps],
        "cpu": [format_seconds(stamp.cpu_s) for stamp in stamps],
        "bytes": [
            f"{format_bytes(stamp.bytes_in)}, {format_bytes(stamp.bytes_out)}"
            for stamp in stamps
        ],
    }


def _cpu_share(stamp: Stamp) -> float:
    took_s = stamp.end_s - stamp.start_s
    return min(max(stamp.cpu_s / took_s, 0.0), 1.0) if took_s > 0 else 1.0


def _name_items(stamp: Stamp) -> str:
    """Return the indices of a batch's items in words."""
    if stamp.n_items < 1:
        return "none"
    last = stamp.first + stamp.n_items - 1
    return str(last) if stamp.n_items == 1 else f"{stamp.first} to {last}"


def label_rows(plot: figure, names: Sequence[str]) -> None:
    """Write names on the left.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        Its lines are at 0, 1, 2 and so on.
    names : sequence of str
        Of the lines, from top to bottom.
    """
    ticks = [float(index) for index in range(len(names))]
    plot.yaxis.ticker = FixedTicker(ticks=ticks)
    plot.ygrid.grid_line_color = None
    for axis in plot.yaxis:
        style_axis(axis)
        axis.major_label_text_color = color("ink")
    # PlainText, because Bokeh takes a name with dollar signs for a formula.
    plot.yaxis[0].major_label_overrides = {
        at: PlainText(text=_shorten(name))
        for at, name in zip(ticks, names, strict=True)
    }


def _shorten(name: str) -> str:
    if len(name) <= _LABEL_LENGTH:
        return name
    return name[: _LABEL_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
