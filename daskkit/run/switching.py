"""How often threads hand on the GIL, while they have something to do for each other."""

from __future__ import annotations

import contextlib
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["INTERVAL_S", "quick_switching"]

#: How long a thread may hold the GIL while others want it, meanwhile: a hand-over needs
#: it some ten times, and would wait for 5 ms (CPython's default) each time.
INTERVAL_S = 0.0005

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
