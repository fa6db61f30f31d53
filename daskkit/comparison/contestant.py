"""The parent's side of a contestant's process: commands, freezing, measuring, ending.

While one contestant runs, the process trees of all others are stopped: idle Dask
clusters alone would take a fair share of a core (measured: 15 % of one each).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import Pipe
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

from daskkit.comparison.leftovers import (
    end_processes,
    find_processes,
    find_segments,
    is_tracker,
    remove_segments,
    start_of,
)
from daskkit.errors import DaskkitError
from daskkit.loop import short_repr
from daskkit.run.threads import thread_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskkit.comparison.warden import Warden

__all__ = ["Contestant", "ContestantError", "memory_kind"]

# A thawed process tree catches up on timers and heartbeats before its turn.
_SETTLE_S = 0.05
# A contestant gets this long to stop in good order before it is killed.
_STOP_S = 10.0
_MEMORY_PERIOD_S = 0.02
_POLL_S = 0.02
# What is still there this long after the process has ended was left behind. It may be
# about to end by itself, on a machine that is busy.
_LINGER_S = 3.0


class ContestantError(DaskkitError):
    """A contestant failed; the message is the one line that the table shows."""


class Contestant:
    """One back end in a process of its own.

    Parameters
    ----------
    warden : Warden
        Keeps its temporary files, and ends it if this process is killed.
    environment : mapping of str to str, optional
        Variables that the back end needs; see `Backend.environment`.
    """

    #: The module that its process runs.
    module: ClassVar[str] = "daskkit.comparison.runner"

    def __init__(
        self, warden: Warden, environment: Mapping[str, str] | None = None
    ) -> None:
        self._warden = warden
        self._folder = warden.make_folder()
        self._began_s = time.time()
        self._pids: set[int] = set()
        self._sessions: dict[int, bytes] = {}
        self._segments: set[str] = set()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._connection, theirs = Pipe()
        descriptor = theirs.fileno()
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - has no keyword
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, str(descriptor)],
            # One BLAS thread a worker, for all alike; and the same order of sets and
            # dicts in all processes.
            env={
                **os.environ,
                **thread_variables(1),
                "PYTHONHASHSEED": "0",
                **{
                    name: value.format(folder=self._folder)
                    for name, value in (environment or {}).items()
                },
                "TMPDIR": self._folder,
            },
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=[descriptor],
            # A group of its own: one signal reaches all of it, Ctrl-C none.
            start_new_session=True,
        )
        theirs.close()
        self._pids.add(self._process.pid)
        self._watch_sessions({self._process.pid})
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
        # Looked at here, since of a tree that dies nothing can be asked any more.
        self._segments |= find_segments(process.pid for process in self._frozen)
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

    def close(self, *, at_once: bool = False) -> str | None:
        """End the process and all that it started; a second call does nothing.

        Parameters
        ----------
        at_once : bool, default False
            Kill it without giving the back end time to stop.

        Returns
        -------
        str or None
            In one line, how it failed to stop or what it left behind although it had
            been told to stop. By now it is gone.
        """
        if self._connection.closed:
            return None
        left = [] if at_once else self._stop()
        pids = self._find()
        self._segments |= find_segments(pids)
        self._pids.update(pids)
        end_processes(self._find)
        self._process.wait()
        segments = remove_segments(self._segments, self._pids, self._began_s)
        if not at_once:
            left += segments
        shutil.rmtree(self._folder, ignore_errors=True)
        self._connection.close()
        self._output.close()
        for session in self._sessions:
            self._warden.watch(-session)
        return ", ".join(left) if left else None

    def _stop(self) -> list[str]:
        """Let the back end stop in good order; return what went wrong, or is left."""
        if self._process.poll() is not None:
            return []
        self.thaw()
        self._tree()
        try:
            self.ask("stop", limit_s=_STOP_S)
            self._connection.send(("exit", ()))
            self._process.wait(_STOP_S)
        except ContestantError as error:
            return [str(error)]
        except (OSError, subprocess.TimeoutExpired):
            return ["it did not end when it was told to"]
        deadline = time.monotonic() + _LINGER_S
        while left := [pid for pid in self._find() if not is_tracker(pid)]:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        return [f"process {pid} ({_command(pid)})" for pid in left]

    def _find(self) -> list[int]:
        """Return the processes that are left of the tree, orphans included."""
        return find_processes(self._folder, self._sessions)

    def _tree(self) -> list[psutil.Process]:
        """Return the process and all below it, and remember where they can be found."""
        try:
            root = psutil.Process(self._process.pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.Error:
            return []
        pids = {process.pid for process in tree}
        if not pids <= self._pids:
            self._pids |= pids
            self._watch_sessions(set(filter(None, map(_session, pids))))
        return tree

    def _watch_sessions(self, sessions: set[int]) -> None:
        """Add sessions to those of this contestant, here and at the warden."""
        for session in sessions - set(self._sessions):
            self._sessions[session] = start_of(session)
            self._warden.watch(session)

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


def _session(pid: int) -> int | None:
    """Return the session of a process, or None if it has gone."""
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return None


def _command(pid: int) -> str:
    """Return a process's command in one line, or that it has gone."""
    with contextlib.suppress(psutil.Error):
        return short_repr(" ".join(psutil.Process(pid).cmdline()))
    return "gone"
