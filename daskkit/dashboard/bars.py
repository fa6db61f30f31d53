"""Rows of what runs, as bars in a terminal or a table in a notebook."""

from __future__ import annotations

import html
import importlib
import sys
from typing import TYPE_CHECKING, Any

from daskkit.progress import make_bar
from daskkit.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskkit.dashboard.calls import CallRow

__all__ = ["Bars", "Table", "make_view"]


def make_view() -> Bars | Table:
    """Return what shows rows here: a table in a notebook, bars elsewhere.

    Returns
    -------
    Bars or Table
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # A notebook can't show several bars of text, and may lack what draws others.
    return Bars() if getattr(shell, "kernel", None) is None else Table()


class Bars:
    """Text bars on `sys.stderr`, one a row; those of what is over stay."""

    def __init__(self) -> None:
        # None once it is over.
        self._bars: dict[str, Any] = {}

    def show(self, rows: Sequence[CallRow]) -> None:
        """Show rows; those that were shown before by the same bar."""
        for row in rows:
            bar = self._bars.get(row.id)
            if bar is None and row.id not in self._bars:
                bar = make_bar(
                    row.n_items,
                    row.name,
                    show=True,
                    unit=row.unit,
                    delay_s=0,
                    n_done=row.n_done,
                )
                self._bars[row.id] = bar
            if bar is None:
                continue
            bar.total = row.n_items
            bar.set_postfix_str(", ".join(_list_notes(row)), refresh=False)
            bar.update(row.n_done - bar.n)
            if row.state == "running":
                bar.refresh()
            else:
                self._bars[row.id] = None
                bar.close()

    def close(self) -> None:
        """Leave all bars as they are."""
        for bar in self._bars.values():
            if bar is not None:
                bar.close()
        self._bars = dict.fromkeys(self._bars)


class Table:
    """A table in the output of a notebook's cell, which is drawn again and again."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, rows: Sequence[CallRow]) -> None:
        """Show rows in place of those that were shown before."""
        module: Any = importlib.import_module("IPython.display")
        shown = module.HTML(make_table(rows))
        if self._handle is not None:
            self._handle.update(shown)
        elif rows:
            self._handle = module.display(shown, display_id=True)

    def close(self) -> None:
        """Leave the table as it is."""


def make_table(rows: Sequence[CallRow]) -> str:
    """Return rows as HTML.

    Parameters
    ----------
    rows : sequence of CallRow
        What is to be shown, from top to bottom.

    Returns
    -------
    str
    """
    lines = []
    for row in rows:
        total = row.n_items
        done = f"{row.n_done:,}" if total is None else f"{row.n_done:,} of {total:,}"
        # Without a value it shows that nobody knows.
        value = "" if total is None else f' value="{row.n_done}" max="{max(1, total)}"'
        cells = [
            html.escape(row.name),
            f"<progress{value}></progress>",
            done,
            f"{row.rate:,.1f} {row.unit}s/s",
            "" if row.left_s is None else f"{format_seconds(row.left_s)} left",
            html.escape(", ".join(_list_notes(row))),
        ]
        lines.append("".join(f"<td>{cell}</td>" for cell in cells))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tbody>{body}</tbody></table>"


def _list_notes(row: CallRow) -> list[str]:
    """Return what there is to say of a row beside its numbers."""
    notes = []
    if row.n_failed:
        notes.append(f"{row.n_failed:,} failed")
    if row.state == "running":
        notes.append(f"{row.n_open:,} in flight")
    elif row.state != "done":
        notes.append(row.state)
    return notes
