"""Bytes for a process that can't open a segment's file: by name, or over the network.

Called from a task's or a caller's thread, never from an event loop, because it waits.
On the same machine (another pid namespace, say) the holder writes a temporary file;
across machines the bytes travel through Dask's own connections, once for each process
and not once for each task.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from daskkit.transport import contact, files, segment
from daskkit.transport import ticket as tickets
from daskkit.transport.errors import NoRoomError, TransportError
from daskkit.units import format_bytes

if TYPE_CHECKING:
    import asyncio
    import weakref
    from collections.abc import Callable

    from daskkit.transport.segment import Segment
    from daskkit.transport.ticket import Ticket

__all__ = ["answer", "obtain"]

# Dask copies a message several times on its way; this bounds what that takes.
_CHUNK = 32 * 2**20

#: After this long without any news from the holder it is taken for dead.
_PATIENCE_S = 30.0

#: A worker keeps what it had sent to it for this long after the last use, so that the
#: next task of the same call finds it.
_KEEP_S = 30.0


class _Request:
    """What a worker waits for: chunks of a segment, or a file's path."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.n_bytes = 0
        self.path: str | None = None
        self.problem: str | None = None
        self.news = threading.Event()
        # Held while `fd` is written to: the task may give up and close it meanwhile,
        # and the next file would get its number.
        self.writing = threading.Lock()


_requests: dict[str, _Request] = {}
_obtaining = threading.Lock()


def obtain(wanted: Segment) -> None:
    """Make a segment readable in this process, whatever it takes; may wait.

    Opens its file, or else asks its holder for a temporary file if that is on the same
    machine, or else for the bytes.

    Parameters
    ----------
    wanted : Segment
        As unpickled; open afterwards.

    Raises
    ------
    TransportError
        If the holder is gone, has released it, or doesn't answer.
    NoRoomError
        If the bytes don't fit into this machine's memory.
    """
    if segment.open_by_ticket(wanted):
        return
    with _obtaining:  # one at a time: others of this process want the same bytes
        if segment.open_by_ticket(wanted):
            return
        ticket = wanted.ticket
        if ticket is None:
            msg = f"{wanted.what} was released by this process; pack or share it again"
            raise TransportError(msg)
        if ticket.contact is None:
            raise TransportError(_gone(ticket, "and nobody can be asked for it"))
        same_machine = ticket.place.machine == contact.find_place().machine
        ask = _ask_worker if ticket.contact.kind == "worker" else _ask_client
        if same_machine:
            path = ask(ticket, None)
            fd = None if path is None else tickets.open_checked(str(path), ticket)
            if fd is not None:
                wanted.hold(fd)
                _keep(wanted)
                return
        _receive(wanted, ticket, ask)
        _keep(wanted)


def _receive(
    wanted: Segment, ticket: Ticket, ask: Callable[[Ticket, int | None], str | None]
) -> None:
    """Fill a new local file with the bytes that the holder sends."""
    made = tickets.open_new(ticket.n_bytes, ticket.what, named=False)
    if made is None:
        msg = f"Too many open files to receive {ticket.what}; raise `ulimit -n`"
        raise NoRoomError(msg)
    fd, path = made
    try:
        ask(ticket, fd)
        tickets.finish(fd, ticket.token, ticket.n_bytes, path, ticket.what)
    except BaseException:
        os.close(fd)
        if path is not None:
            files.remove_named_file(path)
        raise
    wanted.hold(fd, path)


def _gone(ticket: Ticket, reason: str) -> str:
    return (
        f"{ticket.what} ({format_bytes(ticket.n_bytes)}) is no longer to be had: "
        f"process {ticket.pid} has released it or has ended, {reason}. Keep the handle "
        "until the work that uses it is done, and do lost work again"
    )


def _keep(wanted: Segment) -> None:
    """Keep a worker's copy for a while after this task."""
    worker = _task_worker()
    if worker is not None:
        worker.loop.add_callback(worker.loop.call_later, _KEEP_S, _let_go, wanted)


def _let_go(wanted: Segment) -> None:
    """Do nothing; the event loop held the segment until it called this."""


def _task_worker() -> Any:
    """Return the Dask worker whose task this thread runs, or None."""
    get_worker = contact.find_imported("distributed.worker", "get_worker")
    if get_worker is None:
        return None
    try:
        return get_worker()
    except ValueError:
        return None


# A holder that is a worker: it answers Dask's own "run" requests.


def _ask_worker(ticket: Ticket, fd: int | None) -> str | None:
    """Get a path (`fd` None), or all bytes into `fd`, from a worker."""
    assert ticket.contact is not None  # checked by obtain
    address = ticket.contact.address
    if fd is None:
        path: str | None = _run_on_worker(ticket, address, serve_path, ticket.token)
        return path
    for start in range(0, ticket.n_bytes, _CHUNK):
        stop = min(start + _CHUNK, ticket.n_bytes)
        chunk = _run_on_worker(ticket, address, serve_bytes, ticket.token, start, stop)
        if chunk is None:
            raise TransportError(_gone(ticket, "or its worker was restarted"))
        _write(fd, start, chunk, ticket)
    return None


def _run_on_worker(
    ticket: Ticket, address: str, func: Callable[..., Any], *args: Any
) -> Any:
    """Run a function in a worker's process and return what it returns."""
    worker = _task_worker()
    if worker is not None:
        from distributed.utils import sync

        return sync(worker.loop, _run_as_peer, worker, ticket, address, func, args)
    for client in contact.running_clients():
        if client.asynchronous:  # waiting here would stop its own loop
            continue
        if address not in client.nthreads():
            continue
        try:
            return client.run(func, *args, workers=[address])[address]
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            reason = f"as {address} doesn't answer"
            raise TransportError(_gone(ticket, reason)) from error
    raise TransportError(
        _gone(ticket, f"and no client here knows its worker {address}")
    )


async def _run_as_peer(
    worker: Any, ticket: Ticket, address: str, func: Callable[..., Any], args: Any
) -> Any:
    import asyncio

    from distributed.protocol.pickle import dumps

    request = {"function": dumps(func), "args": dumps(args)}
    try:
        async with asyncio.timeout(_PATIENCE_S):
            answered = await worker.rpc(address).run(**request)
    except (OSError, TimeoutError) as error:
        raise TransportError(_gone(ticket, f"as {address} can't be reached")) from error
    if answered["status"] != "OK":
        raise TransportError(_gone(ticket, f"as {address} fails to send it"))
    return answered["result"]


def serve_path(token: bytes) -> str | None:
    """Return the path of a temporary file with a segment of this process, or None.

    Parameters
    ----------
    token : bytes
        The segment's.

    Returns
    -------
    str or None
        None if the segment is gone or there is no room for the file: the caller then
        asks for the bytes.
    """
    held = segment.find(token)
    if held is None or not held.is_open:
        return None
    if held.path is None and held.fd >= 0:
        try:
            held.add_path(_export(held))
        except (OSError, NoRoomError):
            return None
    return held.path


def _export(held: Segment) -> str:
    """Write a segment into a temporary file and return its path."""
    fd, path = files.make_named_file()
    try:
        view = held.map()
        pieces = [(tickets.HEADER, view)]
        files.write_all(fd, pieces, what=held.what, n_bytes=held.n_bytes)
        tickets.finish(fd, held.token, held.n_bytes, path, held.what)
    except BaseException:
        files.remove_named_file(path)
        raise
    finally:
        os.close(fd)
    return path


def serve_bytes(token: bytes, start: int, stop: int) -> bytes | None:
    """Return a part of a segment of this process, None if it is gone.

    Parameters
    ----------
    token : bytes
        The segment's.
    start, stop : int
        Offsets within its content.

    Returns
    -------
    bytes or None
    """
    held = segment.find(token)
    if held is None or not held.is_open:
        return None
    return bytes(held.read(start, stop))


# A holder that is a client: nobody can connect to it, so it listens to a topic of the
# scheduler's, and has what was asked for put into the worker by a "run" request.


def _ask_client(ticket: Ticket, fd: int | None) -> str | None:
    """Get a path (`fd` None), or all bytes into `fd`, from the process of a client."""
    assert ticket.contact is not None  # checked by obtain
    worker = _task_worker()
    if worker is None:
        raise TransportError(_gone(ticket, "and only a task of its cluster could ask"))
    request = _Request(-1 if fd is None else fd)
    number = os.urandom(16).hex()
    _requests[number] = request
    try:
        message = {
            "token": ticket.token,
            "request": number,
            "worker": worker.address,
            "by_name": fd is None,
        }
        worker.log_event(ticket.contact.address, message)
        while request.problem is None:
            if fd is None and request.path is not None:
                return request.path
            if fd is not None and request.n_bytes >= ticket.n_bytes:
                return None
            if not request.news.wait(_PATIENCE_S):
                raise TransportError(_gone(ticket, "as it doesn't answer"))
            request.news.clear()
        if fd is None:
            return None
        raise TransportError(_gone(ticket, request.problem))
    finally:
        with request.writing:
            request.fd = -1
        _requests.pop(number, None)


async def answer(reference: weakref.ref[Any], event: tuple[float, Any]) -> None:
    """Answer one request for a segment of this process; runs in a client's event loop.

    Parameters
    ----------
    reference : weakref to distributed.Client
        The client that the request came to.
    event : tuple
        Time stamp and message, as `distributed.Client.subscribe_topic` hands them out.
    """
    client, (_, message) = reference(), event
    if client is None:
        return
    import asyncio  # takes 20 ms, and whoever comes here has it

    # Not awaited here: that would hold up all other messages to this client.
    sending = asyncio.create_task(_send(client, message))
    _sending.add(sending)
    sending.add_done_callback(_sending.discard)


_sending: set[asyncio.Task[None]] = set()


async def _send(client: Any, message: dict[str, Any]) -> None:
    """Put what was asked for into the asking worker."""
    from distributed.utils import offload  # Dask's own thread for serialising

    token, number = bytes(message["token"]), message["request"]

    async def put(**news: Any) -> None:
        await client.run(receive, number, workers=[message["worker"]], **news)

    # A worker or cluster that ends in the middle needs no answer any more.
    with contextlib.suppress(OSError, RuntimeError, ValueError, KeyError):
        held = segment.find(token)
        if held is None or not held.is_open:
            await put(problem="and the caller no longer has it")
        elif message["by_name"]:
            path = await offload(serve_path, token)
            await put(path=path, problem=None if path else "no file can be made")
        else:
            for start in range(0, held.n_bytes, _CHUNK):
                stop = min(start + _CHUNK, held.n_bytes)
                chunk = await offload(held.read, start, stop)
                await put(start=start, chunk=bytes(chunk))


def receive(
    number: str,
    *,
    path: str | None = None,
    start: int = 0,
    chunk: bytes = b"",
    problem: str | None = None,
) -> None:
    """Take in what a client sends; runs in the event loop of the worker that asked.

    Parameters
    ----------
    number : str
        Which request it answers; unknown if the task has given up.
    path : str, optional
        Of a temporary file.
    start : int
        Offset of `chunk`.
    chunk : bytes
        A part of the content.
    problem : str, optional
        Why there is nothing to come.
    """
    request = _requests.get(number)
    if request is None:
        return
    if chunk:
        with request.writing:
            if request.fd < 0:
                return
            try:
                os.pwrite(request.fd, chunk, tickets.HEADER + start)
            except OSError as error:
                problem = f"and there is no room for it here: {error.strerror}"
        request.n_bytes += len(chunk)
    request.path = path
    request.problem = problem
    request.news.set()


def _write(fd: int, start: int, chunk: bytes, ticket: Ticket) -> None:
    pieces = [(tickets.HEADER + start, memoryview(chunk))]
    files.write_all(fd, pieces, what=ticket.what, n_bytes=ticket.n_bytes)


contact.answer_with(answer)
