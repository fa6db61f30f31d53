"""What a contestant leaves behind is found, ended and removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from daskkit.comparison.contestant import Contestant
from daskkit.comparison.leftovers import (
    end_processes,
    find_processes,
    find_segments,
    remove_segments,
    start_of,
)
from daskkit.comparison.warden import Warden

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def segment():
    """Yield the path of a file in shared memory, and remove it if it is still there."""
    path = Path(f"/dev/shm/daskkit-test-{os.getpid()}")
    path.write_bytes(b"x")
    yield path
    path.unlink(missing_ok=True)


def _spawn(**options):
    process = subprocess.Popen(SLEEP, **options)
    # Its environment shows once it has executed the interpreter.
    while b"sleep" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.01)
    return process


def test_processes_are_found_by_environment_and_session(tmp_path):
    """A child that fled into a session of its own is known by its private folder."""
    mine = {**os.environ, "TMPDIR": f"{tmp_path}/1"}
    fled = _spawn(env=mine, start_new_session=True)
    other = _spawn(env={**os.environ, "TMPDIR": f"{tmp_path}/10"})
    led = _spawn(start_new_session=True)
    try:
        assert find_processes(f"{tmp_path}/1", {}) == [fled.pid]
        sessions = {led.pid: start_of(led.pid)}
        assert set(find_processes(f"{tmp_path}/1", sessions)) == {fled.pid, led.pid}
        # Somebody else's session that has got the number of one that is over.
        assert find_processes(f"{tmp_path}/1", {led.pid: b"1"}) == [fled.pid]
        end_processes(lambda: find_processes(f"{tmp_path}/1", sessions))
        assert (fled.wait(5), led.wait(5), other.poll()) == (-9, -9, None)
    finally:
        for process in (fled, other, led):
            process.kill()
            process.wait()


def test_segments_are_those_that_were_open(segment):
    """A file that a process has open in shared memory is its own, and is removed."""
    began_s = time.time()
    with segment.open("rb"):
        assert str(segment) in find_segments([os.getpid()])
        # While somebody has it open it isn't removed.
        assert remove_segments({str(segment)}, (), began_s - 60) == []
    assert str(segment) not in find_segments([os.getpid()])
    assert remove_segments({str(segment)}, (), began_s - 60) == [str(segment)]
    assert not segment.exists()


def test_segments_are_known_by_the_process_in_their_name(segment):
    """Libraries put their process id into names; parts of other numbers don't count."""
    part = int(str(os.getpid())[:-1] or 0)
    assert remove_segments((), {part}, 0.0) == []
    assert remove_segments((), {os.getpid()}, 0.0) == [str(segment)]


def test_older_segments_stay(segment):
    """What was there before the contestant began belongs to somebody else."""
    assert remove_segments({str(segment)}, {os.getpid()}, time.time() + 60) == []
    assert segment.exists()


def test_trackers_clean_up_before_they_are_ended(tmp_path):
    """Shared memory of processes that were killed is removed by their tracker."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import time
            from multiprocessing.shared_memory import SharedMemory
            memory = SharedMemory(create=True, size=1_000)
            print(memory.name, flush=True)
            time.sleep(600)
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        segment = Path("/dev/shm", process.stdout.readline().strip())
        assert segment.exists()
        sessions = {process.pid: start_of(process.pid)}
        end_processes(lambda: find_processes(str(tmp_path), sessions))
    assert not segment.exists()


def test_a_caller_that_is_killed_leaves_no_fled_process(tmp_path):
    """The warden finds processes in sessions that it was never told of."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, subprocess, time
            from daskkit.comparison.warden import Warden
            warden = Warden()
            child = subprocess.Popen(
                {SLEEP!r}, env={{**os.environ, "TMPDIR": warden.make_folder()}},
                start_new_session=True,
            )
            print(child.pid, warden.folder, flush=True)
            time.sleep(600)
            """
        )
    )
    caller = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    )
    with caller:
        pid, folder = caller.stdout.readline().split()
        child = psutil.Process(int(pid))
        caller.kill()
    _wait_until(lambda: not child.is_running() or child.status() == "zombie")
    _wait_until(lambda: not Path(folder).exists())


def _wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_closing_says_what_was_left(tmp_path):
    """A contestant whose child outlives its end is reported, and the child is ended."""
    with Warden() as warden:
        contestant = Contestant(warden)
        contestant.ask("load", sys.path, b"N.")
        folder = Path(warden.folder, "1")
        child = _spawn(env={**os.environ, "TMPDIR": str(folder)})
        left = contestant.close()
        assert left == f"process {child.pid} ({' '.join(SLEEP)!r})"
        assert child.wait(5) == -9
        assert not folder.exists()
        assert contestant.close() is None
