"""Threads that execute items beside the caller, and wait a minute for the next call.

The C library gives each thread a stretch of memory of its own, and the next new thread
one of those that are free, not always the same. What items allocate then has to be had
from the system anew: a thread that stays takes 0.8 times as long for arrays of 4 MB.
"""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NAME", "Loan", "count_idle", "dismiss", "lend"]

# As long as anything is remembered of a function, see `run.known`.
_IDLE_S = 60.0
#: Of a thread that waits.
NAME = "daskkit-helper"

_lock = threading.Lock()
_idle: list[_Helper] = []


class Loan:
    """One piece of work for a helper.

    Parameters
    ----------
    work : callable
        Called without arguments. What it raises ends the thread.
    name : str
        Of the thread meanwhile.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self.name = name
        self._work: Callable[[], None] | None = work
        self._ended = threading.Event()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the work is done, at most so many seconds."""
        self._ended.wait(timeout)

    def execute(self) -> None:
        """Do the work, in a context of its own as in a new thread; in the helper."""
        work, self._work = self._work, None  # which refers to items and results
        assert work is not None
        contextvars.Context().run(work)

    def end(self) -> None:
        """Have `join` return."""
        self._ended.set()


class _Helper(threading.Thread):
    def __init__(self, loan: Loan) -> None:
        super().__init__(name=loan.name, daemon=True)
        self.loans = queue.SimpleQueue[Loan | None]()
        self.loans.put(loan)

    def run(self) -> None:
        while True:
            try:
                loan = self.loans.get(timeout=_IDLE_S)
            except queue.Empty:
                with _lock:
                    if self in _idle:
                        _idle.remove(self)
                        return
                loan = self.loans.get()  # it has just been given something
            if loan is None:
                return
            self.name = loan.name
            try:
                loan.execute()
                self.name = NAME
                with _lock:
                    _idle.append(self)
            finally:
                loan.end()
            del loan


def lend(work: Callable[[], None], name: str) -> Loan:
    """Have a thread do something, one that waits or a new one.

    Parameters
    ----------
    work, name
        As of `Loan`.

    Returns
    -------
    Loan

    Examples
    --------
    >>> done = []
    >>> lend(lambda: done.append(threading.current_thread().name), "helper").join()
    >>> done
    ['helper']
    """
    loan = Loan(work, name)
    with _lock:
        helper = _idle.pop() if _idle else None
    if helper is None:
        _Helper(loan).start()
    else:
        helper.loans.put(loan)
    return loan


def count_idle() -> int:
    """Return how many threads wait."""
    return len(_idle)


def dismiss() -> None:
    """End the threads that wait, and return when they have ended."""
    with _lock:
        helpers = _idle.copy()
        _idle.clear()
    for helper in helpers:
        helper.loans.put(None)
    for helper in helpers:
        helper.join()


def _forget() -> None:
    """Know of no threads, in a forked child, where there are none."""
    global _lock  # noqa: PLW0603 - somebody may have held it
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    # Python warns of a fork of a process that has other threads.
    os.register_at_fork(before=dismiss, after_in_child=_forget)
