"""`cluster`: one or many local workers, or a cluster that exists already."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import logging
import os
import socket
import sys
import warnings
from typing import TYPE_CHECKING, Any

import dask.config
from dask.utils import parse_bytes

from daskkit.arguments import check_whole
from daskkit.errors import ClusterError
from daskkit.loop import short_repr
from daskkit.run import named
from daskkit.run.forked import forked_workers
from daskkit.run.hearing import announced
from daskkit.run.hosts import host_of, own_hosts
from daskkit.run.interrupts import deferred_interrupt
from daskkit.run.pages import add_page, refuse_strangers
from daskkit.run.switching import sparing_garbage
from daskkit.run.threads import (
    import_threadpoolctl,
    thread_variables,
    usable_cores,
)
from daskkit.run.warden import watched_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, Security
    from distributed.deploy.cluster import Cluster

__all__ = ["check_n_workers", "cluster", "local_client"]

# A scheduler on a loaded machine answers within a second; a dead one never does.
_CONNECT_TIMEOUT_S = 5
_LOOPBACK = "127.0.0.1"
# What a lock between processes fails with, which lies in /dev/shm.
_NO_LOCK_ERRNOS = (errno.EROFS, errno.ENOSPC, errno.EACCES, errno.ENOSYS)
# Addresses of which a warning has been given.
_warned: set[str] = set()
# NumPy is imported in any case.
_HEAVY = ("pandas",)
# Of a worker that says nothing; frozen and swapped-out processes come back.
_NEVER = "5000w"
# How often event loops look at the clock, monitors at the process and profilers at the
# stack: distributed's own value and ours. Two idle workers, their nannies and the
# scheduler took 13 to 17 % of a core with the former and 2 % with the latter.
_PACE = {
    "distributed.admin.tick.interval": ("20ms", "500ms"),
    "distributed.admin.system-monitor.interval": ("500ms", "1s"),
    "distributed.worker.memory.monitor-interval": ("100ms", "200ms"),
    "distributed.worker.profile.interval": ("10ms", "200ms"),
}


@contextlib.contextmanager
def cluster(
    address: str | Client | Cluster | None = None,
    *,
    n_workers: int | None = None,
    threads_per_worker: int = 1,
    processes: bool = True,
    memory_limit: str | float | None = "auto",
    dashboard_port: int = 0,
) -> Iterator[Client]:
    """Yield a `distributed.Client` of a local cluster, or of an existing one.

    While the context is open the client is Dask's default: bags, delayed objects and
    daskkit's verbs run on it. A local cluster is started on entry and ended on exit,
    whatever happens in between; it listens on the loopback interface only, and the
    caller's environment variables are left alone. An existing cluster is left
    running.

    Parameters
    ----------
    address : str, distributed.Client or distributed Cluster, optional
        An existing cluster to use: the scheduler's address such as
        ``"tcp://127.0.0.1:8786"``, the name of one that `daskkit cluster` has
        started, a client, or any cluster object. None, the default, starts a local
        cluster.
    n_workers : int, optional
        Workers to start, at least 1. Default: one a core that this process may use
        (see `usable_cores`). ``n_workers=1`` is the single worker.
    threads_per_worker : int, default 1
        Tasks that a worker runs at a time, at least 1.
    processes : bool, default True
        False runs the workers as threads of this process: nothing is copied, but
        pure Python code takes turns.
    memory_limit : str, float or None, default "auto"
        Memory of each worker: bytes, text such as ``"2GiB"``, a fraction of the
        machine's up to 1.0, or None for no limit. "auto" shares the machine's memory
        between the workers.
    dashboard_port : int, default 0
        Port of the dashboard on 127.0.0.1; 0 takes a free one. Its address is
        ``client.dashboard_link``.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ClusterError
        If an argument isn't allowed, a port is taken, or no scheduler answers at the
        address within 5 seconds.

    Notes
    -----
    BLAS and OpenMP libraries get ``usable_cores() // (n_workers *
    threads_per_worker)`` threads in each worker, at least 1, so that workers times
    threads do not exceed the cores; ``processes=False`` sets that limit in this
    process for as long as the context is open.

    On Linux, worker processes are forks of a helper process that has imported
    distributed, and pandas if the caller has. It serves later clusters, too, and ends
    with the caller, or after a minute without workers.

    Examples
    --------
    >>> import daskkit as dk
    >>> with dk.cluster(n_workers=1, processes=False) as client:
    ...     client.submit(sum, [1, 2, 3]).result()
    6
    """
    if address is not None:
        local = {
            "n_workers": n_workers is not None,
            "threads_per_worker": threads_per_worker != 1,
            "processes": processes is not True,
            "memory_limit": memory_limit != "auto",
            "dashboard_port": dashboard_port != 0,
        }
        given = [name for name, is_given in local.items() if is_given]
        if given:
            msg = (
                f"{', '.join(given)} can't be given together with an existing "
                f"cluster, which has its own; received address={short_repr(address)}"
            )
            raise ClusterError(msg)
        context = _existing(address)
    else:
        n_workers = check_n_workers(
            usable_cores() if n_workers is None else n_workers, ClusterError
        )
        check_whole(threads_per_worker, "threads_per_worker", 1, error=ClusterError)
        _check_memory_limit(memory_limit)
        _check_port(dashboard_port)
        context = _local(
            n_workers, threads_per_worker, processes, memory_limit, dashboard_port
        )
    with context as client:
        yield client


def check_n_workers(n_workers: object, error: type[Exception]) -> int:
    """Return a number of workers as an int, or raise.

    Parameters
    ----------
    n_workers : int
        At least 1; NumPy integers are accepted, booleans are not.
    error : type
        Class of the exception to raise.

    Returns
    -------
    int

    Raises
    ------
    Exception
        Of the type `error`, naming what was received and what is allowed.

    Examples
    --------
    >>> check_n_workers(2, ValueError)
    2
    """
    return check_whole(n_workers, "n_workers", 1, error=error)


@contextlib.contextmanager
def _existing(address: str | Client | Cluster) -> Iterator[Client]:
    """Yield a client of a cluster that was there before and stays afterwards."""
    from distributed import Client, Security
    from distributed.deploy.cluster import Cluster

    from daskkit.run.secret import SecretSecurity

    if isinstance(address, Client):
        if address.status != "running":
            msg = f"the client is {address.status}, not running; pass a new one"
            raise ClusterError(msg)
        _warn_of_open(str(address.scheduler_info(n_workers=0)["address"]))
        with address.as_current(), announced(address):
            yield address
        return
    if not isinstance(address, (str, Cluster)):
        msg = (
            "address must be a scheduler's address such as 'tcp://127.0.0.1:8786', a "
            f"distributed Client or Cluster, received {short_repr(address)} of type "
            f"{type(address).__name__}"
        )
        raise ClusterError(msg)
    security = getattr(address, "security", None) or Security()
    if isinstance(address, str) and named.is_name(address):
        found = named.find(address)
        address = found.address
        if found.secret:
            security = SecretSecurity(bytes.fromhex(found.secret))
    where = address if isinstance(address, str) else str(address.scheduler_address)
    _warn_of_open(where)
    try:
        with _quiet():
            _ask_identity(where, security)
    except (OSError, ValueError, TypeError, RuntimeError, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = (
            f"no Dask scheduler answers at {where!r} (waited up to "
            f"{_CONNECT_TIMEOUT_S} s: {reason}); check the address, which "
            "`dask scheduler` prints at its start, and that it still runs"
        )
        raise ClusterError(msg) from error
    with Client(address, timeout=_CONNECT_TIMEOUT_S, security=security) as client:
        try:
            with announced(client):
                yield client
        finally:
            _wait_for_lanes(client)


def _warn_of_open(address: str) -> None:
    """Warn once of a scheduler to which all who reach it over the network can talk."""
    is_open = address.rpartition("://")[0] in {"", "tcp"}
    if not is_open or address in _warned or host_of(address) in own_hosts():
        return
    _warned.add(address)
    warnings.warn(
        f"the cluster at {address} takes orders from everybody who reaches it, and "
        "what you send can be read on the way; start its scheduler with certificates, "
        "and use a tls:// address (https://distributed.dask.org/en/latest/tls.html)",
        stacklevel=6,  # past two contexts, to the user's `with`
    )


def _ask_identity(address: str, security: Security) -> None:
    """Return once a scheduler has answered, or raise.

    A `Client` that fails to connect leaves its event loop's thread running for ever;
    a question on a loop of our own leaves nothing.
    """
    from distributed import rpc
    from distributed.utils import LoopRunner

    async def ask() -> None:
        connection_args = security.get_connection_args("client")
        async with rpc(address, connection_args=connection_args) as scheduler:
            await asyncio.wait_for(scheduler.identity(), _CONNECT_TIMEOUT_S)

    runner = LoopRunner()
    runner.start()
    try:
        with dask.config.set(
            {"distributed.comm.timeouts.connect": f"{_CONNECT_TIMEOUT_S}s"}
        ):
            runner.run_sync(ask)
    finally:
        runner.stop()


@contextlib.contextmanager
def local_client() -> Iterator[Client]:
    """Yield a client of a local cluster, one worker a core; it is nobody's default.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ClusterError
        If it does not start.
    """
    options = (usable_cores(), 1, True, "auto", 0)
    with _local(*options, is_default=False) as client:
        yield client


@contextlib.contextmanager
def _local(
    n_workers: int,
    threads_per_worker: int,
    processes: bool,
    memory_limit: str | float | None,
    dashboard_port: int,
    *,
    is_default: bool = True,
) -> Iterator[Client]:
    """Yield a client of a local cluster that lives as long as the context."""
    stack = contextlib.ExitStack()
    # distributed can break off neither a start nor a close: what was started by then
    # would be left to itself.
    try:
        with deferred_interrupt(), sparing_garbage():
            client = _open_local(
                stack,
                n_workers,
                threads_per_worker,
                processes,
                memory_limit,
                dashboard_port,
                is_default=is_default,
            )
        # A program may end without leaving the context. distributed's own handler would
        # close the cluster under the lanes; ours is registered later and comes before.
        atexit.register(stack.close)
        with announced(client):
            yield client
    finally:
        atexit.unregister(stack.close)
        with deferred_interrupt():
            stack.close()


def _open_local(  # noqa: PLR0917 - an inner part of _local
    stack: contextlib.ExitStack,
    n_workers: int,
    threads_per_worker: int,
    processes: bool,
    memory_limit: str | float | None,
    dashboard_port: int,
    *,
    is_default: bool,
) -> Client:
    """Return a client of a new local cluster; the stack closes both."""
    if processes:
        # First of all: workers' modules and ours are imported side by side.
        stack.enter_context(forked_workers(_find_heavy()))
    from distributed import Client

    from daskkit.run.nanny import LastingCluster

    n_blas = max(1, usable_cores() // (n_workers * threads_per_worker))
    folder = _open_folder(stack)
    if not processes:
        _confine_threads(stack, n_blas)
    # The folder also for the scheduler, which takes no local_directory.
    settings = {"temporary-directory": folder, **add_page(), **_choose_pace()}
    try:
        with dask.config.set(settings):
            local = LastingCluster(  # type: ignore[no-untyped-call] # not typed there
                n_workers=n_workers,
                threads_per_worker=threads_per_worker,
                processes=processes,
                memory_limit=memory_limit,
                local_directory=folder,
                scheduler_kwargs={
                    # Nannies see at once when a worker dies; a silent hour is no death.
                    "worker_ttl": _NEVER,
                    "allowed_failures": _count_allowed_deaths(),
                },
                dashboard_address=f"{_LOOPBACK}:{dashboard_port}",
                **_choose_options(processes, n_blas),
            )
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        msg = f"a local cluster of {n_workers} workers did not start: {_reason(error)}"
        raise ClusterError(msg) from error
    stack.callback(_close_quietly, local)
    _watch_over(local, folder, processes)
    client: Client = stack.enter_context(Client(local, set_as_default=is_default))
    stack.callback(_wait_for_lanes, client)
    return client


def _open_folder(stack: contextlib.ExitStack) -> str:
    """Return a folder to spill and lock in, which goes with the cluster."""
    # What a start that is broken off leaves goes with the folder; distributed looks for
    # it again at the program's end.
    logging.getLogger("distributed.diskutils").addFilter(_is_left)
    # distributed's own folder would stay behind.
    try:
        return stack.enter_context(watched_folder("daskkit-"))
    except OSError as error:
        msg = f"a local cluster did not start: it has no folder to spill to: {error}"
        raise ClusterError(msg) from error


def _confine_threads(stack: contextlib.ExitStack, n_blas: int) -> None:
    """Prepare for workers that are threads of this process."""
    limits = import_threadpoolctl().threadpool_limits(limits=n_blas)
    stack.enter_context(limits)
    # Without a socket the scheduler's address has the name of an outer
    # interface, on which the dashboard doesn't listen.
    link = dask.config.get("distributed.dashboard.link")
    stack.enter_context(
        dask.config.set(
            {"distributed.dashboard.link": link.replace("{host}", _LOOPBACK)}
        )
    )


def _choose_options(processes: bool, n_blas: int) -> dict[str, Any]:
    """Return what a `LocalCluster` is told of its workers and of who may connect."""
    from daskkit.run.nanny import LimitBlas, WorkerNanny
    from daskkit.run.secret import SCHEME, SecretSecurity
    from daskkit.run.slots import SlotMeter

    if not processes:
        return {"plugins": (SlotMeter(),)}  # no host, and so no socket
    options: dict[str, Any] = {
        "host": _LOOPBACK,
        "worker_class": WorkerNanny,
        "env": thread_variables(n_blas),
        "plugins": (LimitBlas(n_blas, _find_heavy()), SlotMeter()),
    }
    # Who asks Dask for encryption has said how, and gets that.
    if not dask.config.get("distributed.comm.require-encryption"):
        options |= {"protocol": SCHEME, "security": SecretSecurity()}
    return options


def _watch_over(local: Any, folder: str, processes: bool) -> None:
    """Refuse strangers, and look after memory, disk and frozen workers."""
    from daskkit.run.forgotten import Forgetter
    from daskkit.run.frozen import FreezeWatch
    from daskkit.run.spilling import SpillWatch

    refuse_strangers(local.scheduler)
    SpillWatch(local.scheduler, folder).start()
    Forgetter(local.scheduler).begin()
    if processes:
        FreezeWatch(local).start()


def _count_allowed_deaths() -> int:
    """Return how many workers may die with a task before Dask gives it up.

    Two more than by default: the next attempt may begin before the nanny has written
    down why the last one ended.
    """
    chosen: int = dask.config.get("distributed.scheduler.allowed-failures")
    return chosen + 2


def _reason(error: BaseException) -> str:
    """Return what an error says, and what the system said that led to it."""
    reason = " ".join(str(error).split()) or type(error).__name__
    first: BaseException | None = error
    while first is not None:
        if first is not error and isinstance(first, OSError) and first.errno:
            reason = f"{reason.rstrip('.')}: {first}"
            if first.errno in _NO_LOCK_ERRNOS:
                reason += "; processes need a /dev/shm that can be written to"
            break
        first = first.__cause__ or first.__context__
    return reason


def _is_left(record: logging.LogRecord) -> bool:
    """Return False for a message that something can't be removed which is gone.

    Parameters
    ----------
    record : logging.LogRecord
        Of distributed.diskutils.

    Returns
    -------
    bool
    """
    is_failure = str(record.msg).startswith("Failed to remove")
    path = record.args[0] if is_failure and isinstance(record.args, tuple) else None
    return not isinstance(path, str) or os.path.lexists(path)


def _close_quietly(local: Cluster) -> None:
    """Close a cluster without a warning of workers that were amid a task."""
    with _quiet():
        local.close()


def _wait_for_lanes(client: Client) -> None:
    """Let lanes of verbs end, if there were any."""
    workers = sys.modules.get("daskkit.run.workers")
    if workers is not None:
        workers.wait_for_lanes(client)


def _find_heavy() -> list[str]:
    """Return modules that take long to import, and that the items need, most likely."""
    return [name for name in _HEAVY if name in sys.modules]


def _choose_pace() -> dict[str, str]:
    """Return the settings of `_PACE` that the user has not changed."""
    return {
        key: ours
        for key, (theirs, ours) in _PACE.items()
        if dask.config.get(key) == theirs
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep distributed's log from repeating an error that we raise ourselves."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_memory_limit(memory_limit: str | float | None) -> None:
    if memory_limit is None or memory_limit == "auto":
        return
    try:
        n_bytes = parse_bytes(memory_limit)
    except (ValueError, TypeError, AttributeError) as error:
        n_bytes = -1
        cause: Exception | None = error
    else:
        cause = None
    if n_bytes < 0:
        msg = (
            "memory_limit must be 'auto', None, bytes such as 2_000_000_000, text such "
            f"as '2GiB' or a fraction up to 1.0, received {memory_limit!r}"
        )
        raise ClusterError(msg) from cause


def _check_port(port: int) -> None:
    """Raise ClusterError if the dashboard can't have its port.

    distributed would warn and quietly take another one.
    """
    check_whole(port, "dashboard_port", 0, error=ClusterError)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except (OSError, OverflowError) as error:
            msg = (
                f"the dashboard can't have port {port} on {_LOOPBACK} ({error}); "
                "choose another dashboard_port, or 0 for any that is free"
            )
            raise ClusterError(msg) from error
