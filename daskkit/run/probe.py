"""What can be seen of items while they are being executed by another thread."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from daskkit.transport import wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["measure_cpu_s", "measure_gil_share", "measure_pickle", "quick_switching"]

# How long a thread may hold the GIL while others want it, meanwhile: a hand-over needs
# it some ten times, and would wait for 5 ms (CPython's default) each time.
_INTERVAL_S = 0.0005
_PROBES = 6
_PROBE_S = 0.0002
_SAMPLED = 64

_lock = threading.Lock()
_users = 0
_before_s = 0.005


@contextlib.contextmanager
def quick_switching() -> Iterator[None]:
    """Let threads hand on the GIL ten times as often as usual, while in the context."""
    global _users, _before_s  # noqa: PLW0603 - one setting for the whole process
    with _lock:
        if _users == 0:
            _before_s = sys.getswitchinterval()
            sys.setswitchinterval(min(_before_s, _INTERVAL_S))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                sys.setswitchinterval(_before_s)


def measure_gil_share() -> float:
    """Return the share of time in which other threads hold the GIL.

    A thread that wakes up while nobody holds the GIL goes on at once; otherwise it
    waits until the other one lets go, at most the switch interval. Takes 2 to 7 ms;
    call it within `quick_switching`.

    Returns
    -------
    float
        Between 0 and 1.
    """
    late = 0.0
    for _ in range(_PROBES):
        began = time.perf_counter()
        time.sleep(_PROBE_S)
        waited = time.perf_counter() - began - _PROBE_S
        # Waking up takes some 0.06 ms by itself.
        late += min(1.0, max(0.0, waited / _INTERVAL_S - 0.3) / 0.7)
    return late / _PROBES


def measure_cpu_s(thread_id: int) -> float:
    """Return the CPU seconds of a thread of this process, NaN where it can't be read.

    Parameters
    ----------
    thread_id : int
        Its `threading.Thread.ident`.

    Returns
    -------
    float
    """
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(thread_id))
    except (AttributeError, OSError):
        return float("nan")


def measure_pickle(values: Sequence[Any]) -> tuple[float, float]:
    """Return seconds and bytes that an element takes to be pickled, on average.

    Parameters
    ----------
    values : sequence
        Some of it is pickled, at most 64 elements and one at first.

    Returns
    -------
    tuple of float

    Raises
    ------
    TransportError
        If an element can't be pickled.
    """
    sample = list(values[:1])
    began = time.perf_counter()
    dumped = wire.dump(sample)
    seconds = time.perf_counter() - began
    # Elements without Python objects of their own are quick together.
    if len(values) > 1 and seconds < _INTERVAL_S:
        sample = list(values[:_SAMPLED])
        began = time.perf_counter()
        dumped = wire.dump(sample)
        seconds = time.perf_counter() - began
    return seconds / len(sample), dumped.n_bytes / len(sample)
