"""Successive halving: the best of some settings, found in few measurements; pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["find_best", "list_chunksizes"]

Setting = TypeVar("Setting")

# Smaller chunks than this many a worker cost more than any balance can bring: mpire,
# whose chunks are the smallest of all peers, takes 64.
_MOST_CHUNKS_PER_WORKER = 256
_STEP = 4


def find_best(
    settings: Sequence[Setting], measure: Callable[[Setting], float]
) -> Setting:
    """Return the setting with the shortest time, by successive halving.

    All settings are measured once, the better half of them twice more, the better
    half of those four times more, and so on. What counts is the shortest time of a
    setting, since disturbances only add to it.

    Parameters
    ----------
    settings : sequence
        At least one. Of two that are equally fast the earlier one wins.
    measure : callable
        ``measure(setting)`` executes the work once and returns its time.

    Returns
    -------
    object
        One of `settings`; a single one isn't measured at all.

    Raises
    ------
    ValueError
        If there are no settings.

    References
    ----------
    Karnin, Koren and Somekh (2013). Almost optimal exploration in multi-armed bandits.
    ICML, PMLR 28(3), 1238-1246.

    Examples
    --------
    >>> find_best([1, 4, 16, 64], lambda size: abs(size - 12))
    16
    """
    if not settings:
        msg = "there must be at least one setting to choose from, received none"
        raise ValueError(msg)
    best = [math.inf] * len(settings)
    left = list(range(len(settings)))
    n_repeats = 1
    while len(left) > 1:
        # Round robin: a disturbance of some length hits all of them.
        for _ in range(n_repeats):
            for i in left:
                best[i] = min(best[i], measure(settings[i]))
        left = sorted(left, key=lambda i: (best[i], i))[: (len(left) + 1) // 2]
        n_repeats *= 2
    return settings[left[0]]


def list_chunksizes(n_items: int, n_workers: int) -> list[int]:
    """Return chunk sizes that are worth a trial, from small to large.

    Parameters
    ----------
    n_items : int
        Length of the input.
    n_workers : int
        Workers that share it, at least 1.

    Returns
    -------
    list of int
        Each four times the one before, up to a worker's share of the items; none
        that would make more than 256 chunks a worker.

    Examples
    --------
    >>> list_chunksizes(100, 2)
    [1, 4, 16, 50]
    >>> list_chunksizes(0, 2)
    [1]
    """
    share = max(1, -(-n_items // n_workers))
    size = -(-share // _MOST_CHUNKS_PER_WORKER)
    sizes = []
    while size < share:
        sizes.append(size)
        size *= _STEP
    return [*sizes, share]
