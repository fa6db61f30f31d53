"""`Plan`: what a pilot has measured and predicts, to be read and to be run."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from daskkit.run.batches import DIRECT, Batches
from daskkit.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from daskkit.run.engine import Engine
    from daskkit.run.plan import Facts, Way

__all__ = ["Plan"]


class Plan:
    """How a call would be executed, and why; made by `daskkit.plan`.

    The pilot has executed the first items in the calling process. Their results are
    kept: `run` goes on with the others.

    Attributes
    ----------
    way : {"inline", "threads", "processes"}
        How the rest would be executed.
    reason : str
        Why, in one sentence.
    n_items : int
        All items.
    n_done : int
        Those that the pilot has executed.
    item_s : float
        Wall time of an item, in seconds.
    cpu_share, gil_share : float
        Shares of that time in which it used a core, and in which it held the GIL; the
        latter is 1 where it made no difference.
    argument_bytes, result_bytes : float
        Size of a pickled item, and of a pickled result; 0 where nothing is sent.
    inline_s, threads_s, processes_s : float
        Predicted wall time of the rest, in seconds; infinite where a way isn't open.
    n_threads, n_workers : int
        Threads, and worker processes, that would be used.
    batch_size : int or None
        Items that a worker would be handed at first; None without workers.
    """

    def __init__(self, engine: Engine) -> None:
        forecast = engine.look()
        self._engine: Engine | None = engine
        self._answer: Any = None
        call = engine.call
        pilot = call.pilot
        assert pilot.facts is not None
        facts: Facts = pilot.facts
        self.name = call.job.name
        self.way: Way = forecast.way
        self.reason = forecast.reason
        self.n_items = call.source.n_items or 0
        self.n_done = call.n_done
        self.item_s = facts.item_s
        self.cpu_share = facts.cpu_share
        self.gil_share = facts.gil_share
        self.argument_bytes = facts.argument_bytes
        self.result_bytes = facts.result_bytes
        self.inline_s = forecast.inline_s
        self.threads_s = forecast.threads_s
        self.processes_s = forecast.processes_s
        self.n_threads = forecast.n_threads
        self.n_workers = 0 if pilot.means is None else pilot.means.n_workers
        self.batch_size: int | None = None
        if forecast.way == "processes" and self.n_workers:
            batches = Batches(self.n_workers, facts.item_s, DIRECT)
            n_left = self.n_items - self.n_done
            self.batch_size = call.batch_size or batches.next_size(n_left)

    def run(self) -> Any:
        """Return the results of all items, the pilot's included.

        A second call returns the same again.

        Returns
        -------
        list
            As `daskkit.map`.

        Raises
        ------
        Exception
            As `daskkit.map`.
        """
        if self._engine is not None:
            engine, self._engine = self._engine, None
            self._answer = engine.run()
        return self._answer

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("items", f"{self.n_items:,}, of which {self.n_done:,} are done")]
        if math.isnan(self.item_s):
            return rows
        text = f"{format_seconds(self.item_s)}, {self.cpu_share:.0%} CPU"
        rows.append(("an item", text))
        if self.argument_bytes or self.result_bytes:
            sent = format_bytes(self.argument_bytes)
            back = format_bytes(self.result_bytes)
            rows.append(("sent for it", f"{sent}, and {back} back"))
        ways = {
            "inline": self.inline_s,
            f"{self.n_threads} threads": self.threads_s,
            f"{self.n_workers} processes": self.processes_s,
        }
        rows += [
            (name, format_seconds(seconds))
            for name, seconds in ways.items()
            if not math.isinf(seconds)
        ]
        if self.batch_size is not None:
            rows.append(("batches of", f"{self.batch_size:,} items at first"))
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        lines = [f"  {name:<{width}}  {text}" for name, text in rows]
        return "\n".join([f"Plan for {self.name}: {self.way}", *lines, self.reason])

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<tr><td style="text-align:left">{html.escape(name)}</td>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for name, text in self._rows()
        )
        name, way = html.escape(self.name), html.escape(self.way)
        return (
            f"<p>Plan for <b>{name}</b>: <b>{way}</b></p><table>{cells}</table>"
            f"<p>{html.escape(self.reason)}</p>"
        )
