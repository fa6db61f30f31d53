"""What a call would take with other workers, batches or items: a simulation; pure.

Batches are events, items are not: a heap of the moments at which workers are free
takes about a microsecond a batch, however many items that is.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from daskkit.accounts import Ledger, Prediction
from daskkit.arguments import check_whole
from daskkit.comparison.ledger import lay_out
from daskkit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from daskkit.accounts import Stamp, Trace

    _Array = npt.NDArray[np.float64]

__all__ = ["Costs", "estimate_costs", "simulate"]

# So many simulations for an interval, fewer where they would take more than seconds.
_MOST_RUNS = 100
_FEWEST_RUNS = 5
_MOST_EVENTS = 3_000_000
# Of the simulated wall times, 90 % lie between these quantiles.
_LOW, _HIGH = 0.05, 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class Costs:
    """What the parts of a call cost, as far as a simulation needs to know."""

    #: Seconds that each item takes on a worker, in the order of the items.
    durations_s: _Array
    #: Items in each batch, in order; they sum to the number of items.
    batches: tuple[int, ...]
    #: Share of an item's time that is CPU time, from 0 to 1.
    cpu_share: float = 1.0
    #: What the caller spends on each batch, in seconds, one batch after the other.
    handover_s: float = 0.0
    #: For how long a worker waits between two batches at least, in seconds.
    gap_s: float = 0.0
    #: What a worker spends on opening and packing, in seconds an item.
    serialise_s: float = 0.0
    #: For how long a worker waits for bytes, in seconds an item.
    transfer_s: float = 0.0
    #: Bytes that are sent for an item, there and back.
    item_bytes: float = 0.0
    #: How long workers take to start, in seconds; 0 if they are warm.
    startup_s: float = 0.0
    #: The caller's serial part before the first batch and after the last, in seconds.
    before_s: float = 0.0
    after_s: float = 0.0
    #: CPU seconds of the caller while items were executed.
    caller_cpu_s: float = 0.0
    #: Wall times of repeats, divided by their median: how much calls vary.
    spread: tuple[float, ...] = (1.0,)


def estimate_costs(
    trace: Trace, walls: Sequence[float] = (), *, cores: int | None = None
) -> Costs:
    """Return what the parts of a measured call cost.

    Parameters
    ----------
    trace : Trace
        With one batch or more.
    walls : sequence of float, optional
        Wall times in seconds of all repeats, for how much they vary.
    cores : int, optional
        Cores of the machine. Where there were as many workers, they shared them with
        the caller: for as long as it computed, items that waited did so for a core,
        and would not wait elsewhere. Default: enough for all.

    Returns
    -------
    Costs
        The items of a batch are taken to have cost the same. What the caller spends on
        each batch is seen where all workers wait for their first one. From a single
        worker nothing can be seen but how long it waits between two batches, which is
        the most that it can be.

    Raises
    ------
    ArgumentError
        If there is no batch.

    Examples
    --------
    >>> from daskkit.accounts import Stamp, Trace
    >>> a = Stamp("a", start_s=0.5, end_s=1.0, cpu_s=0.4, first=0, n_items=2)
    >>> b = Stamp("a", start_s=1.25, end_s=1.75, cpu_s=0.6, first=2, n_items=1)
    >>> costs = estimate_costs(Trace(n_workers=1, wall_s=2.0, stamps=(a, b)))
    >>> costs.durations_s.tolist(), costs.batches, costs.gap_s, costs.cpu_share
    ([0.25, 0.25, 0.5], (2, 1), 0.25, 1.0)
    """
    stamps = sorted(trace.stamps, key=lambda stamp: stamp.first)
    if not stamps:
        msg = "no batch was stamped, so nothing is known of what the items cost"
        raise ArgumentError(msg)
    n_items = sum(stamp.n_items for stamp in stamps)
    busy_s = math.fsum(stamp.end_s - stamp.start_s for stamp in stamps)
    cpu_s = math.fsum(stamp.cpu_s for stamp in stamps)
    starts = sorted(stamp.start_s for stamp in stamps)
    gap_s = _mean_gap(trace)
    first = starts[: trace.n_workers]
    handover_s = min(_pace(starts), _pace(first) if len(first) > 1 else gap_s)
    ready_s = min(trace.startup_s, trace.wall_s)
    median_s = float(np.median(walls)) if len(walls) else math.nan
    before_s = max(starts[0] - ready_s, 0.0)
    after_s = max(trace.wall_s - max(stamp.end_s for stamp in stamps), 0.0)
    caller_cpu_s = max(trace.caller_cpu_s - before_s - after_s, 0.0)
    if math.isnan(trace.caller_cpu_s):
        caller_cpu_s = 0.0
    crowded = cores is not None and trace.n_workers >= cores
    stolen_s = min(caller_cpu_s, max(busy_s - cpu_s, 0.0)) if crowded else 0.0
    share = 1 - stolen_s / busy_s if busy_s > 0 else 1.0
    return Costs(
        durations_s=np.repeat(
            [
                share * (stamp.end_s - stamp.start_s) / max(stamp.n_items, 1)
                for stamp in stamps
            ],
            [stamp.n_items for stamp in stamps],
        ),
        batches=tuple(stamp.n_items for stamp in stamps),
        cpu_share=min(cpu_s / (share * busy_s), 1.0) if share * busy_s > 0 else 1.0,
        handover_s=handover_s,
        gap_s=gap_s,
        serialise_s=math.fsum(s.serialise_s + s.last_serialise_s for s in stamps)
        / max(n_items, 1),
        transfer_s=math.fsum(s.transfer_s + s.last_transfer_s for s in stamps)
        / max(n_items, 1),
        item_bytes=sum(s.bytes_in + s.bytes_out for s in stamps) / max(n_items, 1),
        startup_s=ready_s,
        before_s=before_s,
        after_s=after_s,
        caller_cpu_s=caller_cpu_s,
        spread=tuple(wall / median_s for wall in walls) or (1.0,),
    )


def simulate(
    costs: Costs,
    *,
    n_workers: int,
    batch_size: int | None = None,
    n_items: int | None = None,
    item_cost: float = 1.0,
    bandwidth: float | None = None,
    cores: int | None = None,
) -> Prediction:
    """Return what a call would take: wall time, its interval and its ledger.

    Computes in this process; nothing is executed. The same costs give the same
    prediction, because all that is drawn is seeded.

    Parameters
    ----------
    costs : Costs
        What the parts of a call cost.
    n_workers : int
        Workers, at least 1.
    batch_size : int, optional
        Items in each batch but the last, at least 1. Default: the batches of `costs`.
    n_items : int, optional
        Items, at least 1; their costs are drawn from those of `costs`. Default: the
        items of `costs`.
    item_cost : float, default 1.0
        Factor on what an item costs: 0.5 makes func twice as fast.
    bandwidth : float, optional
        Bytes a second that the caller can send and receive, all workers together.
        Default: bytes take a worker as long as they did in `costs`.
    cores : int, optional
        Cores that the workers share, and the caller with them, at least 1. Default:
        enough for all.

    Returns
    -------
    Prediction

    Raises
    ------
    ArgumentError
        If a number isn't allowed.

    Notes
    -----
    A batch goes to the worker that has been free for the longest time, once the caller
    has handed it over, one after the other and as early as possible. An item costs the
    same on any number of workers: that they share caches or memory is left out. Cores
    that are too few for what workers and caller compute together stretch the call until
    they suffice; then all wait alike.

    Examples
    --------
    >>> costs = Costs(np.array([3.0, 1.0, 1.0, 1.0]), batches=(1, 1, 1, 1))
    >>> simulate(costs, n_workers=1).wall_s, simulate(costs, n_workers=2).wall_s
    (6.0, 3.0)
    >>> simulate(costs, n_workers=100).ledger.largest_loss
    'tail_s'
    """
    for name, count in (
        ("n_workers", n_workers),
        ("batch_size", batch_size),
        ("n_items", n_items),
        ("cores", cores),
    ):
        if count is not None or name == "n_workers":
            check_whole(count, name, 1)
    for name, factor in (("item_cost", item_cost), ("bandwidth", bandwidth)):
        if factor is not None and not 0 < factor < math.inf:
            msg = f"{name} must be a positive number, received {factor!r}"
            raise ArgumentError(msg)
    plan = _Plan.of(costs, batch_size, n_items, bandwidth, cores)
    middle_s, ledger = plan.play(n_workers, item_cost, drawn=None)
    n_batches = len(plan.sizes)
    n_runs = min(_MOST_RUNS, max(_FEWEST_RUNS, _MOST_EVENTS // max(n_batches, 1)))
    if costs.spread == (1.0,) and n_items is None:
        n_runs = 0  # nothing varies
    rng = np.random.default_rng(0)
    walls = [middle_s]
    for _ in range(n_runs):
        factor = float(rng.choice(costs.spread))
        drawn = rng if n_items is not None else None
        walls.append(plan.play(n_workers, item_cost * factor, drawn=drawn)[0])
    low_s, high_s = np.quantile(walls, [_LOW, _HIGH])
    return Prediction(
        n_workers=n_workers,
        batch_size=batch_size or 0,
        wall_s=middle_s,
        low_s=min(float(low_s), middle_s),
        high_s=max(float(high_s), middle_s),
        ledger=ledger,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """The batches of a simulated call, and what of them doesn't depend on workers."""

    costs: Costs
    #: Items in each batch.
    sizes: npt.NDArray[np.int64]
    #: Items in all, over those of the costs.
    growth: float
    #: Seconds that the caller's connection is busy with an item; 0 if not asked for.
    link_s: float
    #: Seconds that a worker waits for the bytes of an item.
    transfer_s: float
    #: Cores that all share.
    cores: float

    @classmethod
    def of(
        cls,
        costs: Costs,
        batch_size: int | None,
        n_items: int | None,
        bandwidth: float | None,
        cores: int | None,
    ) -> _Plan:
        n_known = len(costs.durations_s)
        n_items = n_known if n_items is None else n_items
        sizes = np.array(costs.batches, dtype=np.int64)
        if batch_size is not None:
            sizes = _cut(n_items, batch_size)
        elif n_items != n_known:
            sizes = _cut(n_items, max(round(n_known / max(len(sizes), 1)), 1))
        link_s = 0.0 if bandwidth is None else costs.item_bytes / bandwidth
        transfer_s = costs.transfer_s if bandwidth is None else 0.0
        return cls(
            costs,
            sizes,
            n_items / max(n_known, 1),
            link_s,
            transfer_s,
            math.inf if cores is None else cores,
        )

    def play(
        self, n_workers: int, factor: float, drawn: np.random.Generator | None
    ) -> tuple[float, Ledger]:
        """Return the wall time and the ledger of one simulated call."""
        costs = self.costs
        items_s = factor * self._sum_items(drawn)
        other_s = self.sizes * (costs.serialise_s + self.transfer_s)
        begin_s = costs.startup_s + costs.before_s * self.growth
        handed_s = begin_s + np.cumsum(costs.handover_s + self.sizes * self.link_s)
        # The first batch was handed over within the caller's part.
        handed_s -= costs.handover_s
        works_s = items_s + other_s
        free_s = _schedule(works_s, handed_s, n_workers, begin_s, costs.gap_s)
        last_s = max(float(free_s.max()), begin_s)
        after_s = costs.after_s * self.growth
        compute_s = float(items_s.sum())
        cpu_s = compute_s * costs.cpu_share + costs.caller_cpu_s * self.growth
        crowded_s = max(cpu_s / self.cores - (last_s - begin_s), 0.0)
        wall_s = last_s + crowded_s + after_s
        # Whatever time on the lines is neither work nor tail is a gap; of it, the
        # connection has what it took of the hand-over.
        idle_s = max(float((free_s - begin_s).sum() - works_s.sum()), 0.0)
        n_items = int(self.sizes.sum())
        link_s = n_items * self.link_s
        caller_s = len(self.sizes) * costs.handover_s
        # Rounding must not make it more than all.
        on_link_s = min(
            idle_s * link_s / (link_s + caller_s) if link_s else 0.0, idle_s
        )
        ledger = Ledger(
            n_workers=n_workers,
            wall_s=wall_s,
            startup_s=n_workers * costs.startup_s,
            compute_s=compute_s * costs.cpu_share,
            waiting_s=compute_s * (1 - costs.cpu_share) + n_workers * crowded_s,
            serialise_s=n_items * costs.serialise_s,
            transfer_s=n_items * self.transfer_s + on_link_s,
            dispatch_s=idle_s - on_link_s,
            tail_s=float((last_s - free_s).sum()),
            caller_s=n_workers * (begin_s - costs.startup_s + after_s),
        )
        return wall_s, ledger

    def _sum_items(self, drawn: np.random.Generator | None) -> _Array:
        """Return what the items of each batch cost together."""
        n_items = int(self.sizes.sum())
        durations = self.costs.durations_s
        if drawn is not None:
            durations = drawn.choice(durations, n_items)
        elif n_items != len(durations):
            durations = np.resize(durations, n_items)
        edges = np.concatenate([[0], np.cumsum(self.sizes)])
        sums = np.concatenate([[0.0], np.cumsum(durations)])
        # Rounding must not make a batch of nothing negative.
        return np.array(np.maximum(np.diff(sums[edges]), 0.0))


def _schedule(
    works_s: _Array, handed_s: _Array, n_workers: int, begin_s: float, gap_s: float
) -> _Array:
    """Return when each worker is free for good, the batches taken in their order."""
    if len(works_s) <= n_workers:
        free_s = np.full(n_workers, begin_s)
        free_s[: len(works_s)] = np.maximum(handed_s, begin_s) + works_s
        return free_s
    heap = [begin_s - gap_s] * n_workers
    replace = heapq.heapreplace
    # Lists, because reading single numbers out of an array takes longer.
    for work_s, at_s in zip(works_s.tolist(), handed_s.tolist(), strict=True):
        start_s = heap[0] + gap_s
        # A call of max takes as long as all else of this loop.
        replace(heap, (start_s if start_s > at_s else at_s) + work_s)  # noqa: FURB136
    return np.array(np.maximum(heap, begin_s))


def _mean_gap(trace: Trace) -> float:
    """Return for how long a worker waits between two batches, on average."""
    gaps = [
        _wait(one, other)
        for line in lay_out(trace)
        for one, other in itertools.pairwise(line)
    ]
    return max(math.fsum(gaps), 0.0) / len(gaps) if gaps else 0.0


def _pace(starts: Sequence[float]) -> float:
    """Return the mean time between moments that are in order; 0 for one of them."""
    return (starts[-1] - starts[0]) / max(len(starts) - 1, 1)


def _wait(one: Stamp, other: Stamp) -> float:
    """Return what is left of the time between two batches, what is known taken out."""
    known_s = other.serialise_s + other.transfer_s
    return max(other.start_s - one.end_s - known_s, 0.0)


def _cut(n_items: int, batch_size: int) -> npt.NDArray[np.int64]:
    """Return the sizes of batches of so many items, the last one smaller."""
    n_full, rest = divmod(n_items, batch_size)
    sizes = np.full(n_full + bool(rest), batch_size, dtype=np.int64)
    if rest:
        sizes[-1] = rest
    return sizes
