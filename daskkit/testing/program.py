"""Programs that end in some way, each in surroundings of its own that are searched."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Program"]

# Kept by the descendants, also by those that no longer have a parent.
_MARK = "DASKKIT_TEST_FAULT"
# A program that starts a cluster on a busy machine.
_START_S = 60.0
# Of what it has written to its standard error, in a message.
_N_SHOWN = 3000
# What could be ours among shared memory with a name.
_SHARED = ("daskkit*", "dask-*", "psm_*")
_OWNER = re.compile(r"daskkit-(\d+)-")


class Program:
    """A Python program in a session of its own, with folders of its own.

    It has a temporary folder, a home folder and a mark in its environment, which its
    descendants inherit. Whatever becomes of it, nothing of the three may be left. Use
    it as a context: a program that still runs at the end is killed, descendants
    included.

    Parameters
    ----------
    code : str
        Of the program; indentation that all lines share is removed.
    folder : str or Path
        Empty; gets the script and its folders, and is what they are named after.
    before : sequence of str, default ()
        A command that executes the program, such as ``("nice", "-n", "15")``.
    **variables : str
        For its environment.

    Attributes
    ----------
    process : subprocess.Popen
        What was started.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Program("print(6 * 7)", folder) as program:
    ...         print(program.await_end(60))
    ...         program.check_nothing_left()
    42
    """

    def __init__(
        self,
        code: str,
        folder: str | Path,
        *,
        before: Sequence[str] = (),
        **variables: str,
    ) -> None:
        folder = Path(folder)
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self._folders = [folder / "tmp", folder / "home"]
        for one in self._folders:
            one.mkdir(exist_ok=True)
        path = folder / "program.py"
        path.write_text(textwrap.dedent(code), encoding="utf-8")
        self._shared_before = _shared_memory()
        self._errors_path = folder / "errors.txt"
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
            "TMPDIR": str(self._folders[0]),
            "HOME": str(self._folders[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
            _MARK: self._mark,
            **variables,
        }
        with self._errors_path.open("wb") as errors:
            self.process = subprocess.Popen(
                [*before, sys.executable, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C goes to a whole group
            )
        assert self.process.stdout is not None  # a pipe
        self._stdout = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        # A test that failed has said what it had to; nothing may outlive it.
        self._kill()
        self._stdout.close()
        self.process.wait()

    # What it says.

    @property
    def errors(self) -> str:
        """What it has written to its standard error so far."""
        return self._errors_path.read_text(encoding="utf-8")

    def await_line(self, expected: str, seconds: float = _START_S) -> None:
        """Wait until it prints a line; it has to be this one.

        Parameters
        ----------
        expected : str
            The line without its end.
        seconds : float, default 60.0
            After which the program is killed.

        Raises
        ------
        AssertionError
            If it is another line, or none.
        """
        with _called_after(self._kill, seconds):
            line = self._stdout.readline().rstrip("\n")
        if line != expected:
            msg = f"it printed {line!r}, not {expected!r}; {self.errors[-_N_SHOWN:]}"
            raise AssertionError(msg)

    def await_end(self, seconds: float) -> str:
        """Return what it prints until its end.

        Parameters
        ----------
        seconds : float
            After which the program is killed.

        Returns
        -------
        str
            Without blanks and line ends around it.

        Raises
        ------
        AssertionError
            If it had to be killed.
        """
        with _called_after(self._kill, seconds) as is_killed:
            out = self._stdout.read()
            self.process.wait()
        if is_killed:
            msg = f"not over after {seconds} s: {out} {self.errors[-_N_SHOWN:]}"
            raise AssertionError(msg)
        return out.strip()

    # What is done to it.

    def send(self, number: int, *, group: bool = False) -> None:
        """Send it a signal.

        Parameters
        ----------
        number : int
            Such as ``signal.SIGTERM``.
        group : bool, default False
            Whether to its whole group, as a terminal does.
        """
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def interrupt(self, *, group: bool = False) -> None:
        """Press Ctrl-C; see `send`."""
        self.send(signal.SIGINT, group=group)

    # What is left of it.

    def descendants(self) -> list[psutil.Process]:
        """Return the processes that carry its mark, itself aside.

        Returns
        -------
        list of psutil.Process
        """
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
        """Fail if a process, a file or shared memory of it is left.

        Parameters
        ----------
        seconds : float, default 10.0
            How long to wait for what is about to go.

        Raises
        ------
        AssertionError
            With a list of what is left.
        """
        deadline = time.monotonic() + seconds
        while left := self._leftovers():
            if time.monotonic() > deadline:
                msg = f"left behind: {'; '.join(left)}"
                raise AssertionError(msg)
            time.sleep(0.05)

    def _kill(self) -> None:
        """End it and its descendants, one of which may hold its output open."""
        for process in self.descendants():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.kill()

    def _leftovers(self) -> list[str]:
        left = [f"process {one.pid}" for one in self.descendants()]
        for top in self._folders:
            # Unlike `Path.rglob` it bears folders that are being removed.
            for folder, folders, files in os.walk(top):
                left += [f"{folder}/{name}" for name in (*folders, *files)]
        return left + sorted(_shared_memory() - self._shared_before)


def _shared_memory() -> set[str]:
    """Return the names in /dev/shm that could be ours.

    Not those that name a process which lives: they are in use, by another program
    perhaps; a process of this one would be found itself.
    """
    folder = Path("/dev/shm")  # noqa: S108 - only looked at
    found = {path for name in _SHARED for path in folder.glob(name)}
    return {str(path) for path in found if not _is_in_use(path.name)}


def _is_in_use(name: str) -> bool:
    """Return whether a name says that it belongs to a process, and that one lives.

    Examples
    --------
    >>> _is_in_use(f"daskkit-{os.getpid()}-x"), _is_in_use("psm_1")
    (True, False)
    """
    owner = _OWNER.match(name)
    return owner is not None and psutil.pid_exists(int(owner[1]))


@contextlib.contextmanager
def _called_after(func: Callable[[], None], seconds: float) -> Iterator[list[bool]]:
    """Call a function if the body takes too long, so that it can't hang."""
    is_called: list[bool] = []

    def call() -> None:
        is_called.append(True)
        func()

    timer = threading.Timer(seconds, call)
    timer.start()
    try:
        yield is_called
    finally:
        timer.cancel()
        timer.join()
