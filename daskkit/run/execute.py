"""Executing a workload on a client: a pilot, then batches that adapt.

The caller's process executes the first items itself and keeps their results. If what
is left would take less time than handing it over, the loop goes on where it is;
otherwise the workers get batches.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from daskkit.loop import run_items
from daskkit.run.batches import Batches
from daskkit.run.tasks import run_batch
from daskkit.transport.auto import Packer, unpack
from daskkit.transport.partition import Partition

if TYPE_CHECKING:
    from distributed import Client

    from daskkit.records import Workload
    from daskkit.run.tasks import BatchResult
    from daskkit.transport.auto import Packed

__all__ = ["execute"]

# One look at the pilot's cost: long enough for the clock, short beside any hand-over.
_LOOK_S = 0.005
# What handing over costs at least, wall time from the first submission to the first
# result (4 to 8 ms measured on two local workers).
_HAND_OVER_S = 0.01


def execute(workload: Workload, client: Client) -> Any:
    """Return a workload's answer, computed here or on a cluster, as pays.

    Parameters
    ----------
    workload : Workload
        What is to be done.
    client : distributed.Client
        Connected to the cluster to use.

    Returns
    -------
    object
        What ``workload.loop()`` returns.

    Raises
    ------
    Exception
        What `func` raised, with a note that names the item; what is still in flight
        is cancelled.
    """
    n_workers = max(1, sum(client.nthreads().values()))
    done, item_s = _run_pilot(workload, n_workers)
    if len(done) == len(workload.items):
        return workload.finish(list(done))
    return _run_batches(workload, client, done, Batches(n_workers, item_s))


def _run_pilot(workload: Workload, n_workers: int) -> tuple[Partition, float]:
    """Return the first results and an item's seconds; all results if that pays."""
    items: Any = workload.items
    done = Partition()
    size, item_s = 1, 0.0
    while len(done) < len(items):
        start = len(done)
        began = time.perf_counter()
        done.extend(run_items(workload.func, items[start : start + size], start))
        wall_s = time.perf_counter() - began
        item_s = wall_s / (len(done) - start)
        left_s = item_s * (len(items) - len(done))
        if left_s * (1 - 1 / n_workers) > _HAND_OVER_S and wall_s >= _LOOK_S:
            break
        size = max(1, min(2 * size, int(_LOOK_S / max(item_s, 1e-9)) + 1))
    return done, item_s


def _run_batches(
    workload: Workload, client: Client, done: Partition, batches: Batches
) -> Any:
    """Return the answer after the workers have executed what the pilot left."""
    from distributed import as_completed

    items: Any = workload.items
    n_items = len(items)
    packer = Packer()
    functions = packer.pack((workload.func, workload.combine))
    run = f"{workload.name}-batch-{uuid.uuid4().hex[:8]}"
    answers: dict[int, Any] = {}
    # Items on their way, by the index of the first of them.
    packs: dict[int, Packed] = {}
    sizes: dict[int, int] = {}
    position = len(done)
    if workload.combine is not None:
        answers[0] = workload.combine(list(done))
    else:
        answers[0] = done

    def submit() -> Any:
        nonlocal position
        start, size = position, batches.next_size(n_items - position)
        position += size
        sizes[start] = size
        part = packer.pack(list(items[start : start + size]), keep=False)
        packs[start] = part
        return client.submit(
            run_batch, run, functions, part, start, key=(run, start), pure=False
        )

    completed = as_completed(with_results=True, raise_errors=False)
    try:
        while position < n_items and completed.count() < batches.n_in_flight:
            completed.add(submit())
        for future, outcome in completed:
            if future.status != "finished":
                error, traceback = future.exception(), future.traceback()
                # `future.result()` would keep the future, and its items, alive in
                # the frames of the traceback.
                future.cancel()
                raise error.with_traceback(traceback)
            result: BatchResult = outcome
            start = future.key[1]
            packs.pop(start).close()
            answers[start] = unpack(result.answer, last=True)
            batches.ended(sizes[start], result.wall_s)
            if position < n_items:
                completed.add(submit())
    finally:
        if left := list(completed.futures):
            client.cancel(left, reason="daskkit: run ended")
        # A scheduler in this process may hold on to tasks for a while; their memory
        # is freed now.
        for packed in (functions, *packs.values()):
            packed.close()
    parts = [answers[start] for start in sorted(answers)]
    if workload.combine is not None:
        return workload.combine(parts)
    return [result for part in parts for result in part]
