"""What travelled between processes, and who waited for it; arithmetic.

A passage is packed by one process, is on its way, and is opened by another. Where a
worker had nothing to execute meanwhile, its idle time has a cause: serialisation or
transfer. What is neither stays a gap, whose reason `comparison.ledger` finds.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daskkit.accounts import Stamp, Trace

__all__ = ["Passage", "charge"]

# Bytes that take longer than at this many a second wait for something else than for
# their way: a small message is handed over late, and not carried slowly.
_SLOWEST_BYTES_S = 50e6


@dataclasses.dataclass(frozen=True)
class Passage:
    """Consecutive items, or their results, on their way between two processes."""

    #: The first was begun to be packed, the last was packed; seconds of packing.
    pack_start_s: float
    pack_end_s: float
    pack_s: float
    #: The same of being opened.
    open_start_s: float
    open_end_s: float
    open_s: float
    #: Index of the first, and how many.
    first: int
    n_items: int
    #: Their size in memory.
    n_bytes: int
    _: dataclasses.KW_ONLY
    is_result: bool
    #: Whether the caller's process has packed or opened them.
    by_caller: bool
    to_caller: bool


def charge(trace: Trace, passages: Iterable[Passage], began_s: float = 0.0) -> Trace:
    """Return a trace whose stamps know their bytes, and what idle time they cost.

    Parameters
    ----------
    trace : Trace
        Without either.
    passages : iterable of Passage
        All that belong to the call.
    began_s : float, default 0.0
        When the call began, on the clock of the passages.

    Returns
    -------
    Trace

    Notes
    -----
    A worker that has nothing to execute waits for serialisation while it opens or packs
    something of its own and while the caller packs or opens anything, because the
    caller does one thing at a time. It waits for transfer while its next input or its
    last results are on their way, or the caller sends anything before it packs the
    next; but not for longer than the bytes can take.

    Examples
    --------
    >>> from daskkit.accounts import Stamp, Trace
    >>> stamp = Stamp("a", start_s=5.0, end_s=6.0, cpu_s=1.0, first=0, n_items=1)
    >>> flags = {"is_result": False, "by_caller": True, "to_caller": False}
    >>> way = Passage(0.0, 1.0, 1.0, 3.0, 5.0, 2.0, 0, 1, 10**9, **flags)
    >>> charged = charge(Trace(1, 6.0, (stamp,)), [way]).stamps[0]
    >>> charged.serialise_s, charged.transfer_s, charged.bytes_in
    (3.0, 2.0, 1000000000)
    """
    ways = [_move(passage, began_s) for passage in passages]
    if not ways:
        return trace
    inputs = _Index([way for way in ways if not way.is_result])
    results = _Index([way for way in ways if way.is_result])
    caller, nobody = _Caller(ways), _Caller([])
    last_s = max((stamp.end_s for stamp in trace.stamps), default=0.0)
    lines: dict[str, list[Stamp]] = {}
    for stamp in sorted(trace.stamps, key=lambda stamp: stamp.start_s):
        lines.setdefault(stamp.worker, []).append(stamp)
    charged: list[Stamp] = []
    for line in lines.values():
        free_s, sent = trace.startup_s, list[Passage]()
        for stamp in line:
            coming = inputs.find(stamp)
            gap = _Gap(free_s, stamp.start_s, coming, sent)
            serialise_s, transfer_s = gap.split(caller)
            sent = results.find(stamp)
            free_s = max(free_s, stamp.end_s)
            charged.append(
                dataclasses.replace(
                    stamp,
                    serialise_s=serialise_s,
                    transfer_s=transfer_s,
                    bytes_in=_count(stamp, coming, to_caller=False),
                    bytes_out=_count(stamp, sent, to_caller=True),
                )
            )
        # While others are still busy the worker waits for them, not for the caller.
        tail = _Gap(free_s, last_s, [], sent).split(nobody)
        rest = _Gap(max(free_s, last_s), trace.wall_s, [], sent).split(caller)
        charged[-1] = dataclasses.replace(
            charged[-1],
            last_serialise_s=tail[0] + rest[0],
            last_transfer_s=tail[1] + rest[1],
        )
    charged.sort(key=lambda stamp: (stamp.start_s, stamp.first))
    return dataclasses.replace(trace, stamps=tuple(charged))


def _move(passage: Passage, began_s: float) -> Passage:
    times = ("pack_start_s", "pack_end_s", "open_start_s", "open_end_s")
    moved = {name: getattr(passage, name) - began_s for name in times}
    return dataclasses.replace(passage, **moved)


def _count(stamp: Stamp, ways: Sequence[Passage], *, to_caller: bool) -> int:
    """Return the bytes of a batch that went one way, its share of longer passages."""
    total = 0.0
    for way in ways:
        if way.to_caller == to_caller:
            stop = min(way.first + way.n_items, stamp.first + stamp.n_items)
            share = (stop - max(way.first, stamp.first)) / way.n_items
            total += way.n_bytes * share
    return round(total)


class _Index:
    """Passages by the items that they carry."""

    def __init__(self, ways: list[Passage]) -> None:
        self._ways = sorted(ways, key=lambda way: way.first)
        self._firsts = [way.first for way in self._ways]
        self._longest = max((way.n_items for way in ways), default=0)

    def find(self, stamp: Stamp) -> list[Passage]:
        """Return those that carry an item of a batch."""
        begin = bisect.bisect_right(self._firsts, stamp.first - self._longest)
        end = bisect.bisect_left(self._firsts, stamp.first + stamp.n_items)
        some = self._ways[begin:end]
        return [way for way in some if way.first + way.n_items > stamp.first]


class _Busy:
    """When somebody was busy, and for how much of that."""

    def __init__(self, intervals: list[tuple[float, float, float]]) -> None:
        #: Begin and end of each stretch, and busy seconds until its begin.
        self._begins: list[float] = []
        self._ends: list[float] = []
        self._sums = [0.0]
        for begin_s, end_s, busy_s in sorted(intervals):
            if self._ends and begin_s < self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end_s)
                most_s = self._sums[-2] + self._ends[-1] - self._begins[-1]
                self._sums[-1] = min(self._sums[-1] + busy_s, most_s)
            else:
                self._begins.append(begin_s)
                self._ends.append(end_s)
                self._sums.append(self._sums[-1] + min(busy_s, end_s - begin_s))

    def between(self, begin_s: float, end_s: float) -> float:
        """Return the busy seconds between two moments."""
        return max(self._until(end_s) - self._until(begin_s), 0.0)

    def _until(self, at_s: float) -> float:
        at = bisect.bisect_right(self._begins, at_s) - 1
        if at < 0:
            return 0.0
        length_s = self._ends[at] - self._begins[at]
        share = min((at_s - self._begins[at]) / length_s, 1.0) if length_s > 0 else 1.0
        return self._sums[at] + share * (self._sums[at + 1] - self._sums[at])


class _Caller:
    """When the caller has packed or opened something, and when it has sent it."""

    def __init__(self, ways: Sequence[Passage]) -> None:
        packed = sorted((w for w in ways if w.by_caller), key=lambda w: w.pack_start_s)
        self.serialising = _Busy(
            [(w.pack_start_s, w.pack_end_s, w.pack_s) for w in packed]
            + [(w.open_start_s, w.open_end_s, w.open_s) for w in ways if w.to_caller]
        )
        next_s = [w.pack_start_s for w in packed][1:] + [math.inf] * bool(packed)
        until_s = [min(w.open_start_s, s) for w, s in zip(packed, next_s, strict=True)]
        self.sending = _Busy(
            [
                (w.pack_end_s, until, w.n_bytes / _SLOWEST_BYTES_S)
                for w, until in zip(packed, until_s, strict=True)
                if until > w.pack_end_s
            ]
        )


@dataclasses.dataclass(frozen=True)
class _Gap:
    """Time in which a worker had nothing to execute."""

    begin_s: float
    end_s: float
    #: What it executed next, and the results of what it had executed before.
    coming: list[Passage]
    sent: list[Passage]

    def split(self, caller: _Caller) -> tuple[float, float]:
        """Return the seconds of serialisation and of transfer."""
        if self.end_s <= self.begin_s:
            return 0.0, 0.0
        own = [
            (way.open_start_s, way.open_end_s, way.open_s)
            for way in self.coming
            if not way.to_caller
        ] + [
            (way.pack_start_s, way.pack_end_s, way.pack_s)
            for way in self.sent
            if not way.by_caller
        ]
        on_way = [
            (way.pack_end_s, way.open_start_s, way.n_bytes / _SLOWEST_BYTES_S)
            for way in (*self.coming, *self.sent)
        ]
        edges = {self.begin_s, self.end_s}
        for begin_s, end_s, _ in own + on_way:
            edges |= {self._clip(begin_s), self._clip(end_s)}
        worker, path = _Busy(own), _Busy([(b, e, e - b) for b, e, _ in on_way if e > b])
        serialise_s = way_s = sending_s = 0.0
        for begin_s, end_s in itertools.pairwise(sorted(edges)):
            left_s = end_s - begin_s
            own_s = min(worker.between(begin_s, end_s), left_s)
            left_s -= own_s
            others_s = min(caller.serialising.between(begin_s, end_s), left_s)
            left_s -= others_s
            serialise_s += own_s + others_s
            if path.between(begin_s, end_s) > 0:
                way_s += left_s
            else:
                sending_s += min(caller.sending.between(begin_s, end_s), left_s)
        most_s = math.fsum(seconds for *_, seconds in on_way)
        return serialise_s, min(way_s, most_s) + sending_s

    def _clip(self, at_s: float) -> float:
        return min(max(at_s, self.begin_s), self.end_s)
