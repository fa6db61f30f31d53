"""The process of which worker processes are forks; its caller's side is `run.forked`.

It has one thread, imports what all workers need, and forks when it is told to. It ends
when the caller ends, and its forks end with it.
"""

from __future__ import annotations

import array
import contextlib
import errno
import gc
import importlib
import multiprocessing.process
import multiprocessing.resource_tracker
import multiprocessing.spawn
import os
import pickle
import selectors
import signal
import socket
import struct
import sys
import warnings
from typing import TYPE_CHECKING, Any

from daskkit.run.childhood import die_with, print_lines, reseed
from daskkit.run.offspring import lead_session
from daskkit.run.threads import import_threadpoolctl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskkit.run.surroundings import Surroundings

__all__ = ["NUMBER", "inherited", "main"]

#: Of the pipe through which a fork's process number comes, and its exit code later; or
#: the number of an error, negative, and nothing else.
NUMBER = struct.Struct("=q")
# A server ends that has had neither forks nor orders for so long.
_IDLE_S = 60.0
# More than a message may have: the system sends 253 descriptors at most.
_MOST_FDS = 256

#: Descriptors that were sent for the process object of this fork.
inherited: list[int] = []


def main(modules: Sequence[str]) -> None:
    """Import modules, and fork when told to through the socket that is standard input.

    Parameters
    ----------
    modules : sequence of str
        What to import; who needs one that fails is told why.
    """
    # Imports leave next to none, and a fifth of their time would go to looking for it.
    gc.disable()
    lead_session()
    link = socket.socket(fileno=os.dup(0))
    _close_others(link.fileno())
    import_threadpoolctl()
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    # Memory that is never looked through for garbage stays shared with the forks.
    gc.freeze()
    gc.enable()
    os.chdir("/")
    with link:
        fds = _serve(link)
    if fds is not None:
        sys.exit(_be_worker(fds))


def _close_others(link: int) -> None:
    """Close what else was inherited, and the socket as standard input."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - as in run.forks
        if int(name) > 2 and int(name) != link:  # noqa: PLR2004 - not standard streams
            with contextlib.suppress(OSError):
                os.close(int(name))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _serve(link: socket.socket) -> list[int] | None:
    """Fork as often as told to.

    Returns
    -------
    list of int or None
        In a fork, the descriptors that were sent for it; None once the server is not
        needed any more.
    """
    server = os.getpid()
    # Of each fork by the descriptor that tells of its end: its number, and the pipe
    # that gets its exit code.
    forks: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(link, selectors.EVENT_READ)
        while True:
            ready = selector.select(None if forks else _IDLE_S)
            if not ready and not forks:
                return None
            for key, _ in ready:
                if key.fd in forks:
                    selector.unregister(key.fd)
                    _report_end(key.fd, *forks.pop(key.fd))
                    continue
                fds = _receive(link)
                if not fds:
                    return None  # the caller has gone
                fork = _fork_or_tell(fds)
                if fork is None:
                    continue
                pid, end = fork
                if pid == 0:
                    die_with(server)
                    _close(fds[0], *forks, *(pipe for _, pipe in forks.values()))
                    return fds[1:]
                _close(*fds[1:])
                forks[end] = (pid, fds[0])
                selector.register(end, selectors.EVENT_READ)
                _tell(fds[0], pid)


def _fork_or_tell(fds: list[int]) -> tuple[int, int] | None:
    """Return what `_fork` does; None if there can be no more of it, and say why."""
    try:
        return _fork()
    except OSError as error:
        _tell(fds[0], -(error.errno or errno.EAGAIN))
        _close(*fds)
        return None


def _fork() -> tuple[int, int]:
    """Return a fork's process number, and a descriptor that tells of its end.

    In the fork both are 0.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns of the thread that pyarrow's allocator has, too.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        return 0, 0
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _receive(link: socket.socket) -> list[int]:
    """Return the descriptors of an order; none if there will be no more."""
    try:
        said, ancillary, _, _ = link.recvmsg(1, socket.CMSG_SPACE(4 * _MOST_FDS))
    except OSError:
        return []
    fds = array.array("i")
    for _, _, data in ancillary:
        fds.frombytes(data)
    return fds.tolist() if said else []


def _report_end(end: int, pid: int, status: int) -> None:
    _, code = os.waitpid(pid, 0)
    _tell(status, os.waitstatus_to_exitcode(code))
    _close(end, status)


def _tell(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(status, NUMBER.pack(number))


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _be_worker(fds: list[int]) -> int:
    """Execute the process object that comes through a pipe; return its exit code."""
    order, *streams, tracker = fds[:4]
    inherited[:] = fds[4:]
    for stream, fd in enumerate(streams, 1):
        os.dup2(fd, stream)
        os.close(fd)
    # As `multiprocessing.forkserver` does; there is no public way.
    tracking: Any = multiprocessing.resource_tracker._resource_tracker  # noqa: SLF001
    tracking._fd = tracker  # noqa: SLF001
    # Closed by the caller once it has no need of this process.
    sentinel = os.dup(order)
    process: Any = multiprocessing.process.current_process()
    with open(order, "rb") as data:  # noqa: PTH123 - a descriptor
        surroundings: Surroundings = pickle.load(data)
        surroundings.apply()
        reseed()
        print_lines()
        process._inheriting = True  # noqa: SLF001 - locks may be rebuilt only then
        try:
            multiprocessing.spawn.prepare(pickle.load(data))
            body: Any = pickle.load(data)
        finally:
            del process._inheriting  # noqa: SLF001
    code: int = body._bootstrap(parent_sentinel=sentinel)  # noqa: SLF001
    return code
