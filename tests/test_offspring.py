"""What items start ends with the process that executes them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import daskkit as dk
from daskkit.run.offspring import end_offspring

pytestmark = [
    pytest.mark.slow,
    # distributed says that a worker has died, and what it was doing.
    pytest.mark.filterwarnings("ignore"),
]

_SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]
# By a child of a child, whose own parent ends at once.
_CODE = f"""
import subprocess
child = subprocess.Popen({_SLEEP!r}, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
"""
_DEEP = [sys.executable, "-S", "-c", _CODE]


def _start_children(folder):
    """Start three children, one of whom nobody is the parent any more."""
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    forked.start()
    (folder / str(forked.pid)).touch()
    (folder / str(subprocess.Popen(_SLEEP).pid)).touch()
    deep = subprocess.run(_DEEP, stdout=subprocess.PIPE, check=True).stdout
    (folder / str(int(deep))).touch()


def _await_gone(folder, n_least):
    """Wait until all children of all attempts are gone; there were some."""
    pids = [int(path.name) for path in folder.iterdir()]
    assert len(pids) >= n_least
    deadline = time.monotonic() + 20
    while left := [pid for pid in pids if _is_alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@contextlib.contextmanager
def _bystander(**options):
    """Yield a child of this process, which is to live on."""
    child = subprocess.Popen(_SLEEP, **options)
    try:
        yield child
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Item:
    """At 3 it starts children, and then hangs or kills its process."""

    def __init__(self, folder, way):
        self.folder, self.way = folder, way

    def __call__(self, x):
        time.sleep(0.02)
        if x == 3:
            _start_children(self.folder)
            if self.way == "hang":
                time.sleep(300)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(300)
        return x


@pytest.mark.parametrize("way", ["hang", "die"])
def test_children_end_with_their_worker(tmp_path, way):
    """Whether it was killed for its time or died, and whoever was their parent."""
    with _bystander(), dk.cluster(n_workers=2):
        timeout = 4.0 if way == "hang" else None
        results = dk.map(
            Item(tmp_path, way),
            range(8),
            where="cluster",
            on_error="collect",
            timeout=timeout,
        )
        assert [one.index for one in results.failures] == [3]
        _await_gone(tmp_path, 3 if way == "hang" else 6)
        assert dk.map(abs, range(-3, 0), where="cluster") == [3, 2, 1]


def test_children_end_with_a_cancelled_task(tmp_path):
    """A worker that is amid a task when its cluster is closed."""
    with dk.cluster(n_workers=1) as client:
        future = client.submit(Item(tmp_path, "hang"), 3)
        while len(list(tmp_path.iterdir())) < 3:
            assert future.status == "pending"
            time.sleep(0.05)
    _await_gone(tmp_path, 3)


def test_children_end_with_a_killed_caller(run_program, tmp_path):
    """Its workers end by themselves, and somebody is left to look for their children."""
    folder = tmp_path / "children"
    folder.mkdir()
    program = run_program(
        f"""
        import pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        import daskkit as dk
        from tests.test_offspring import Item
        with dk.cluster(n_workers=2):
            folder = pathlib.Path({str(folder)!r})
            dk.map(Item(folder, "hang"), range(8), where="cluster")
        """
    )
    with _bystander():
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program.send(signal.SIGKILL)
        _await_gone(folder, 3)
    program.check_nothing_left()


def test_living_leader_is_spared():
    """Nothing is ended of a session whose leader is alive, or of another one."""
    with _bystander(start_new_session=True) as child:
        assert end_offspring(child.pid) == 0
        assert end_offspring(2**22 + 1) == 0
