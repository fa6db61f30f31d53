"""Workloads whose loss has a known cause: the ledger finds it, and the advice names it.

Each cause is so large that it stays the largest part on a busy machine.
"""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest

import daskkit as dk
from daskkit.accounts import PARTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_lock = threading.Lock()


def _spin(seconds):
    """Compute for so many CPU seconds of this thread."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return seconds


def _spin_locked(seconds):
    with _lock:
        return _spin(seconds)


def _spin_with_file(path):
    with Path(path).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return _spin(0.05)


def _nap(seconds):
    time.sleep(seconds)
    return seconds


def _first(array):
    return float(array[0])


def compare(func, items, *backends, n_workers=2):
    work = dk.Workload("cause", func=func, items=items)
    comparison = dk.compare(
        work, backends=backends, n_workers=n_workers, repeats=1, ledger=True
    )
    assert [run.error for run in comparison.runs] == [None] * (1 + len(backends))
    return comparison


def check_largest(comparison, backend, *parts, cold=False):
    """Assert that these parts together are larger than any other."""
    row = comparison.ledger(cold=cold).set_index("backend").loc[backend]
    rest = max(row[name] for name in PARTS if name not in parts)
    assert sum(row[name] for name in parts) > rest, row.to_string()
    assert sum(row[name] for name in PARTS) == pytest.approx(
        row["workers"] * row["wall_s"], rel=0.01
    )
