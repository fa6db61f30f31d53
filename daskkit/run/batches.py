"""How many items a lane gets next: pure arithmetic, no clock and no cluster.

`Batches` is a state machine fed with events (a batch was taken, a batch has ended);
`run.dispatch` does what it says.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["DIRECT", "TASK", "Batches", "HandOver", "size_claim"]


class HandOver(NamedTuple):
    """What it costs to hand over a batch, in seconds of a core."""

    #: All processes together.
    total_s: float
    #: Whoever hands out all batches, one after the other.
    serial_s: float


#: By a socket of its own: 0.3 ms of both sides together in a tight loop, 1 to 1.5 ms
#: amid items that have had all caches (two busy cores, batches of 30 numbers).
DIRECT = HandOver(total_s=0.001, serial_s=0.0003)
#: As a task of Dask: 5 ms of client, scheduler and worker together; a scheduler takes
#: about 0.5 ms a task.
TASK = HandOver(total_s=0.005, serial_s=0.0005)

# A batch aims at this wall time at least: long beside a hand-over, short beside the
# patience of somebody who watches.
_TARGET_S = 0.2
# And at so many times its hand-over: at most 2.5 % of the work.
_WORTH = 40
# The end is cut finer: a batch takes at most this share of what each worker would
# get of the rest (guided self-scheduling; an idle lane may take from the others).
_GUIDED = 1.5
# A batch that isn't worth so many hand-overs isn't cut finer, whatever is left.
_LEAST = 30
# The first batches of each worker are smaller by this factor.
_FIRST = 2
_FIRST_SHARE = 0.25
# Weight of the newest batch in the cost of an item: recent ones tell most of the
# next, one freak batch doesn't decide.
_NEWEST = 0.3
# A lane claims its batch bit by bit: this share of what is left, within these wall
# times. Short, so that the caller can take back most of what waits behind a slow item,
# and long beside what a claim takes: 5 us by itself, but it runs anew after the items,
# which have had all caches. Of rows of a DataFrame, 4 ms at a time, claims took 5 %.
_CLAIM_SHARE = 0.25
_CLAIM_S, _LONG_CLAIM_S = 0.004, 0.012
_MOST_CLAIMED = 100_000


def size_claim(item_s: float, n_left: int) -> int:
    """Return how many items of its batch a lane claims next.

    Parameters
    ----------
    item_s : float
        Seconds of an item, of the claim before.
    n_left : int
        Items that are still to be claimed by this lane, more or less; 0 for its first
        claim, which is a short one.

    Returns
    -------
    int
        At least 1; may be more than are left.

    Examples
    --------
    >>> [size_claim(0.001, n_left) for n_left in (0, 40, 100)]
    [4, 10, 12]
    """
    item_s = max(item_s, 1e-9)
    claim_s = min(max(_CLAIM_S, _CLAIM_SHARE * item_s * n_left), _LONG_CLAIM_S)
    return max(1, min(_MOST_CLAIMED, int(claim_s / item_s)))


class Batches:
    """Chooses the size of each next batch from the cost of the ones that ended.

    Parameters
    ----------
    n_workers : int
        Lanes that execute batches, at least 1.
    item_s : float
        First estimate of an item's cost in seconds, from a pilot.
    hand_over : HandOver
        What a batch costs beside its items.

    Examples
    --------
    >>> batches = Batches(n_workers=2, item_s=0.001)
    >>> batches.next_size(n_left=1_000), batches.next_size(n_left=20)
    (50, 20)

    References
    ----------
    Polychronopoulos and Kuck (1987), Guided self-scheduling, IEEE Trans. Comput.
    C-36(12), 1425-1439.
    """

    def __init__(
        self, n_workers: int, item_s: float, hand_over: HandOver = DIRECT
    ) -> None:
        self.n_workers = n_workers
        self.item_s = item_s
        self.hand_over = hand_over
        #: Batches that have ended.
        self.n_ended = 0
        #: Why the last batch got its size, for people to read.
        self.reason = ""

    @property
    def target_s(self) -> float:
        """Wall time of a batch in seconds, as long as much is left."""
        # With many workers batches grow, so that handing them out never takes longer
        # than executing them.
        everybody_s = 2 * self.hand_over.serial_s * self.n_workers
        return max(_TARGET_S, _WORTH * self.hand_over.total_s, everybody_s)

    def next_size(self, n_left: int | None) -> int:
        """Return the number of items of the next batch.

        Parameters
        ----------
        n_left : int or None
            Items that are not handed over yet, at least 1; None if nobody knows.

        Returns
        -------
        int
            Between 1 and `n_left`.
        """
        item_s = max(self.item_s, 1e-9)
        size = self.target_s / item_s
        self.reason = f"{self.target_s * 1e3:.0f} ms of items"
        if self.n_ended < _FIRST * self.n_workers:
            size *= _FIRST_SHARE  # to learn soon what they cost there
            self.reason = "small: to learn what an item costs"
        if n_left is not None:
            least = _LEAST * self.hand_over.total_s / item_s
            balanced = n_left / (_GUIDED * self.n_workers)
            if max(least, balanced) < size:
                self.reason = "small: the end is near, for balance"
            size = min(n_left, max(least, min(size, balanced)))
        if size < 1:
            self.reason = "one: an item takes longer than a batch should"
        return max(1, math.floor(size))

    def ended(self, n_items: int, wall_s: float) -> None:
        """Learn from a batch that has ended.

        Parameters
        ----------
        n_items : int
            Its items, at least 1.
        wall_s : float
            Its wall time in the worker, in seconds.
        """
        self.n_ended += 1
        newest = wall_s / n_items
        self.item_s += _NEWEST * (newest - self.item_s)
