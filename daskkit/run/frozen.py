"""Processes that somebody has stopped and not thawed (SIGSTOP)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from daskkit.run.clocks import read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distributed import LocalCluster

__all__ = ["FreezeWatch", "Freezes", "is_frozen"]

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


class FreezeWatch:
    """Ends workers that are stopped while they have tasks of Dask to do.

    Their nannies put others in their place, which execute the tasks. Verbs look after
    their own lanes, wherever these are.

    Parameters
    ----------
    cluster : distributed.LocalCluster
        With its scheduler and its nannies in this process.
    """

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._freezes = Freezes()

    def start(self) -> None:
        """Look from time to time, until the scheduler ends."""
        from tornado.ioloop import PeriodicCallback

        scheduler: Any = self._cluster.scheduler
        # A little later than the next look is due.
        callback = PeriodicCallback(self.look, 1050 * _LOOK_S)
        scheduler.periodic_callbacks["daskkit-freeze-watch"] = callback
        scheduler.loop.add_callback(callback.start)

    def look(self) -> None:
        """End those that have been frozen for long."""
        scheduler: Any = self._cluster.scheduler
        nannies: list[Any] = list(self._cluster.workers.values())
        at_work = [
            nanny.pid
            for nanny in nannies
            if (state := scheduler.workers.get(nanny.worker_address))
            and state.processing
        ]
        for pid in self._freezes.find(pid for pid in at_work if pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
