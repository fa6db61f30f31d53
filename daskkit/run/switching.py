"""How the interpreter runs while threads work for each other: switches, garbage."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time

try:
    from resource import RUSAGE_SELF, RUSAGE_THREAD, getrusage
except ImportError:  # other systems than Linux
    getrusage = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["INTERVAL_S", "Waiters", "quick_switching", "sparing_garbage"]

#: How long a thread may hold the GIL while others want it, meanwhile: a hand-over needs
#: it some ten times, and would wait for 5 ms (CPython's default) each time.
INTERVAL_S = 0.0005

# So many waits of other threads since the last look are those of one that wants the GIL
# and isn't let in: within a millisecond there are fifty.
_MANY = 20
# It is let in until it waits for something else, this many turns at most.
_TURN_S, _MOST_TURNS = 0.00002, 6
# How often that is looked for at most.
_EVERY_S = 0.001

_lock = threading.Lock()
_wanted: list[float] = []
_before_s = 0.005


@contextlib.contextmanager
def quick_switching(interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Let threads hand on the GIL more often than usual, while in the context.

    Parameters
    ----------
    interval_s : float, default 0.0005
        For how long one may hold it while others want it, in seconds; the least of all
        that are wanted holds.

    Examples
    --------
    >>> with quick_switching(0.0001):
    ...     print(f"{sys.getswitchinterval():.4f}")
    0.0001
    """
    global _before_s  # noqa: PLW0603 - one setting for the whole process
    with _lock:
        if not _wanted:
            _before_s = sys.getswitchinterval()
        _wanted.append(interval_s)
        sys.setswitchinterval(min([_before_s, *_wanted]))
    try:
        yield
    finally:
        with _lock:
            _wanted.remove(interval_s)
            sys.setswitchinterval(min([_before_s, *_wanted]))


@contextlib.contextmanager
def sparing_garbage() -> Iterator[None]:
    """Look for no garbage while in the context, as amid imports there is none.

    A full collection takes 4 ms even in a small program, and imports of 20 bring it on.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Waiters:
    """The other threads of this process that wait for the GIL, as seen by this one.

    Who releases it for moments, again and again, as small operations of NumPy do, never
    lets another thread have it: by the time that one runs, it is taken again. Each time
    that is signalled in vain, which takes half as long as such an operation: the median
    of nine numbers takes 26 us instead of 17. Where a cluster is open, the event loop
    of Dask is such a thread some 26 times a second.

    Its methods are for the thread that has made it.

    Examples
    --------
    >>> Waiters().let_in()
    False
    """

    __slots__ = ("_n_seen", "_next_s")

    def __init__(self) -> None:
        self._n_seen = _count_waits()
        self._next_s = 0.0

    def let_in(self) -> bool:
        """Let them in if there are any; between two items.

        Returns
        -------
        bool
            Whether there were.
        """
        now_s = time.perf_counter()
        if now_s < self._next_s:
            return False
        n_waits = _count_waits()
        is_crowded = n_waits - self._n_seen > _MANY
        if is_crowded:
            n_before = n_waits
            for _ in range(_MOST_TURNS):
                time.sleep(_TURN_S)
                n_waits = _count_waits()
                if n_waits > n_before + 1:
                    break
        self._n_seen, self._next_s = n_waits, now_s + _EVERY_S
        return is_crowded


def _count_waits() -> int:
    """Return how often other threads of this process have begun to wait."""
    if getrusage is None:
        return 0
    return getrusage(RUSAGE_SELF).ru_nvcsw - getrusage(RUSAGE_THREAD).ru_nvcsw
