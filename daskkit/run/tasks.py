"""What executes on a worker: one batch of items."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from daskkit.loop import run_items
from daskkit.transport.auto import pack, unpack

if TYPE_CHECKING:
    from daskkit.transport.auto import Packed

__all__ = ["BatchResult", "run_batch"]

# Functions without large data, by run: rebuilt once a worker and run.
_functions: OrderedDict[str, Any] = OrderedDict()
_MOST_FUNCTIONS = 8


class BatchResult:
    """The answer of one batch, with what it cost; pickled as one object.

    Parameters
    ----------
    answer : Packed
        A partition of results, or what `combine` made of it.
    wall_s : float
        Wall time in the worker, in seconds.
    """

    __slots__ = ("answer", "wall_s")

    def __init__(self, answer: Packed, wall_s: float) -> None:
        self.answer = answer
        self.wall_s = wall_s

    def __sizeof__(self) -> int:
        # What Dask takes for the memory of a result.
        return object.__sizeof__(self) + self.answer.n_bytes


def run_batch(run: str, functions: Packed, items: Packed, start: int) -> BatchResult:
    """Execute a batch in a worker.

    Parameters
    ----------
    run : str
        Name of the run, never used twice.
    functions : Packed
        ``(func, combine)``; `combine` may be None.
    items : Packed
        The list of the items of the batch.
    start : int
        Index of the first of them in the whole input.

    Returns
    -------
    BatchResult
    """
    func, combine = _obtain(run, functions)
    batch = unpack(items, last=True)
    began = time.perf_counter()
    results = run_items(func, batch, start)
    answer = list(results) if combine is None else combine(list(results))
    return BatchResult(pack(answer, home=functions.place), time.perf_counter() - began)


def _obtain(run: str, functions: Packed) -> tuple[Any, Any]:
    """Return the functions of a run.

    One that carries shared arrays is opened for each batch: it maps them anew, so that
    what a batch writes into them is seen by no other.
    """
    if functions.segments():
        opened: tuple[Any, Any] = unpack(functions)
        return opened
    if run not in _functions:
        _functions[run] = unpack(functions)
        while len(_functions) > _MOST_FUNCTIONS:
            _functions.popitem(last=False)
    known: tuple[Any, Any] = _functions[run]
    return known
