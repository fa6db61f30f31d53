"""What executes on a worker: one batch of items."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import cloudpickle

from daskkit.loop import run_items

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.transport.partition import Partition

__all__ = ["BatchResult", "run_batch"]


class BatchResult:
    """The answer of one batch, with what it cost; pickled as one object.

    Parameters
    ----------
    answer : object
        A `Partition` of results, or what `combine` made of it.
    wall_s : float
        Wall time in the worker, in seconds.
    """

    __slots__ = ("answer", "wall_s")

    def __init__(self, answer: Any, wall_s: float) -> None:
        self.answer = answer
        self.wall_s = wall_s


def run_batch(pickled: bytes, items: Partition, start: int) -> BatchResult:
    """Execute a batch in a worker.

    Parameters
    ----------
    pickled : bytes
        cloudpickle's form of ``(func, combine)``; `combine` may be None.
    items : Partition
        The items of the batch.
    start : int
        Index of the first of them in the whole input.

    Returns
    -------
    BatchResult
    """
    func, combine = _load(pickled)
    began = time.perf_counter()
    results = run_items(func, items, start)
    answer = results if combine is None else combine(list(results))
    return BatchResult(answer, time.perf_counter() - began)


@functools.lru_cache(maxsize=8)
def _load(pickled: bytes) -> tuple[Callable[[Any], Any], Callable[..., Any] | None]:
    """Return the functions of a run, rebuilt once a worker."""
    loaded: tuple[Callable[[Any], Any], Callable[..., Any] | None]
    loaded = cloudpickle.loads(pickled)
    return loaded
