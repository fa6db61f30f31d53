"""Programs that are to end badly: each in surroundings of its own that are searched.

A `Program` has a temporary folder, a home folder and a mark in its environment, which
its descendants inherit. Whatever becomes of it, nothing of the three may be left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Self

import psutil

# Kept by the descendants, also by those that no longer have a parent.
_MARK = "DASKKIT_TEST_FAULT"
# A program that starts a cluster on a busy machine.
_START_S = 60.0
#: A millisecond of pure Python for each item, and what scripts use.
PREAMBLE = """
import os, signal, sys, threading, time
import daskkit as dk
def busy(x):
    total = 0
    for i in range(15_000):
        total += i
    return x
def say(*words):
    print(*words, flush=True)
"""


class Program:
    """A Python program in a session of its own, with folders of its own.

    Parameters
    ----------
    code : str
        What follows `PREAMBLE`.
    folder : Path
        Empty; gets the script and its folders.
    **variables : str
        For its environment.
    """

    def __init__(self, code: str, folder: Path, **variables: str) -> None:
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self._folders = [folder / "tmp", folder / "home"]
        for one in self._folders:
            one.mkdir()
        path = folder / "program.py"
        path.write_text(PREAMBLE + textwrap.dedent(code), encoding="utf-8")
        self._shared_before = _shared_memory()
        self._errors_path = folder / "errors.txt"
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
            "TMPDIR": str(self._folders[0]),
            "HOME": str(self._folders[1]),
            "PYTHONPYCACHEPREFIX": str(folder / "cache"),
            _MARK: self._mark,
            **variables,
        }
        with self._errors_path.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C goes to a whole group
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        # A test that failed has said what it had to; nothing may outlive it.
        with contextlib.suppress(psutil.Error, OSError):
            for process in [*self.descendants(), psutil.Process(self.process.pid)]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.process.stdout.close()
        self.process.wait()

    # What it says.

    @property
    def errors(self) -> str:
        """What it has written to its standard error so far."""
        return self._errors_path.read_text(encoding="utf-8")

    def await_line(self, expected: str, seconds: float = _START_S) -> None:
        """Wait until it prints a line; it has to be this one."""
        with _killed_after(self.process, seconds):
            line = self.process.stdout.readline().rstrip("\n")
        assert line == expected, (line, self.errors[-3000:])

    def await_end(self, seconds: float) -> str:
        """Return what it prints until its end, which comes within so many seconds."""
        with _killed_after(self.process, seconds) as is_killed:
            out = self.process.stdout.read()
            self.process.wait()
        assert not is_killed, f"not over after {seconds} s: {out} {self.errors[-3000:]}"
        return out.strip()

    # What is done to it.

    def send(self, number: int, *, group: bool = False) -> None:
        """Send it a signal, or its whole group, as a terminal does."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def interrupt(self, *, group: bool = False) -> None:
        """Press Ctrl-C."""
        self.send(signal.SIGINT, group=group)

    # What is left of it.

    def descendants(self) -> list[psutil.Process]:
        """Return the processes that carry its mark, itself aside."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != self.process.pid and (
                    process.environ().get(_MARK) == self._mark
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
        return found

    def check_nothing_left(self, seconds: float = 10.0) -> None:
        """Fail if a process, file or shared memory of it is there so much later."""
        deadline = time.monotonic() + seconds
        while left := self._leftovers():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.05)

    def _leftovers(self) -> list[str]:
        left = [f"process {one.pid}" for one in self.descendants()]
        for folder in self._folders:
            left += map(str, folder.rglob("*"))
        return left + sorted(_shared_memory() - self._shared_before)


def _shared_memory() -> set[str]:
    """Return the names in /dev/shm that could be ours."""
    folder = Path("/dev/shm")
    names = ("daskkit*", "dask-*", "psm_*")
    return {str(path) for name in names for path in folder.glob(name)}


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float):
    """Kill a process if the body takes too long, so that it can't hang."""
    import threading

    is_killed: list[bool] = []

    def kill() -> None:
        is_killed.append(True)
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield is_killed
    finally:
        timer.cancel()
        timer.join()
