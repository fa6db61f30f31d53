"""What can be seen of items while they are being executed by another thread."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.run.clocks import read_cpu_s, read_state
from daskkit.run.switching import INTERVAL_S
from daskkit.transport import wire
from daskkit.transport.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Pickled",
    "measure_gil_share",
    "measure_pickle",
]

_PROBES, _MOST_PROBES = 6, 24
_STARVED_S = 0.005
_PROBE_S = 0.0002
_SAMPLED = 64
# What takes longer to pickle does so by itself, not for being cold.
_COLD_S = 0.005


def measure_gil_share(thread_id: int, native_id: int) -> float:
    """Return the share of its time in which a thread of this process holds the GIL.

    A thread that wakes up while nobody holds the GIL goes on at once; otherwise it
    waits until the other one lets go, at most the switch interval; or much longer if
    that one lets go for a moment again and again, which is as good as never. It tells
    nothing if the other one had no core meanwhile, on a busy machine. Takes 2 to 25 ms;
    call it within `switching.quick_switching`.

    Parameters
    ----------
    thread_id, native_id : int
        The other one's `threading.Thread.ident` and `threading.Thread.native_id`.

    Returns
    -------
    float
        Between 0 and 1; NaN if it could not be found out.
    """
    late, n_seen = 0.0, 0
    cpu_s = read_cpu_s(thread_id)
    for _ in range(_MOST_PROBES):
        began = time.perf_counter()
        time.sleep(_PROBE_S)
        waited = time.perf_counter() - began - _PROBE_S
        # Waking up takes some 0.06 ms by itself.
        lateness = min(1.0, max(0.0, waited / INTERVAL_S - 0.3) / 0.7)
        before_s, cpu_s = cpu_s, read_cpu_s(thread_id)
        if waited > _STARVED_S and cpu_s - before_s > waited / 2:
            return 1.0
        if lateness or cpu_s != before_s or read_state(native_id) != "R":
            late += lateness
            n_seen += 1
            if n_seen == _PROBES:
                break
    return late / n_seen if n_seen >= _PROBES / 2 else math.nan


class Pickled(NamedTuple):
    """What it costs to send an element, on average."""

    dump_s: float = 0.0
    load_s: float = 0.0
    n_bytes: float = 0.0


def measure_pickle(values: Sequence[Any]) -> Pickled:
    """Return what it takes to pickle an element and to rebuild it.

    Parameters
    ----------
    values : sequence
        Some of it is pickled, at most 64 elements and one at first.

    Returns
    -------
    Pickled
        What is paid for any number of elements left out.

    Raises
    ------
    TransportError
        If an element can't be pickled.
    """
    n_measured = 1
    measured = _measure(values[:1])
    if measured.dump_s < _COLD_S:
        # What runs for the first time in a while may take ten times as long.
        again = _measure(values[:1])
        measured = min(measured, again, key=lambda one: one.dump_s + one.load_s)
    # Elements without large parts are quick together.
    if len(values) > 1 and measured.dump_s < INTERVAL_S:
        n_measured = min(len(values), _SAMPLED)
        measured = _measure(values[:_SAMPLED])
    # Of a few small elements that takes longer than they do.
    whole = _measure_nothing() if measured.dump_s < INTERVAL_S else Pickled()
    return Pickled(
        *(max(0.0, a - b / n_measured) for a, b in zip(measured, whole, strict=True))
    )


def _measure_nothing() -> Pickled:
    """Return what it takes to send no element."""
    return _measure(())


def _measure(values: Sequence[Any]) -> Pickled:
    sample = Partition(values)  # as it would travel
    # CPU time: this thread waits for the GIL, too, if another one computes.
    began = time.thread_time()
    dumped = wire.dump(sample)
    dumped_s = time.thread_time()
    loaded = None
    # Rebuilding runs code of the elements, which may fail; that is for later.
    with contextlib.suppress(Exception):
        loaded = wire.load(dumped.stream, dumped.buffers)
    load_s = time.thread_time() - dumped_s
    del loaded
    n = max(1, len(sample))
    return Pickled((dumped_s - began) / n, load_s / n, dumped.n_bytes / n)
