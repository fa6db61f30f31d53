"""How many items a worker gets next: pure arithmetic, no clock and no cluster.

`Batches` is a state machine fed with events (a batch was taken, a batch has ended);
`run.execute` does what it says.
"""

from __future__ import annotations

import dataclasses
import math

__all__ = ["Batches"]

# A batch aims at this wall time at most. A task costs client, scheduler and worker some
# 5 ms of CPU together, on a machine whose cores are all busy; of 400 items of 1.7 ms on
# two workers, batches of 50, 100 and 200 ms took 1.51, 1.23 and 1.07 times the wall
# time of a bag of 8 partitions.
_TARGET_S = 0.2
# Seconds of the scheduler a task: with many workers batches grow, so that handing
# them out never takes longer than executing them.
_SCHEDULER_S = 0.0005
# The end is cut finer: a batch takes at most this share of what each worker would
# get of the rest (guided self-scheduling, with a factor of 2 against skewed items).
_GUIDED = 2
# Below this a batch isn't worth its own hand-over, whatever is left.
_LEAST_S = 0.02
# Batches at each worker: one executes, one waits, so that no core starves.
_DEPTH = 2
# Weight of the newest batch in the cost of an item: recent ones tell most of the
# next, one freak batch doesn't decide.
_NEWEST = 0.3


@dataclasses.dataclass
class Batches:
    """Chooses the size of each next batch from the cost of the ones that ended.

    Parameters
    ----------
    n_workers : int
        Threads that execute batches, at least 1.
    item_s : float
        First estimate of an item's cost in seconds, from a pilot.

    Examples
    --------
    >>> batches = Batches(n_workers=2, item_s=0.001)
    >>> batches.next_size(n_left=1_000), batches.next_size(n_left=20)
    (200, 20)

    References
    ----------
    Polychronopoulos and Kuck (1987), Guided self-scheduling, IEEE Trans. Comput.
    C-36(12), 1425-1439.
    """

    n_workers: int
    item_s: float

    @property
    def n_in_flight(self) -> int:
        """Batches that may be handed over and not yet back."""
        return self.n_workers * _DEPTH

    def next_size(self, n_left: int) -> int:
        """Return the number of items of the next batch.

        Parameters
        ----------
        n_left : int
            Items that are not handed over yet, at least 1.

        Returns
        -------
        int
            Between 1 and `n_left`.
        """
        item_s = max(self.item_s, 1e-9)
        target_s = max(_TARGET_S, _SCHEDULER_S * self.n_workers)
        by_time = target_s / item_s
        by_balance = n_left / (_GUIDED * self.n_workers)
        least = _LEAST_S / item_s
        return max(1, min(n_left, math.floor(max(least, min(by_time, by_balance)))))

    def ended(self, n_items: int, wall_s: float) -> None:
        """Learn from a batch that has ended.

        Parameters
        ----------
        n_items : int
            Its items, at least 1.
        wall_s : float
            Its wall time in the worker, in seconds.
        """
        newest = wall_s / n_items
        self.item_s += _NEWEST * (newest - self.item_s)
