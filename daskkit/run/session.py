"""Which cluster a verb uses: the caller's, or one that is started and kept."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import math
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from daskkit.errors import ClusterError
from daskkit.run.interrupts import deferred_interrupt
from daskkit.transport.contact import find_imported

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

__all__ = [
    "Session",
    "find_client",
    "find_scheduler",
    "find_workers",
    "forget_workers",
    "is_in_task",
    "session",
    "takes_tasks",
]

# A cluster that nobody has used for so long is closed.
_IDLE_S = 600.0
# What a local cluster took to start on two cores; replaced by the last start's time.
_START_S = 3.0


def is_in_task() -> bool:
    """Return whether this thread executes a task of Dask.

    Returns
    -------
    bool
    """
    thread_state = find_imported("distributed.worker", "thread_state")
    return getattr(thread_state, "execution_state", None) is not None


def find_client() -> Client | None:
    """Return the client that the caller has opened, if there is one that can be used.

    Returns
    -------
    distributed.Client or None
        The current one, see `distributed.Client.current`.
    """
    client_class = find_imported("distributed.client", "Client")
    if client_class is None:
        return None
    try:
        client: Client = client_class.current()
    except ValueError:
        return None
    # An asynchronous one needs the event loop that the verb would block.
    if client.asynchronous or not takes_tasks(client):
        return None
    return client


def takes_tasks(client: Client) -> bool:
    """Return whether a cluster can be given tasks.

    Parameters
    ----------
    client : distributed.Client
        Connected to it, or no longer.

    Returns
    -------
    bool
        False also for a cluster of this process once its main thread has ended, though
        other threads go on: Python's thread pools, which the scheduler uses for each
        task that is submitted, end at that moment.
    """
    return client.status == "running" and (
        threading.main_thread().is_alive() or find_scheduler(client) is None
    )


def find_scheduler(client: Client) -> Any | None:
    """Return the scheduler of a client's cluster if it runs in this process.

    Parameters
    ----------
    client : distributed.Client
        Of any cluster.

    Returns
    -------
    distributed.Scheduler or None
    """
    scheduler_class = find_imported("distributed.scheduler", "Scheduler")
    scheduler = getattr(client.cluster, "scheduler", None)
    if scheduler_class is None or not isinstance(scheduler, scheduler_class):
        return None
    return scheduler


_workers: weakref.WeakKeyDictionary[Client, tuple[float, dict[str, int]]] = (
    weakref.WeakKeyDictionary()
)


def find_workers(client: Client, *, max_age_s: float = 2.0) -> dict[str, int]:
    """Return the threads of each worker by its address.

    Parameters
    ----------
    client : distributed.Client
        Asks the scheduler, which takes some milliseconds.
    max_age_s : float, default 2
        How long ago that may have been done; 0 asks in any case.

    Returns
    -------
    dict of str to int
    """
    now = time.monotonic()
    asked, found = _workers.get(client, (-math.inf, {}))
    if now - asked >= max_age_s or not found:
        found = dict(client.nthreads())
        _workers[client] = (now, found)
    return found


def forget_workers(client: Client) -> None:
    """Ask for the workers of a cluster anew, as some have died.

    Parameters
    ----------
    client : distributed.Client
        Of that cluster.
    """
    _workers.pop(client, None)


class Session:
    """The local cluster that verbs have started themselves; one for a process."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._client: Client | None = None
        self._stack = contextlib.ExitStack()
        self._starter: threading.Thread | None = None
        self._error: BaseException | None = None
        self._timer: threading.Timer | None = None
        self._n_users = 0
        #: Seconds from the wish for a cluster to its readiness.
        self.start_s = _START_S

    @property
    def client(self) -> Client | None:
        """The cluster's client, if it is ready."""
        client = self._client
        return client if client is not None and client.status == "running" else None

    def start(self, on_ready: Callable[[], Any] | None = None) -> None:
        """Start the cluster in the background, unless it is there or about to be.

        Parameters
        ----------
        on_ready : callable, optional
            Called without arguments, in another thread, once it can be used or has
            failed; not if it is ready already.
        """
        with self._lock:
            if self.client is not None:
                return
            if self._starter is None:
                self._error = None
                starter = threading.Thread(
                    target=self._start, name="daskkit-start", daemon=True
                )
                with deferred_interrupt():  # others wait for one that was started
                    self._starter = starter
                    starter.start()
            starter = self._starter
        if on_ready is not None:

            def wait() -> None:
                starter.join()
                on_ready()

            threading.Thread(target=wait, name="daskkit-wait", daemon=True).start()

    def wait(self) -> Client:
        """Return the client, starting the cluster if need be.

        Returns
        -------
        distributed.Client

        Raises
        ------
        ClusterError
            If it can't be started.
        """
        self.start()
        while True:
            client = self.client
            if client is not None:
                return client
            starter = self._starter
            if starter is None:
                break
            starter.join(0.1)  # not for good, or Ctrl-C would have to wait
        if self._error is not None:
            raise self._error
        msg = "the local cluster was closed while it started; call again"
        raise ClusterError(msg)

    @contextlib.contextmanager
    def used(self) -> Any:
        """Keep the cluster from being closed for idleness while in the context."""
        with self._lock:
            self._n_users += 1
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        try:
            yield
        finally:
            with self._lock:
                self._n_users -= 1
                if self._client is not None:
                    self._watch_idleness()

    def close(self) -> None:
        """Close the cluster, also one that is just starting; another may follow."""
        starter = self._starter
        if starter is not None:
            starter.join()
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._client = None
            stack, self._stack = self._stack, contextlib.ExitStack()
        stack.close()

    def _start(self) -> None:
        began = time.monotonic()
        try:
            _check_time()
            # distributed's own handler of the program's end, which it registers when it
            # is imported, would close the cluster under the lanes that are just ending.
            # Ours comes before if it is registered later; and before the start, or a
            # program that ends meanwhile would leave the half of a cluster.
            from daskkit.run.cluster import local_client

            importlib.import_module("distributed")
            atexit.unregister(self.close)
            atexit.register(self.close)
            stack = contextlib.ExitStack()
            client = stack.enter_context(local_client())
            with self._lock:
                self._stack, self._client = stack, client
                self.start_s = time.monotonic() - began
                if self._n_users == 0:
                    self._watch_idleness()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            with self._lock:
                self._starter = None

    def _watch_idleness(self) -> None:
        """Close the cluster later, unless it is used meanwhile; the lock is held."""
        if self._n_users or self._timer is not None:
            return
        timer = threading.Timer(_IDLE_S, self.close)
        timer.name = "daskkit-idle"
        timer.daemon = True
        with deferred_interrupt():
            timer.start()
            self._timer = timer


def _check_time() -> None:
    if not threading.main_thread().is_alive():
        msg = (
            "no cluster can be started any more: the main thread of the program has "
            "ended. Have it wait for its other threads (Thread.join), or leave where "
            "out"
        )
        raise ClusterError(msg)


#: The one of this process.
session = Session()
