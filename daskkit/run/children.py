"""Lanes in child processes, for calls without a cluster.

They are there within milliseconds, where a cluster takes seconds, and end with the
call. A fork knows function and items already; it is taken only where nothing in this
process could be broken by one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from daskkit.run.board import Board, make_file
from daskkit.run.childhood import die_with, print_lines, reseed
from daskkit.run.interrupts import (
    block_interrupt,
    deferred_interrupt,
    ignore_interrupt,
)
from daskkit.run.lane import JobMessage, open_and_serve, serve
from daskkit.run.lanes import ProcessLane
from daskkit.run.link import Link
from daskkit.run.offspring import end_offspring, lead_session
from daskkit.transport.contact import find_place

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from daskkit.run.job import Job
    from daskkit.transport.auto import Packed

__all__ = [
    "describe_exit",
    "end_lanes",
    "fork_lanes",
    "main",
    "spawn_lanes",
]

_END_S = 2.0
# What a fresh interpreter executes: the caller's folders first, then `main`.
_CHILD = (
    "import ast, sys; sys.path[:] = ast.literal_eval(sys.stdin.readline()); "
    "from daskkit.run.children import main; main(*map(int, sys.argv[1:]))"
)


def fork_lanes(
    n_lanes: int, job: Job, items: Sequence[Any] | None
) -> list[ProcessLane]:
    """Return lanes in forks of this process, which know the job and all items.

    Parameters
    ----------
    n_lanes : int
        How many.
    job : Job
        What to do.
    items : sequence, optional
        All items, by their index; None where they are sent.

    Returns
    -------
    list of ProcessLane

    Raises
    ------
    OSError
        If there can be no more processes.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
    lanes: list[ProcessLane] = []
    try:
        # Python loses a KeyboardInterrupt that is raised by what it does before and
        # after a fork, and a child that isn't in `lanes` would be left to itself.
        with deferred_interrupt():
            for _ in range(n_lanes):
                lanes.append(_fork_lane(lanes, job, items))
    except BaseException:
        end_lanes(lanes)
        raise
    return lanes


def _fork_lane(
    lanes: list[ProcessLane], job: Job, items: Sequence[Any] | None
) -> ProcessLane:
    """Return a lane in a fork of this process, beside others."""
    mine, other = socket.socketpair()
    board_fd = make_file()
    with warnings.catch_warnings():
        # Python 3.12 warns of OpenBLAS's threads, too.
        warnings.simplefilter("ignore", DeprecationWarning)
        parent = os.getpid()
        pid = os.fork()
    if pid == 0:
        _be_child(parent, [*lanes, mine], other, board_fd, job, items)
    other.close()
    return _make_lane(mine, board_fd, pid)


def _be_child(  # noqa: PLR0917 - an inner part of fork_lanes
    parent: int,
    inherited: list[Any],
    link: socket.socket,
    board_fd: int,
    job: Job,
    items: Sequence[Any] | None,
) -> None:
    """Serve as a lane in a forked process, and end."""
    status = 1
    try:
        die_with(parent)
        ignore_interrupt()  # it belongs to the caller
        lead_session()
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one in inherited:
            if isinstance(one, ProcessLane):
                one.link.close()
                one.board.close()
            else:
                one.close()
        # What is garbage for the parent isn't collected here: finalisers act once.
        gc.freeze()
        reseed()
        print_lines()
        serve(Link(link), Board(board_fd), job, items=items, home=find_place())
        status = 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        # No handler of the parent's runs here: its clusters and files are not ours.
        os._exit(status)


def spawn_lanes(n_lanes: int, job: Packed) -> list[ProcessLane]:
    """Return lanes in fresh interpreters; anything else in this process may go on.

    Parameters
    ----------
    n_lanes : int
        How many.
    job : Packed
        The `Job`.

    Returns
    -------
    list of ProcessLane
        They take batches at once, and execute them once they have started.

    Raises
    ------
    OSError
        If there can be no more processes.
    """
    import subprocess

    lanes: list[ProcessLane] = []
    try:
        for _ in range(n_lanes):
            mine, other = socket.socketpair()
            board_fd = make_file()
            fds = (other.fileno(), board_fd)
            with other, _sparing_children():
                process = subprocess.Popen(
                    [sys.executable, "-c", _CHILD, *map(str, (*fds, os.getpid()))],
                    stdin=subprocess.PIPE,
                    pass_fds=fds,
                )
            assert process.stdin is not None
            with process.stdin:
                process.stdin.write(repr(sys.path).encode() + b"\n")
            lane = _make_lane(mine, board_fd, process.pid, process)
            lanes.append(lane)
            lane.link.send(JobMessage(job, ()))
    except OSError:
        end_lanes(lanes)
        raise
    return lanes


@contextlib.contextmanager
def _sparing_children() -> Iterator[None]:
    """Start children that don't get Ctrl-C before they can say that they ignore it."""
    block_interrupt()
    try:
        yield
    finally:
        block_interrupt(signal.SIG_UNBLOCK)


def main(link: int, board_fd: int, parent: int) -> None:
    """Serve as a lane in a fresh interpreter; what `spawn_lanes` starts.

    Parameters
    ----------
    link, board_fd : int
        Descriptors that were passed on.
    parent : int
        Process number of the caller.
    """
    die_with(parent)
    ignore_interrupt()
    lead_session()
    print_lines()
    with (
        contextlib.closing(Link(socket.socket(fileno=link))) as caller,
        contextlib.closing(Board(board_fd)) as board,
    ):
        try:
            message = caller.receive()
        except (EOFError, OSError):
            return  # the caller has no need of this lane any more
        open_and_serve(caller, board, message)


def end_lanes(lanes: Sequence[ProcessLane]) -> None:
    """End children that are not needed any more, whatever they do.

    Parameters
    ----------
    lanes : sequence of ProcessLane
        From `fork_lanes` or `spawn_lanes`; closed.
    """
    for lane in lanes:
        lane.close()
    for lane in lanes:
        lane.kill()
        lane.cause()
        # One that has done its work may leave something behind, as a loop may.
        if lane.is_lost or lane.batches:
            end_offspring(lane.pid)


def _make_lane(
    link: socket.socket,
    board_fd: int,
    pid: int,
    process: subprocess.Popen[bytes] | None = None,
) -> ProcessLane:
    """Return the caller's side of a child that was just started."""

    def find_cause(pid: int) -> str:
        if process is not None:
            from subprocess import TimeoutExpired

            with contextlib.suppress(TimeoutExpired):
                return describe_exit(process.wait(_END_S))
            return "it did not end"
        return describe_exit(_wait_for(pid))

    return ProcessLane(
        Link(link),
        Board(board_fd),
        pid,
        f"child process {pid}",
        find_cause=find_cause,
    )


def describe_exit(code: int | None) -> str:
    """Return why a process ended, from its exit code as `subprocess` gives it.

    Parameters
    ----------
    code : int or None
        Negative for a signal; None if nobody knows.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_exit(3), describe_exit(-9)
    ('exit code 3', 'signal SIGKILL')
    """
    if code is None:
        return "cause unknown"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _wait_for(pid: int) -> int | None:
    """Return the exit code of a child; None if somebody else has asked before."""
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    return None
