"""A worker that is stopped does not hold a call for ever."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import daskkit as dk
from daskkit.run.frozen import Freezes, is_frozen

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")


@linux_only
def test_sees_a_stopped_process():
    """Stopped, thawed, gone: only the first counts."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:
        for number, expected in ((signal.SIGSTOP, True), (signal.SIGCONT, False)):
            process.send_signal(number)
            deadline = time.monotonic() + 30
            while is_frozen(process.pid) is not expected:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        process.kill()
    assert not is_frozen(process.pid)


def test_thawing_starts_the_count_anew():
    """Only a process that is frozen at each look is told, however long looks take."""
    states = iter([True] * 9 + [False] + [True] * 10)
    seconds = iter(range(0, 1_000, 50))
    freezes = Freezes(look_at=lambda _: next(states), clock=lambda: next(seconds))
    assert [bool(freezes.find([1])) for _ in range(20)] == [False] * 19 + [True]


def test_looks_once_a_second():
    """In between it asks nothing."""
    looks = []
    seconds = iter([0.0, 0.2, 0.9, 1.1])
    freezes = Freezes(look_at=looks.append, clock=lambda: next(seconds))
    for _ in range(4):
        assert freezes.find([1]) == set()
    assert looks == [1, 1]


def _sleep(x):
    time.sleep(0.005)
    return x


@linux_only
@pytest.mark.slow
def test_frozen_worker_is_replaced():
    """Its items are executed by others, and the answer is the loop's."""
    with dk.cluster(n_workers=2) as client:
        pid = next(iter(client.run(os.getpid).values()))
        timer = threading.Timer(0.5, os.kill, (pid, signal.SIGSTOP))
        timer.start()
        assert dk.map(_sleep, range(600), where="cluster") == list(range(600))
        timer.join()


def _stop_once(path, x):
    """Stop the worker that comes to item 3, the first time."""
    if x == 3:
        try:
            path.mkdir()
        except FileExistsError:
            pass
        else:
            (path / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1.0)  # it may run on for a moment
    return x


@linux_only
@pytest.mark.slow
def test_frozen_worker_is_replaced_amid_a_task_of_dask(tmp_path):
    """A lazy graph is computed to its end as well."""
    folder = tmp_path / "stopped"
    func = functools.partial(_stop_once, folder)
    with dk.cluster(n_workers=2):
        assert dk.lazy.map(func, range(20)).compute() == list(range(20))
        (stopped,) = folder.iterdir()
        assert not psutil.pid_exists(int(stopped.name))
