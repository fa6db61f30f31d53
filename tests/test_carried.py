"""Graphs and daskkit's own execution carry large data by the transport layer."""

from __future__ import annotations

import contextlib
import gc
import pickle
import re
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest

import daskkit as dk
from daskkit.run.execute import execute
from daskkit.transport.auto import Packed
from daskkit.transport.carried import Carried
from daskkit.transport.errors import TransportError

LARGE = 4_000_000  # bytes; well above what is shared


def _run(how, workload, client):
    if how == "execute":
        return execute(workload, client)
    build = {"bag": dk.build_bag, "delayed": dk.build_delayed}[how]
    return build(workload, npartitions=3).compute()


HOWS = ["bag", "delayed", "execute"]


def test_carried_value_is_not_copied_until_it_is_sent():
    """Where nothing is pickled the value is the object itself."""
    value = [1, 2]
    assert Carried(value).get() is value


def test_carried_value_is_packed_once(shared_client):
    """What has arrived is sent on as it is, not packed again."""
    arrived = pickle.loads(pickle.dumps(Carried(np.arange(LARGE, dtype="u1"))))
    assert isinstance(arrived._packed, Packed)
    again = pickle.loads(pickle.dumps(arrived))
    assert again._packed.segments() == arrived._packed.segments()
    np.testing.assert_array_equal(again.get(), np.arange(LARGE, dtype="u1"))


@pytest.mark.parametrize("how", HOWS)
def test_large_captured_array(shared_client, how):
    """A function may capture a large array; no warning, the loop's answer."""
    array = np.arange(LARGE // 8)
    workload = dk.Workload("captured", lambda i: int(array[i::1000].sum()), range(200))
    assert _run(how, workload, shared_client) == workload.loop()


@pytest.mark.parametrize("how", HOWS)
def test_large_items_and_results(shared_client, how):
    """Large arrays go out and come back; what comes back is writable."""
    items = [np.full(LARGE // 8, i, dtype=float) for i in range(6)]
    workload = dk.Workload("large", lambda a: a * 2, items)
    results = _run(how, workload, shared_client)
    dk.check_equal(results, workload.loop())
    assert all(result.flags.writeable for result in results)


@pytest.mark.parametrize("how", HOWS)
def test_a_task_that_writes_into_its_item_disturbs_nobody(shared_client, how):
    """Items of the caller stay as they were, whatever a worker does to its copy."""
    items = [np.zeros(LARGE // 8) for _ in range(6)]

    def fill(array):
        array += 1
        return float(array.sum())

    workload = dk.Workload("write", fill, items)
    results = _run(how, workload, shared_client)
    assert results == [LARGE / 8] * 6
    n_done_here = sum(array.any() for array in items)
    # daskkit's own pilot runs the first items here, as the plain loop would.
    assert n_done_here == 0 or how == "execute"


@pytest.mark.parametrize("how", ["bag", "delayed"])
def test_dicts_stay_dicts(shared_client, how):
    """Containers arrive as exactly what they were, from every scheduler."""
    workload = dk.Workload(
        "counts",
        lambda x: {x % 3: 1},
        range(30),
        combine=lambda parts: {k: sum(p.get(k, 0) for p in parts) for k in range(3)},
    )
    if how == "bag":
        from daskkit.graphs.bag import reduce_bag

        answer = reduce_bag(dk.build_bag(workload), workload.combine)
    else:
        answer = dk.build_delayed(workload, npartitions=20)
    for scheduler in ("synchronous", "threads", shared_client):
        result = answer.compute(scheduler=scheduler)
        assert (type(result), result) == (dict, {0: 10, 1: 10, 2: 10})


@pytest.mark.parametrize("how", HOWS)
def test_unpicklable_captured_object_is_a_clear_error(shared_client, how):
    """A lock in a closure is named; the cluster goes on working."""
    lock = threading.Lock()

    def hold(x):
        for _ in range(20_000):
            pass
        with lock:
            return x

    workload = dk.Workload("lock", hold, range(500))
    says = r"its part .*lock \(lock\) raises"
    if how == "execute":  # it can stay in this process, and does
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # tests/test_verbs.py
            assert _run(how, workload, shared_client) == list(range(500))
    else:
        with pytest.raises(TransportError, match=says):
            _run(how, workload, shared_client)
    assert shared_client.submit(sum, [1, 2]).result(timeout=20) == 3


def test_share_is_public(shared_client):
    """dk.share makes one copy that workers attach to."""
    with dk.share(np.arange(LARGE, dtype="u1")) as handle:
        future = shared_client.submit(lambda h: int(h.get().sum()), handle)
        assert future.result(timeout=30) == int(np.arange(LARGE, dtype="u1").sum())


def _pss():
    """Return the memory of this process and of all that it started, in bytes.

    Without that of libraries' files: a share of them grows when a stranger ends who
    had them mapped as well.
    """
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    total = 0
    for process in tree:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            kilobytes = re.findall(r"Pss_(?:Anon|Shmem): +(\d+) kB", text)
            total += 1024 * sum(map(int, kilobytes))
    return total


def _megabyte(i):
    time.sleep(0.001)
    return np.full(2**17, float(i))


def _falls_below(limit):
    """Return whether memory does soon: workers on a busy machine take their time."""
    deadline = time.monotonic() + 20
    while _pss() >= limit:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.mark.slow
def test_memory_of_results_is_freed(shared_client):
    """100 runs with 30 results of 1 MB each grow by less than one result every other run."""

    def run(n):
        for _ in range(n):
            assert dk.map(_megabyte, range(30), where="cluster")[29][0] == 29.0
        gc.collect()

    # By then as much is at hand as ever: the results of a run or two come and go.
    run(40)
    time.sleep(1)
    before = _pss()
    assert before
    run(100)
    assert _falls_below(before + 50e6)


@pytest.mark.slow
def test_memory_of_failed_runs_is_freed(shared_client):
    """Ten failed runs with arguments of 50 MB leave less than 150 MB behind."""

    def fail(array):
        time.sleep(0.02)
        if array[0] == 3:
            msg = "no"
            raise ValueError(msg)
        return 0

    def run():
        items = [np.full(50_000_000 // 8, float(i)) for i in range(5)]
        with pytest.raises(ValueError, match="no") as caught:
            dk.map(fail, items, where="cluster")
        assert caught.value.__notes__[-1].startswith("raised by item 3")

    run()  # the workers are there, and have imported what they need
    time.sleep(1)
    before = _pss()
    for _ in range(10):
        run()
    gc.collect()
    assert _falls_below(before + 150e6)
