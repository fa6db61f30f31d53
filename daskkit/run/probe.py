"""What it takes to send items and results: some of them are pickled and rebuilt."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.run.switching import INTERVAL_S
from daskkit.transport import wire
from daskkit.transport.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Pickled", "measure_pickle"]

_SAMPLED = 64
# What takes longer to pickle does so by itself, not for being cold.
_COLD_S = 0.005


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
