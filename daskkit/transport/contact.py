"""Who this process is, and how another one can ask it for bytes.

Knows Dask's clients and workers by what is already imported: in a process without
distributed nobody can ask, and nothing is imported to find that out.
"""

from __future__ import annotations

import collections
import functools
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Contact",
    "Place",
    "answer_with",
    "find_contact",
    "find_imported",
    "find_place",
    "running_clients",
    "stop_message_logs",
]

#: Workers publish requests for this process under this topic, see `remote`.
_TOPIC_PREFIX = "daskkit-want-"


class Place(NamedTuple):
    """What two processes must have in common to see each other's descriptors."""

    #: Changes with each start of the machine, and so tells machines apart.
    machine: str
    #: Process numbers mean something within one pid namespace only.
    pid_namespace: str
    #: ``/proc/PID/fd`` is open to the same user only.
    user: int


class Contact(NamedTuple):
    """Whom to ask for a segment's bytes where it can't be opened."""

    #: ``"client"``: `address` is a topic that its owner listens to; ``"worker"``:
    #: `address` is a Dask worker's.
    kind: str
    address: str


def find_place() -> Place:
    """Return where this process runs.

    Returns
    -------
    Place
        Equal in two processes only if one can open the other's descriptors.
    """
    return _find_place(os.getpid())


@functools.lru_cache(maxsize=2)
def _find_place(pid: int) -> Place:  # noqa: ARG001 - a forked child asks again
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123 - hot path
            machine = file.read().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a real path
    except OSError:  # not Linux, or a restricted /proc
        import uuid

        machine, namespace = f"{os.uname().nodename}-{uuid.getnode():x}", ""
    return Place(machine, namespace, os.getuid())


def find_contact() -> Contact | None:
    """Return how other processes can ask this one for bytes, or None if they can't.

    In a process with a running Dask client the client starts to listen for requests.

    Returns
    -------
    Contact or None
    """
    worker = find_imported("distributed.worker", "Worker")
    if worker is not None:
        for instance in list(worker._instances):  # noqa: SLF001 - see below
            # There is no public way to learn of a worker outside its tasks, and a
            # result is pickled by the worker's event loop.
            if not instance.address_safe.startswith("inproc://"):
                return Contact("worker", instance.address_safe)
    clients = running_clients()
    for client in clients:
        _listen(client)
    return Contact("client", _topic(os.getpid())) if clients else None


def stop_message_logs() -> None:
    """Keep a scheduler in this process from holding on to the messages it has sent.

    For each worker it logs the last 1000 messages that took less than 1 MB on the wire
    (`distributed.batched.BatchedSend.recent_message_log`), for nothing but debugging. A
    handle is small on the wire, and would hold its memory as long as it is in there.
    """
    scheduler_class = find_imported("distributed.scheduler", "Scheduler")
    if scheduler_class is None:
        return
    for scheduler in list(scheduler_class._instances):  # noqa: SLF001 - as below
        for stream in list(scheduler.stream_comms.values()):
            if stream.recent_message_log.maxlen:
                stream.recent_message_log = collections.deque(maxlen=0)


def find_imported(module: str, name: str) -> Any:
    """Return what a module calls so, if it is imported; None if it isn't yet.

    Another thread may be just importing it: then it is known, but may be empty.

    Parameters
    ----------
    module, name : str
        Of a module, and of what is wanted of it.

    Returns
    -------
    object or None

    Examples
    --------
    >>> find_imported("no_such_module", "Client") is None
    True
    """
    return getattr(sys.modules.get(module), name, None)


def running_clients() -> list[Any]:
    """Return the connected Dask clients of this process, newest last.

    Returns
    -------
    list of distributed.Client
        Empty if distributed is not even imported.
    """
    client_class = find_imported("distributed.client", "Client")
    if client_class is None:
        return []
    clients = list(client_class._instances)  # noqa: SLF001 - no public way to them
    return [client for client in clients if client.status == "running"]


@functools.lru_cache(maxsize=2)
def _topic(pid: int) -> str:  # noqa: ARG001 - a forked child has a topic of its own
    return f"{_TOPIC_PREFIX}{os.urandom(16).hex()}"


_listening: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()


def _listen(client: Any) -> None:
    """Let a client answer requests for this process's segments, from now on."""
    with _lock:
        if client in _listening or not _answers:
            return
        _listening.add(client)
    handler = functools.partial(_answers[0], weakref.ref(client))
    client.subscribe_topic(_topic(os.getpid()), handler)


_answers: list[Callable[..., Any]] = []


def answer_with(func: Callable[..., Any]) -> None:
    """Set what answers the requests of other processes.

    A hook, because that needs segments, and these need this module.

    Parameters
    ----------
    func : callable
        ``func(reference, event)``, a coroutine function: a weak reference to the client
        that received the request, and what Dask hands to a topic's subscriber.
    """
    _answers[:] = [func]
