"""Workloads whose loss has a known cause: the ledger finds it, and the advice names it.

Each cause is so large that it stays the largest part on a busy machine.
"""

from __future__ import annotations

import fcntl
import importlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import daskkit as dk
from daskkit.accounts import PARTS
from daskkit.comparison.ledger import share_of_waiting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_lock = threading.Lock()
# Comparisons, each of a second or two, until one is undisturbed.
_ATTEMPTS = 5


def _spin(seconds):
    """Compute for so many CPU seconds of this thread, with the GIL."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return seconds


def _spin_with_lock(seconds):
    with _lock:
        return _spin(seconds)


def _spin_with_file(item):
    path, seconds = item
    with Path(path).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return _spin(seconds)


def _nap(seconds):
    time.sleep(seconds)
    return seconds


def _first(array):
    return float(array[0])


def compare(func, items, *backends, n_workers=4):
    work = dk.Workload("cause", func=func, items=items)
    comparison = dk.compare(
        work, backends=backends, n_workers=n_workers, repeats=1, ledger=True
    )
    assert [run.error for run in comparison.runs] == [None] * (1 + len(backends))
    return comparison


def compare_undisturbed(func, items, backend):
    """Return a comparison in which the loop had a core for itself, if one is to be had.

    Where others leave it less than half of one, the advice is that it waits as well.
    """
    for _ in range(_ATTEMPTS):
        comparison = compare(func, items, backend)
        if share_of_waiting(comparison.runs[0].trace) < 0.4:
            return comparison
    pytest.skip("other programs leave the plain loop no core")


def check_largest(comparison, backend, *parts, cold=False):
    """Assert that these parts together are larger than any other."""
    row = comparison.ledger(cold=cold).set_index("backend").loc[backend]
    rest = max(row[name] for name in PARTS if name not in parts)
    assert sum(row[name] for name in parts) > rest, row.to_string()
    whole = row["workers"] * row["wall_s"]
    assert sum(row[name] for name in PARTS) == pytest.approx(whole, rel=0.01)


def test_one_giant_item():
    """Workers that wait for one item are the tail, and the item is named."""
    comparison = compare(_spin, [0.005] * 20 + [0.3], "futures")
    check_largest(comparison, "futures", "tail_s")
    text = comparison.explain("futures")
    assert "The largest loss is the tail" in text
    assert "item 20" in text
    assert "split this one" in text


def test_a_lock_on_threads():
    """Threads that wait for a lock wait within items; the advice speaks of locks."""
    comparison = compare_undisturbed(_spin_with_lock, [0.02] * 8, "threads")
    check_largest(comparison, "threads", "waiting_s")
    text = comparison.explain("threads")
    assert "The largest loss is waiting within items" in text
    assert "wait for one another: for the GIL, or for a lock" in text
    assert "hold it for less" in text


def test_a_lock_between_processes(tmp_path):
    """So do processes that wait for a file; of a GIL nothing is said."""
    items = [(str(tmp_path / "lock"), 0.02)] * 8
    comparison = compare_undisturbed(_spin_with_file, items, "multiprocessing")
    check_largest(comparison, "multiprocessing", "waiting_s")
    text = comparison.explain("multiprocessing")
    assert "wait for one another: for a lock or a file" in text
    assert "If func takes a lock, hold it for less" in text


def test_a_sleep():
    """An item that sleeps waits in the plain loop as well; more workers are advised."""
    comparison = compare(_nap, [0.05] * 6, "threads", "dask-futures", n_workers=2)
    for backend in ("threads", "dask-futures"):
        check_largest(comparison, backend, "waiting_s")
        text = comparison.explain(backend)
        assert "The plain loop waits as well" in text
        assert "func sleeps" in text
        assert "more workers than cores" in text


def test_arguments_of_50_megabytes():
    """What is packed, sent and opened is the largest part, with its bytes."""
    items = [np.full(50 * 2**20 // 8, float(k)) for k in range(2)]
    backends = ("multiprocessing", "dask-futures", "dask-bag")
    comparison = compare(_first, items, *backends, n_workers=2)
    for backend in backends:
        # The caller packs the first of them before there is a worker that could wait.
        check_largest(comparison, backend, "serialise_s", "transfer_s", "caller_s")
        text = comparison.explain(backend)
        assert "100 MiB went to the workers" in text
        assert "daskkit.share" in text
    # Threads are handed what is there.
    bytes_in = [stamp.bytes_in for stamp in comparison.runs[0].trace.stamps]
    assert sum(bytes_in) == 0


def test_a_slow_start(tmp_path, monkeypatch):
    """Workers that take long to import what func needs are start-up, in the first call."""
    source = "import time\ntime.sleep(0.8)\ndef work(x):\n    return x\n"
    (tmp_path / "slow_to_import.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("slow_to_import")
    backend = "multiprocessing:start_method=spawn"
    comparison = compare(module.work, range(8), backend, n_workers=2)
    check_largest(comparison, backend, "startup_s", cold=True)
    text = comparison.explain(backend)
    assert "its largest part is start-up" in text
    assert "import less where func is defined" in text


def test_a_pool_of_threads_that_need_the_gil():
    """Threads that take turns wait within items; processes are advised."""
    comparison = compare_undisturbed(_spin, [0.03] * 8, "threads")
    check_largest(comparison, "threads", "waiting_s")
    text = comparison.explain("threads")
    assert "The largest loss is waiting within items" in text
    assert "wait for one another: for the GIL" in text
    assert "Processes don't share a GIL: use them" in text
