"""From the counters of workers to the figures of the page: pure arithmetic.

A `Ledger` is fed with reports, the dicts of `run.slots`, in whatever order and however
late they come. Workers count, so nothing is lost between two reports; a worker that has
gone keeps what it reported. No clock, no cluster, no Bokeh.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LABELS", "Ledger", "SlowItem", "Totals"]

#: What a slot can be doing; the order of all lists of seconds.
LABELS = ("busy", "waiting", "transfer", "dispatch", "paused", "starved")
# In these two a slot executes an item or a task.
_N_EXECUTING = 2
# Work that begins within this time of other work belongs to the same run.
_REST_S = 2.0
# A worker whose last report is older says nothing about now.
_STALE_S = 10.0
_N_SLOWEST = 8


@dataclasses.dataclass(frozen=True)
class Totals:
    """What workers have counted, all together; also of those that have gone."""

    #: Items of verbs, those included that raised, and those that raised.
    items: int = 0
    failed: int = 0
    #: Bytes of arguments and results of verbs: in memory that both sides map, and
    #: through sockets.
    mapped: int = 0
    sent: int = 0

    def __add__(self, other: Totals) -> Totals:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Totals(*(a + b for a, b in zip(mine, theirs, strict=True)))


@dataclasses.dataclass(frozen=True, order=True)
class SlowItem:
    """An item that took long, or is taking long."""

    #: Seconds; the mean of `n_items` that were executed in one go.
    seconds: float
    #: Name of the verb's call, and index of the (first) item.
    name: str
    index: int
    n_items: int
    is_running: bool


@dataclasses.dataclass
class _Worker:
    """What is known of one worker."""

    n_slots: int
    #: When it came, and its latest report.
    began: float
    latest: dict[str, Any]
    #: Core-seconds a second between its last two reports, by label.
    rates: list[float]


class Ledger:
    """The figures of one cluster.

    Examples
    --------
    >>> def report(t, busy, starved):
    ...     seconds = [busy, 0.0, 0.0, 0.0, 0.0, starved]
    ...     return {"t": t, "began": 0.0, "n": 1, "s": seconds, "active": [1.0, 5.0],
    ...             "items": 4, "failed": 0, "mapped": 0, "sent": 0, "slow": []}
    >>> ledger = Ledger()
    >>> ledger.hear("worker", report(1.0, 0.0, 1.0))
    >>> ledger.hear("worker", report(5.0, 3.0, 2.0))
    >>> ledger.rates(now=5.0)
    [0.75, 0.0, 0.0, 0.0, 0.0, 0.25]
    >>> ledger.efficiency_now(now=5.0), ledger.efficiency
    (0.75, 0.75)
    """

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        # Slots, first and last second of workers that have gone.
        self._gone: list[tuple[int, float, float]] = []
        self._gone_totals = Totals()
        self._gone_slowest: list[SlowItem] = []
        #: The run, beginning and end in seconds since the epoch; equal without one.
        self.run: tuple[float, float] = (-math.inf, -math.inf)
        self._run_seconds = [0.0] * len(LABELS)

    def hear(self, worker: str, report: dict[str, Any]) -> None:
        """Take in a worker's report; one that is known already changes nothing.

        Parameters
        ----------
        worker : str
            Its address.
        report : dict
            As by `daskkit.run.slots.SlotMeter.report`.
        """
        known = self._workers.get(worker)
        if known is not None and report["began"] != known.began:
            self.forget(worker)  # another process at the same address
            known = None
        if known is None:
            zeros = [0.0] * len(LABELS)
            known = _Worker(
                report["n"],
                report["began"],
                {**report, "t": report["began"], "s": zeros},
                zeros,
            )
            self._workers[worker] = known
        before = known.latest
        gone_s = report["t"] - before["t"]
        if gone_s <= 0:
            known.latest = max(before, report, key=lambda one: one["t"])
            return
        # What was told of a thread that runs may have been a little too much.
        deltas = [
            max(0.0, new - old)
            for new, old in zip(report["s"], before["s"], strict=True)
        ]
        known.rates = [delta / gone_s for delta in deltas]
        known.latest, known.n_slots = report, report["n"]
        self._extend_run(report["active"], deltas)

    def keep(self, workers: Iterable[str]) -> None:
        """Forget all workers but these.

        Parameters
        ----------
        workers : iterable of str
            Addresses.
        """
        for worker in self._workers.keys() - set(workers):
            self.forget(worker)

    def forget(self, worker: str) -> None:
        """Note that a worker has gone; what it did still counts.

        Parameters
        ----------
        worker : str
            Its address.
        """
        known = self._workers.pop(worker, None)
        if known is None:
            return
        self._gone.append((known.n_slots, known.began, known.latest["t"]))
        self._gone_totals += _totals_of(known.latest)
        self._gone_slowest = heapq.nlargest(
            _N_SLOWEST, [*self._gone_slowest, *_slowest_of(known.latest)]
        )

    def cover(self, began: float, ended: float) -> None:
        """Note that there was work, which may extend the run or begin another.

        Parameters
        ----------
        began, ended : float
            Seconds since the epoch.
        """
        first, last = self.run
        if began > last + _REST_S:
            self.run = (began, ended)
            self._run_seconds = [0.0] * len(LABELS)
            self._gone.clear()
        elif ended >= first - _REST_S:
            self.run = (min(first, began), max(last, ended))

    @property
    def n_workers(self) -> int:
        """Workers that report."""
        return len(self._workers)

    @property
    def n_slots(self) -> int:
        """Threads of those workers."""
        return sum(known.n_slots for known in self._workers.values())

    @property
    def totals(self) -> Totals:
        """What all workers have counted."""
        latest = [_totals_of(known.latest) for known in self._workers.values()]
        return sum(latest, self._gone_totals)

    @property
    def slowest(self) -> list[SlowItem]:
        """The items that took longest, or are about to, the slowest first."""
        both = list(self._gone_slowest)
        for known in self._workers.values():
            both += _slowest_of(known.latest)
        return heapq.nlargest(_N_SLOWEST, both)

    def rates(self, now: float) -> list[float]:
        """Return core-seconds a second by label, of workers that are heard of.

        Parameters
        ----------
        now : float
            Seconds since the epoch.

        Returns
        -------
        list of float
            Their sum is the number of slots.
        """
        total = [0.0] * len(LABELS)
        for known in self._workers.values():
            if now - known.latest["t"] < _STALE_S:
                total = [a + b for a, b in zip(total, known.rates, strict=True)]
        return total

    def efficiency_now(self, now: float) -> float | None:
        """Return the share of slots that execute something, None without slots.

        Parameters
        ----------
        now : float
            Seconds since the epoch.

        Returns
        -------
        float or None
        """
        rates = self.rates(now)
        return sum(rates[:_N_EXECUTING]) / sum(rates) if sum(rates) else None

    @property
    def run_seconds(self) -> list[float]:
        """Core-seconds of the run by label; the sum is that of all slots.

        "starved" is what is left of the slots' time when all others are taken away:
        the run begins and ends between two reports.
        """
        began, ended = self.run
        spans = [
            (known.n_slots, known.began, max(ended, known.latest["t"]))
            for known in self._workers.values()
        ]
        slots_s = sum(
            n * max(0.0, min(ended, stop) - max(began, start))
            for n, start, stop in [*self._gone, *spans]
        )
        others = self._run_seconds[:-1]
        return [*others, max(0.0, slots_s - sum(others))]

    @property
    def efficiency(self) -> float | None:
        """Share of the run's core-seconds in which something was executed.

        None if nothing has been executed yet.
        """
        seconds = self.run_seconds
        executing_s = sum(seconds[:_N_EXECUTING])
        return executing_s / sum(seconds) if executing_s else None

    def _extend_run(self, active: list[float], deltas: list[float]) -> None:
        """Count what a worker has done since its last report."""
        if active[1] > 0:
            self.cover(*active)
        self._run_seconds = [
            a + b for a, b in zip(self._run_seconds, deltas, strict=True)
        ]


def _totals_of(report: dict[str, Any]) -> Totals:
    return Totals(*(report[field.name] for field in dataclasses.fields(Totals)))


def _slowest_of(report: dict[str, Any]) -> list[SlowItem]:
    return [SlowItem(*one) for one in report["slow"]]
