"""Who removes folders when this process ends: whatever this process has forked."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import warnings

import psutil
import pytest

from daskkit.comparison.warden import Warden
from daskkit.run.warden import watched_folder
from tests.faults import Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no forks")


@pytest.fixture
def fork():
    """Return a function that forks a process which lives until the end of the test."""
    pids = []

    def make():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
            pid = os.fork()
        if pid == 0:
            time.sleep(100)
            os._exit(0)
        pids.append(pid)
        return pid

    yield make
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("make", [lambda: watched_folder("daskkit-"), Warden])
def test_forks_do_not_hold_up_the_end(fork, make):
    """They had a copy of the pipe whose end it waits for."""
    with make():
        pid = fork()
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)  # it lives


@pytest.mark.slow
def test_cluster_ends_beside_a_pool_that_was_forked_meanwhile(tmp_path):
    """A pool that outlives the cluster goes on."""
    code = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

with dk.cluster(n_workers=1) as client:
    pool = ProcessPoolExecutor(1, mp_context=get_context("fork"))
    say(pool.submit(abs, -1).result() + client.submit(abs, -1).result())
say(pool.submit(abs, -3).result())
pool.shutdown()
"""
    with Program(code, tmp_path) as program:
        assert program.await_end(60).split() == ["2", "3"]
        assert program.process.returncode == 0, program.errors
        program.check_nothing_left()


@pytest.mark.slow
def test_killed_caller_whose_fork_lives_on_leaves_no_folder(tmp_path):
    """The fork is the user's; the workers and their folder aren't."""
    code = """
with dk.cluster(n_workers=1) as client:
    if os.fork() == 0:
        time.sleep(100)
        os._exit(0)
    say("ready")
    time.sleep(100)
"""
    with Program(code, tmp_path) as program:
        program.await_line("ready")
        program.send(signal.SIGKILL)
        # Python's own tracker of resources lives as long as the fork, which uses it.
        deadline = time.monotonic() + 20
        while len(left := _list_left(program)) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == [f"{sys.executable} {tmp_path}/program.py"]
        assert os.listdir(tmp_path / "tmp") == []  # noqa: PTH208 - names


def _list_left(program):
    """Return the command lines of what a program has started, trackers aside."""
    commands = []
    for process in program.descendants():
        with contextlib.suppress(psutil.Error):
            commands.append(" ".join(process.cmdline()))
    return [one for one in commands if "resource_tracker" not in one]
