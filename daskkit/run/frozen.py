"""Processes that somebody has stopped and not thawed (SIGSTOP)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from daskkit.run.clocks import read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Freezes", "is_frozen"]

# Looks are counted, not seconds: a caller that was frozen with its workers, as from a
# terminal, finds them thawed with itself.
_LOOK_S = 1.0
_MOST_LOOKS = 10


def is_frozen(pid: int) -> bool:
    """Return whether a process is stopped by a signal; a debugger's stop is none.

    Parameters
    ----------
    pid : int
        On this machine.

    Returns
    -------
    bool
        False where the system doesn't tell, as without ``/proc``.

    Examples
    --------
    >>> import os
    >>> is_frozen(os.getpid())
    False
    """
    return read_state(pid) == "T"


class Freezes:
    """Tells which processes have been frozen for long.

    Parameters
    ----------
    look_at : callable, optional
        ``look_at(pid)``: whether a process is frozen now.
    clock : callable, optional
        Returns seconds.

    Examples
    --------
    >>> seconds = iter(range(100))
    >>> freezes = Freezes(look_at=lambda pid: pid == 7, clock=lambda: next(seconds))
    >>> for _ in range(9):
    ...     assert not freezes.find([6, 7])
    >>> freezes.find([6, 7])
    {7}
    """

    def __init__(
        self,
        look_at: Callable[[int], bool] = is_frozen,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_at = look_at
        self._clock = clock
        self._next_look_s = -1.0
        self._n_looks: dict[int, int] = {}

    def find(self, pids: Iterable[int]) -> set[int]:
        """Return those that were frozen each time that this looked, for some seconds.

        Parameters
        ----------
        pids : iterable of int
            Processes that have something to do.

        Returns
        -------
        set of int
            Mostly empty, and quickly so: it looks once a second.
        """
        now = self._clock()
        if now < self._next_look_s:
            return set()
        self._next_look_s = now + _LOOK_S
        frozen = {pid for pid in set(pids) if self._look_at(pid)}
        self._n_looks = {pid: self._n_looks.get(pid, 0) + 1 for pid in frozen}
        return {pid for pid in frozen if self._n_looks[pid] >= _MOST_LOOKS}
