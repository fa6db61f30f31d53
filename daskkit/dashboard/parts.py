"""The parts of the page: figures and tables that follow the observer.

Each has a `root`, a Bokeh model, and `update`, which is called in the scheduler's event
loop twice a second for each open page. Reads figures, computes none. Bokeh is imported
late, as a scheduler may be without it.
"""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any

from daskkit.dashboard.ledger import LABELS
from daskkit.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskkit.dashboard.calls import CallRow
    from daskkit.dashboard.ledger import SlowItem
    from daskkit.dashboard.observer import Observer

__all__ = [
    "COLOURS",
    "CallsPart",
    "CoresPart",
    "EfficiencyPart",
    "HeadlinePart",
    "MemoryPart",
    "Part",
    "SlowestPart",
    "TransportPart",
    "format_calls",
    "format_headline",
    "format_slowest",
]

#: Colour of each label: Okabe and Ito's, which colour-blind readers can tell apart.
COLOURS = dict(
    zip(
        LABELS,
        ("#0072b2", "#56b4e9", "#e69f00", "#cc79a7", "#d55e00", "#d9d9d9"),
        strict=True,
    )
)
_CSS = """
table { border-collapse: collapse; font-size: 13px; }
caption { text-align: left; font-weight: 600; padding: 4px 0; }
th, td { padding: 2px 12px 2px 0; text-align: left; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.wide { white-space: normal; }
.big { font-size: 26px; font-weight: 600; font-variant-numeric: tabular-nums; }
.figure { display: inline-block; margin: 0 28px 4px 0; vertical-align: top; }
.figure small, .quiet { color: #59626d; }
"""
_ROW_PX = 18
_MOST_NAME = 40
_DASH = "\N{EN DASH}"


class Part:
    """A figure or table of the page.

    Parameters
    ----------
    watching : Observer
        Has the figures.
    """

    root: Any

    def __init__(self, watching: Observer) -> None:
        self.watching = watching
        self.build()
        self.update()

    def build(self) -> None:
        """Make the root."""
        raise NotImplementedError

    def update(self) -> None:
        """Show what is known now."""
        raise NotImplementedError


class _TextPart(Part):
    """A part that is text; it is sent again only if it has changed."""

    #: Of the model, for those who look for it.
    name: str

    def build(self) -> None:
        """Make the root."""
        from bokeh.models.widgets import Div

        self.root = Div(name=self.name, sizing_mode="stretch_width", stylesheets=[_CSS])

    def update(self) -> None:
        """Show what is known now."""
        text = self.compose()
        if text != self.root.text:
            self.root.text = text

    def compose(self) -> str:
        """Return the text, as HTML."""
        raise NotImplementedError


class HeadlinePart(_TextPart):
    """The figures that matter most; the model's tag has them as numbers."""

    name = "daskkit-headline"

    def compose(self) -> str:
        """Return the text, as HTML."""
        ledger = self.watching.ledger
        totals = ledger.totals
        figures = {
            "efficiency_now": ledger.efficiency_now(time.time()),
            "efficiency": ledger.efficiency,
            "run_seconds": ledger.run_seconds,
            "items": totals.items,
            "failed": totals.failed,
            "mapped": totals.mapped,
            "sent": totals.sent,
            "n_workers": ledger.n_workers,
            "n_slots": ledger.n_slots,
        }
        if self.root.tags != [figures]:
            self.root.tags = [figures]
        return format_headline(figures)


class CallsPart(_TextPart):
    """A row for each call of a verb."""

    name = "daskkit-calls"

    def compose(self) -> str:
        """Return the text, as HTML."""
        return format_calls(self.watching.calls.rows(time.time()))


class SlowestPart(_TextPart):
    """The items that took longest."""

    name = "daskkit-slowest"

    def compose(self) -> str:
        """Return the text, as HTML."""
        return format_slowest(self.watching.ledger.slowest)


class _HistoryPart(Part):
    """A figure over time."""

    #: Names of its columns.
    columns: tuple[str, ...]
    title: str
    y_label: str
    name: str
    height = 260

    def build(self) -> None:
        """Make the figure, empty."""
        from bokeh.models import ColumnDataSource
        from bokeh.plotting import figure

        self._n_seen = 0
        self.source = ColumnDataSource(
            {"t": [], **{column: [] for column in self.columns}}, name=self.name
        )
        self.root = figure(
            title=self.title,
            x_axis_type="datetime",
            height=self.height,
            sizing_mode="stretch_width",
            tools="xpan,xwheel_zoom,reset,save",
            toolbar_location="right",
            y_axis_label=self.y_label,
        )
        self.root.y_range.start = 0
        self.draw()

    def draw(self) -> None:
        """Add the glyphs."""
        raise NotImplementedError

    def update(self) -> None:
        """Append what has come since the last look."""
        watching = self.watching
        n_new = min(watching.n_points - self._n_seen, len(watching.history))
        self._n_seen = watching.n_points
        if not n_new:
            return
        points = list(watching.history)[-n_new:]
        values = [self.choose(rates, efficiency) for _, rates, efficiency in points]
        columns = {
            column: [value[i] for value in values]
            for i, column in enumerate(self.columns)
        }
        times = [1e3 * now for now, _, _ in points]  # as Bokeh counts
        self.source.stream({"t": times, **columns}, rollover=watching.history.maxlen)

    def choose(
        self, rates: Sequence[float], efficiency: float | None
    ) -> Sequence[float]:
        """Return the values of the columns for one point."""
        raise NotImplementedError


class CoresPart(_HistoryPart):
    """Core-seconds a second, by what they go to."""

    columns = LABELS
    title = "What the threads of the workers do"
    y_label = "core-seconds a second"
    name = "daskkit-cores"

    def draw(self) -> None:
        """Add the glyphs."""
        from bokeh.models.annotations import Legend, LegendItem

        areas = self.root.varea_stack(
            list(LABELS), x="t", source=self.source, color=list(COLOURS.values())
        )
        items = [
            LegendItem(label=label, renderers=[area])
            for label, area in zip(LABELS, areas, strict=True)
        ]
        # Beside the figure it would take a third of a small panel.
        self.root.add_layout(Legend(items=items, orientation="horizontal"), "above")

    def choose(
        self, rates: Sequence[float], efficiency: float | None
    ) -> Sequence[float]:
        """Return the values of the columns for one point."""
        del efficiency
        return rates


class EfficiencyPart(_HistoryPart):
    """Efficiency over time."""

    columns = ("efficiency",)
    title = "Parallel efficiency"
    y_label = "share of threads that execute"
    name = "daskkit-efficiency"
    height = 160

    def draw(self) -> None:
        """Add the glyphs."""
        from bokeh.models import NumeralTickFormatter

        self.root.y_range.end = 1.05
        self.root.line("t", "efficiency", source=self.source, line_width=2)
        self.root.yaxis.formatter = NumeralTickFormatter(format="0%")

    def choose(
        self, rates: Sequence[float], efficiency: float | None
    ) -> Sequence[float]:
        """Return the values of the columns for one point."""
        del rates
        return (float("nan") if efficiency is None else efficiency,)


class _BarsPart(Part):
    """Horizontal bars of bytes."""

    title: str
    name: str

    def build(self) -> None:
        """Make the figure, empty."""
        from bokeh.models import (
            AdaptiveTicker,
            ColumnDataSource,
            FactorRange,
            NumeralTickFormatter,
        )
        from bokeh.plotting import figure

        self.source = ColumnDataSource(
            {"name": [], "bytes": [], "limit": [], "text": []}, name=self.name
        )
        self.root = figure(
            title=self.title,
            y_range=FactorRange(),
            height=120,
            sizing_mode="stretch_width",
            tools="",
            toolbar_location=None,
            tooltips=[("", "@name: @text")],
        )
        self.root.x_range.start = 0
        self.root.xaxis.formatter = NumeralTickFormatter(format="0.0 b")
        self.root.xaxis.ticker = AdaptiveTicker(
            mantissas=[2**power for power in range(10)],
            base=1024,
            desired_num_ticks=4,
            num_minor_ticks=0,
        )
        self.root.hbar(
            y="name", right="limit", height=0.8, source=self.source, color="#e4e7eb"
        )
        self.root.hbar(
            y="name", right="bytes", height=0.6, source=self.source, color="#0072b2"
        )

    def update(self) -> None:
        """Show what is known now."""
        rows = self.compose()
        names = [row[0] for row in rows]
        if names != list(self.root.y_range.factors):
            self.root.y_range.factors = names
            self.root.height = 70 + _ROW_PX * max(2, len(names))
        columns = zip(("name", "bytes", "limit", "text"), range(4), strict=True)
        self.source.data = {column: [row[i] for row in rows] for column, i in columns}

    def compose(self) -> list[tuple[str, float, float, str]]:
        """Return name, bytes, limit and a text for each bar, from bottom to top."""
        raise NotImplementedError


class MemoryPart(_BarsPart):
    """Memory of each worker, against its limit."""

    title = "Memory of the workers, against their limit"
    name = "daskkit-memory"

    def compose(self) -> list[tuple[str, float, float, str]]:
        """Return name, bytes, limit and a text for each bar, from bottom to top."""
        rows = []
        for state in list(self.watching.scheduler.workers.values()):
            used = (state.metrics or {}).get("memory", 0)
            limit = state.memory_limit or 0
            of = f" of {format_bytes(limit)}" if limit else ", no limit"
            name = str(state.name)[-_MOST_NAME:]
            rows.append((name, used, limit, f"{format_bytes(used)}{of}"))
        # Two workers may have one name; a bar needs its own.
        unique = {row[0]: row for row in sorted(rows, key=lambda row: _natural(row[0]))}
        return list(unique.values())[::-1]


class TransportPart(_BarsPart):
    """Bytes of verbs: mapped by both sides, against sent through sockets."""

    title = "Arguments and results of verbs"
    name = "daskkit-transport"

    def compose(self) -> list[tuple[str, float, float, str]]:
        """Return name, bytes, limit and a text for each bar, from bottom to top."""
        totals = self.watching.ledger.totals
        return [
            ("sent", totals.sent, 0, format_bytes(totals.sent)),
            ("mapped", totals.mapped, 0, format_bytes(totals.mapped)),
        ]


def format_headline(figures: dict[str, Any]) -> str:
    """Return the headline as HTML.

    Parameters
    ----------
    figures : dict
        As made by `HeadlinePart`.

    Returns
    -------
    str
    """
    seconds = figures["run_seconds"]
    total = sum(seconds)
    shares = "".join(
        f'<span style="color:{COLOURS[label]}">\N{BLACK SQUARE}</span> {label} '
        f"{_percent(value / total)} &ensp;"
        for label, value in zip(LABELS, seconds, strict=True)
        if total
    )
    failed = f"{figures['failed']:,} failed" if figures["failed"] else "none failed"
    boxes = (
        ("efficiency now", _percent(figures["efficiency_now"]), ""),
        ("efficiency of this run", _percent(figures["efficiency"]), shares),
        ("items of verbs on workers", f"{figures['items']:,}", failed),
        ("workers", f"{figures['n_workers']:,}", f"{figures['n_slots']:,} threads"),
    )
    return "".join(
        f'<div class="figure"><small>{name}</small><div class="big">{value}</div>'
        f"<small>{note}</small></div>"
        for name, value, note in boxes
    )


def format_calls(rows: Sequence[CallRow]) -> str:
    """Return the table of calls as HTML.

    Parameters
    ----------
    rows : sequence of CallRow

    Returns
    -------
    str
    """
    caption = "Verbs"
    if not rows:
        return _empty(caption, "no call of a verb has lasted 0.2 s here yet")
    body = []
    for row in rows:
        n_items = "?" if row.n_items is None else f"{row.n_items:,}"
        batch = f"{row.batch_size:,}" if row.batch_size else _DASH
        left = _DASH if row.left_s is None else _duration(row.left_s)
        body.append(
            (
                _cut(row.name),
                row.state,
                f"{row.n_done:,} of {n_items}",
                f"{row.n_failed:,}",
                f"{row.n_open:,}",
                f"{row.rate:,.3g} /s" if row.rate < 1000 else f"{row.rate:,.0f} /s",  # noqa: PLR2004 - three digits
                left,
                _duration(row.wall_s),
                f"{row.n_lanes:,}",
                batch,
                row.reason,
            )
        )
    heads = (
        "name",
        "state",
        "done",
        "failed",
        "in flight",
        "rate",
        "time left",
        "time",
        "lanes",
        "batch",
        "why that size",
    )
    return _table(caption, heads, body, texts={0, 1, 10})


def format_slowest(items: Sequence[SlowItem]) -> str:
    """Return the table of the slowest items as HTML.

    Parameters
    ----------
    items : sequence of SlowItem

    Returns
    -------
    str
    """
    caption = "Slowest items"
    if not items:
        return _empty(caption, "no item of a verb has been executed here yet")
    body = []
    for item in items:
        which = f"{item.index:,}"
        if item.n_items > 1:
            which += f" to {item.index + item.n_items - 1:,} (mean)"
        state = "runs" if item.is_running else ""
        body.append((_cut(item.name), which, format_seconds(item.seconds), state))
    return _table(caption, ("name", "item", "time", ""), body, texts={0, 3})


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: set[int],
) -> str:
    """Return a table as HTML; columns that aren't texts are flush right."""
    marks = ["" if i in texts else ' class="n"' for i in range(len(heads))]
    head = "".join(
        f"<th{mark}>{text}</th>" for mark, text in zip(marks, heads, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark}>{html.escape(text)}</td>"
            for mark, text in zip(marks, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _empty(caption: str, text: str) -> str:
    return f'<table><caption>{caption}</caption></table><p class="quiet">{text}</p>'


def _percent(share: float | None) -> str:
    return _DASH if share is None else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _duration(seconds: float) -> str:
    """Return a time as people read it from a clock.

    Examples
    --------
    >>> _duration(4.2), _duration(75), _duration(7_300)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _cut(text: str) -> str:
    if len(text) <= _MOST_NAME:
        return text
    return text[: _MOST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _natural(name: str) -> tuple[int, str]:
    """Return a key that sorts numbers as numbers.

    Examples
    --------
    >>> sorted(["10", "9", "a"], key=_natural)
    ['9', '10', 'a']
    """
    return (int(name), "") if name.isdecimal() else (1 << 60, name)
