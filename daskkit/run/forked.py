"""Worker processes as forks of one that has imported what they need.

A fresh interpreter spends more than a second of a core on distributed and pandas. Here
one does so for all workers, and for those that take the place of dead ones, while the
caller imports the same. (multiprocessing's own fork server would not do: its forks have
the environment variables and standard streams of its start, and of a caller that is
killed it leaves the folder of its socket behind.)
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.popen_fork
import multiprocessing.resource_tracker
import multiprocessing.spawn
import multiprocessing.util
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import dask.config

from daskkit.run import forkserver
from daskkit.run.forkserver import NUMBER
from daskkit.run.surroundings import Surroundings
from daskkit.run.threads import thread_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["find_link", "forked_workers", "spawning_config"]

# Much of it has no types.
_context: Any = multiprocessing.context
_util: Any = multiprocessing.util

_METHOD = "daskkit"
_OPTION = "distributed.worker.multiprocessing-method"
# What distributed uses where nobody has chosen.
_DEFAULT = "spawn"
# What every worker needs.
_MODULES = ("distributed.nanny", "distributed.worker", "daskkit.run.nanny")
# A server that has closed its end of a pipe is gone by then.
_ENDING_S = 0.1
# The caller's folders come first, in which daskkit may be.
_SERVER = (
    "import ast, os, sys; sys.path[:] = ast.literal_eval(os.read(0, 2**20).decode()); "
    "from daskkit.run.forkserver import main; main(sys.argv[1:])"
)


@contextlib.contextmanager
def forked_workers(modules: Sequence[str] = ()) -> Iterator[None]:
    """Have distributed's nannies fork their workers from a server, which is started.

    Where the system can't do that, or the user has chosen how worker processes start
    (by Dask's option ``distributed.worker.multiprocessing-method``), nothing changes.

    Parameters
    ----------
    modules : sequence of str, default ()
        What all workers need besides distributed.

    Yields
    ------
    None
    """
    chosen = dask.config.get(_OPTION, _DEFAULT)
    if chosen not in {_DEFAULT, _METHOD} or not _can_serve():
        yield
        return
    # Each worker tries it again, and takes a fresh interpreter if that fails.
    with contextlib.suppress(OSError):
        _server.start(modules)
    _users.enter()
    try:
        yield
    finally:
        _users.leave()


def find_link() -> int | None:
    """Return the descriptor of the socket to the server, which stays open with it.

    Returns
    -------
    int or None
        None if there is no server.
    """
    return _server.fileno()


def spawning_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return Dask's options for a worker: what it starts is its own affair.

    Parameters
    ----------
    config : dict
        Of the caller; not changed.

    Returns
    -------
    dict
    """
    copy: dict[str, Any] = dask.config.merge(config)
    dask.config.set({_OPTION: _DEFAULT}, config=copy)
    return copy


def _can_serve() -> bool:
    """Return whether forks are safe here, and their ends can be seen."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an old kernel, or one that is imitated
        return False
    return True


class _Users:
    """Clusters that want forks; Dask's option is set for as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0

    def enter(self) -> None:
        with self._lock:
            self._n_users += 1
            dask.config.set({_OPTION: _METHOD})

    def leave(self) -> None:
        with self._lock:
            self._n_users -= 1
            if not self._n_users and dask.config.get(_OPTION) == _METHOD:
                dask.config.set({_OPTION: _DEFAULT})


class _Server:
    """The server as this process sees it; started again where it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._link: socket.socket | None = None
        self._modules: tuple[str, ...] = _MODULES

    def start(self, modules: Sequence[str]) -> None:
        """Start it, unless it runs; it takes orders at once.

        Parameters
        ----------
        modules : sequence of str
            What it imports besides distributed.

        Raises
        ------
        OSError
            If there can be no more processes or descriptors.
        """
        with self._lock:
            self._modules = (*_MODULES, *modules)
            self._start()

    def fork(self, fds: Sequence[int]) -> tuple[int, int]:
        """Return the process number of a new fork, and the pipe that tells its end.

        Parameters
        ----------
        fds : sequence of int
            Descriptors for it.

        Raises
        ------
        OSError
            If it can't be forked; the server and its other forks go on.
        """
        with self._lock:
            try:
                number, end = self._order(fds)
            except OSError:
                if not self._has_ended():
                    raise
                number, end = self._order(fds)  # by a new one
        if number < 0:
            os.close(end)
            raise OSError(-number, os.strerror(-number))
        return number, end

    def fileno(self) -> int | None:
        """Return the descriptor of the socket to it, if there is one."""
        return None if self._link is None else self._link.fileno()

    def forget(self) -> None:
        """Leave it to the parent of this process, which is a fork."""
        self._lock = threading.Lock()
        if self._link is not None:
            self._link.close()
        self._pid, self._link = 0, None

    def _start(self) -> None:
        if self._link is not None and _is_alive(self._pid):
            return
        self._drop()
        multiprocessing.resource_tracker.ensure_running()
        mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open(os.devnull, os.O_WRONLY)
        path = [folder for folder in sys.path if isinstance(folder, str)]
        try:
            with other:
                mine.send(repr(path).encode())
                executable = os.fsdecode(multiprocessing.spawn.get_executable())
                flags: list[str] = _util._args_from_interpreter_flags()  # noqa: SLF001 - as multiprocessing itself
                self._pid = os.posix_spawn(
                    executable,
                    [executable, *flags, "-c", _SERVER, *self._modules],
                    # A fork of more than one thread could hang; forks may use more.
                    os.environ | thread_variables(1),
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, other.fileno(), 0),
                        # Who waits for the end of the caller's output waits for no
                        # server.
                        (os.POSIX_SPAWN_DUP2, null, 1),
                        (os.POSIX_SPAWN_DUP2, null, 2),
                    ],
                    # Ctrl-C belongs to the caller, from the first moment on.
                    setsigmask=[signal.SIGINT],
                )
        except BaseException:
            mine.close()
            raise
        finally:
            os.close(null)
        self._link = mine

    def _order(self, fds: Sequence[int]) -> tuple[int, int]:
        self._start()
        assert self._link is not None
        end, theirs = os.pipe()
        try:
            try:
                socket.send_fds(self._link, [b"\0"], [theirs, *fds])
            finally:
                os.close(theirs)
            return _read_number(end), end
        except BaseException:
            os.close(end)
            raise

    def _has_ended(self) -> bool:
        """Return whether it has ended, of idleness or by force, or is about to."""
        deadline = time.monotonic() + _ENDING_S
        while _is_alive(self._pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def _drop(self) -> None:
        """End it for good, if it is still there."""
        if self._link is not None:
            self._link.close()
            if _is_alive(self._pid):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
        self._pid, self._link = 0, None


def _is_alive(pid: int) -> bool:
    """Return whether a child runs; it is waited for if it doesn't."""
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # somebody else has waited for it
        return False
    return not ended


def _read_number(end: int) -> int:
    """Return what the server has written to a pipe, or raise OSError."""
    data = os.read(end, NUMBER.size)
    if len(data) < NUMBER.size:
        msg = "the server that forks workers has ended"
        raise OSError(msg)
    number: int = NUMBER.unpack(data)[0]
    return number


class _Inherited:
    """A descriptor that goes to a fork with its order."""

    def __init__(self, number: int) -> None:
        self._number = number

    def detach(self) -> int:
        """Return the descriptor in the fork."""
        return forkserver.inherited[self._number]


class _Popen(multiprocessing.popen_fork.Popen):
    """A process that was forked by the server, as `multiprocessing` wants to see it."""

    method = _METHOD
    DupFd = _Inherited

    def __init__(self, process_obj: Any) -> None:
        self._fds: list[int] = []
        self._reading = threading.Lock()
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Send a descriptor with the order; called while the process is pickled."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code; None if the process runs."""
        if self.returncode is None:
            patience_s = 0 if flag == os.WNOHANG else None
            if not multiprocessing.connection.wait([self.sentinel], patience_s):
                return None
            # The code is there to be read once. Who waits for this process meets who
            # starts another one, for which multiprocessing looks at all that there are.
            with self._reading:
                if self.returncode is None:
                    self.returncode = self._read_code()
        return self.returncode

    def _read_code(self) -> int:
        try:
            return _read_number(self.sentinel)
        except OSError:  # the server was killed, and its forks with it
            return -signal.SIGKILL

    def _launch(self, process_obj: Any) -> None:
        data = io.BytesIO()
        _context.set_spawning_popen(self)
        try:
            for part in (
                Surroundings.look(),
                multiprocessing.spawn.get_preparation_data(process_obj.name),
                process_obj,
            ):
                ForkingPickler(data).dump(part)
        finally:
            _context.set_spawning_popen(None)
        order, mine = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, order)
            stack.callback(os.close, null := os.open(os.devnull, os.O_WRONLY))
            tracker: Any = multiprocessing.resource_tracker.getfd()
            streams = [fd if _is_open(fd) else null for fd in (1, 2)]
            try:
                self.pid, self.sentinel = _server.fork(
                    [order, *streams, tracker, *self._fds]
                )
            except BaseException:
                os.close(mine)
                raise
        self.finalizer = _util.Finalize(self, _close, (mine, self.sentinel))
        with open(mine, "wb", closefd=False) as pipe:
            pipe.write(data.getbuffer())


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class _Process(multiprocessing.context.SpawnProcess):
    """A process that is forked by the server, or else spawned; like a spawned one."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        try:
            return _Popen(process_obj)
        except OSError:
            return _context.SpawnProcess._Popen(process_obj)  # noqa: SLF001


class _Context(multiprocessing.context.SpawnContext):
    """What `multiprocessing.get_context` returns for the method of this module."""

    _name = _METHOD
    Process = _Process


_server = _Server()
_users = _Users()
if sys.platform == "linux":
    os.register_at_fork(after_in_child=_server.forget)
    # There is no public way to add a method, which Dask's option has to name.
    _context._concrete_contexts[_METHOD] = _Context()  # noqa: SLF001
