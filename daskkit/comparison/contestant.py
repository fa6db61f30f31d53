"""The parent's side of a contestant's process: commands, freezing, measuring, ending.

While one contestant runs, the process trees of all others are stopped: idle Dask
clusters alone would take a fair share of a core (measured: 15 % of one each).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import Pipe
from typing import TYPE_CHECKING, Any

import psutil

from daskkit.errors import DaskkitError
from daskkit.run.threads import thread_variables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["Contestant", "ContestantError", "Warden", "memory_kind"]

# A thawed process tree catches up on timers and heartbeats before its turn.
_SETTLE_S = 0.05
# A contestant gets this long to stop in good order before it is killed.
_STOP_S = 10.0
_MEMORY_PERIOD_S = 0.02
# Ends the sessions that it was told of and removes their folder when its standard input
# is closed, which happens when the comparison's process is gone, however it went.
# Frozen processes could not do that themselves.
_WARDEN = """
import os, shutil, signal, sys
sessions = set()
for line in sys.stdin:
    pid = int(line)
    (sessions.add if pid > 0 else sessions.discard)(abs(pid))
for pid in sessions:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class ContestantError(DaskkitError):
    """A contestant failed; the message is the one line that the table shows."""


class Warden:
    """A process that outlives this one, to end contestants if this one is killed.

    A context manager; on exit the contestants' temporary files are removed.
    """

    def __init__(self) -> None:
        #: Where contestants put their temporary files.
        self.folder = tempfile.mkdtemp(prefix="daskkit-")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WARDEN, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def watch(self, pid: int) -> None:
        """Watch over a session.

        Parameters
        ----------
        pid : int
            Its leader's process id, or the negative of it to forget the session.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{pid}\n")
            self._process.stdin.flush()


class Contestant:
    """One back end in a process of its own.

    Parameters
    ----------
    warden : Warden
        Keeps its temporary files, and ends it if this process is killed.
    """

    def __init__(self, warden: Warden) -> None:
        self._warden = warden
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._connection, theirs = Pipe()
        descriptor = theirs.fileno()
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - has no keyword
        self._process = subprocess.Popen(
            [sys.executable, "-m", "daskkit.comparison.runner", str(descriptor)],
            # One BLAS thread a worker, for all alike; and the same order of sets and
            # dicts in all processes.
            env={
                **os.environ,
                **thread_variables(1),
                "PYTHONHASHSEED": "0",
                "TMPDIR": warden.folder,
            },
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=[descriptor],
            # A group of its own: one signal reaches all of it, Ctrl-C none.
            start_new_session=True,
        )
        theirs.close()
        warden.watch(self._process.pid)
        self._frozen: list[psutil.Process] = []

    def ask(self, command: str, *arguments: Any, limit_s: float | None = None) -> Any:
        """Return a runner's answer to a command.

        Parameters
        ----------
        command : str
            A method of the runner: "load", "start", "run" or "stop".
        *arguments : object
            Its arguments.
        limit_s : float, optional
            Seconds to wait; None waits as long as the process lives.

        Returns
        -------
        object

        Raises
        ------
        ContestantError
            If the command raised, the process died, or the limit has passed.
        """
        try:
            self._connection.send((command, arguments))
            if limit_s is not None and not self._connection.poll(limit_s):
                msg = (
                    f"gave no answer to {command!r} within {limit_s:.0f} s and was "
                    "ended"
                )
                raise ContestantError(msg)
            status, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ContestantError(self._describe_death()) from error
        if status == "error":
            line, text = answer
            failure = ContestantError(line)
            failure.add_note(text)
            raise failure
        return answer

    def cpu_s(self) -> float:
        """Return the CPU seconds of the process tree so far, user and system."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system
        return total

    @contextlib.contextmanager
    def watch_memory(self) -> Iterator[list[float]]:
        """Collect the memory of the process tree in bytes while the context is open."""
        samples: list[float] = []
        done = threading.Event()

        def sample() -> None:
            while True:
                samples.append(sum(map(_memory_of, self._tree())))
                if done.wait(_MEMORY_PERIOD_S):
                    return

        thread = threading.Thread(target=sample, name="daskkit-memory")
        thread.start()
        try:
            yield samples
        finally:
            done.set()
            thread.join()

    def freeze(self) -> None:
        """Stop all processes of the tree; they keep their memory and take no CPU."""
        self._frozen = self._tree()
        for process in self._frozen:
            with contextlib.suppress(psutil.Error):
                process.suspend()

    def thaw(self) -> None:
        """Let the processes go on, and wait until they have caught up."""
        if not self._frozen:
            return
        for process in reversed(self._frozen):
            with contextlib.suppress(psutil.Error):
                process.resume()
        self._frozen = []
        time.sleep(_SETTLE_S)

    def close(self, *, at_once: bool = False) -> None:
        """End the process and all that it started; a second call does nothing.

        Parameters
        ----------
        at_once : bool, default False
            Kill it without giving the back end time to stop.
        """
        if self._process.poll() is None and not at_once:
            self.thaw()
            with contextlib.suppress(ContestantError, OSError):
                self.ask("stop", limit_s=_STOP_S)
                self._connection.send(("exit", ()))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        # Whatever the back end left behind is in its session.
        for process in _session(self._process.pid):
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()
        self._connection.close()
        self._output.close()
        self._warden.watch(-self._process.pid)

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def _describe_death(self) -> str:
        """Return how the process ended, with the last line that it printed."""
        code = self._process.wait()
        if code < 0:
            how = f"was ended by signal {signal.Signals(-code).name}"
        else:
            how = f"exited with code {code}"
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return f"its process {how}" + (f": {lines[-1].strip()}" if lines else "")


def memory_kind() -> str:
    """Return what is counted as memory here: "PSS", or "RSS" where PSS isn't known."""
    full = psutil.Process().memory_full_info()
    return "PSS" if hasattr(full, "pss") else "RSS"


def _memory_of(process: psutil.Process) -> float:
    """Return a process's share of memory in bytes; 0 if it has just gone."""
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0.0
    return float(getattr(full, "pss", full.rss))


def _session(leader: int) -> list[psutil.Process]:
    """Return the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found
