"""A block of bytes that local processes share: made, passed on, opened, checked.

A segment is written once and immutable from then on. What travels is a `Ticket`; each
process that receives one opens the file at once and holds it by a descriptor of its
own, so the bytes live until the last holder is gone, whichever process made them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from daskkit.transport import contact, files, mapping
from daskkit.transport import ticket as tickets
from daskkit.transport.errors import NoRoomError, TransportError
from daskkit.transport.ticket import HEADER, Ticket
from daskkit.units import format_bytes

if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Sequence

__all__ = ["Segment", "attach", "find", "make_segment", "open_by_ticket", "route"]

_ALIGNMENT = 64
_N_TOKEN_BYTES = 16
_READ_AT_ONCE = 2**20


class Segment:
    """One process's hold on a block of shared bytes; freed with the last reference.

    It has a descriptor, or the bytes themselves (after having been spilled to disk, or
    where no more files may be opened), or only the ticket it came by, in a process that
    can't open it: `remote.obtain` then gets the bytes in another way.
    """

    __slots__ = (
        "__weakref__",
        "_finalizers",
        "fd",
        "is_made_here",
        "leases",
        "memory",
        "n_bytes",
        "path",
        "spares",
        "ticket",
        "token",
        "what",
    )

    def __init__(self, token: bytes, n_bytes: int, what: str) -> None:
        self.token = token
        self.n_bytes = n_bytes
        self.what = what
        #: Whether this process wrote it.
        self.is_made_here = False
        #: How many users in this process have yet to `release` it, see there.
        self.leases = 0
        #: Descriptor, -1 if not open.
        self.fd = -1
        self.path: str | None = None
        #: Unused mappings of the file, for the next `map`.
        self.spares = mapping.Spares()
        #: The bytes themselves, where there is no file.
        self.memory: memoryview | None = None
        #: What it came by, where it could not be opened.
        self.ticket: Ticket | None = None
        self._finalizers: list[weakref.finalize[..., Segment]] = []

    def __repr__(self) -> str:
        return f"<Segment {self.token.hex()[:8]}, {format_bytes(self.n_bytes)}>"

    @property
    def is_open(self) -> bool:
        """Whether the bytes can be read in this process."""
        return self.fd >= 0 or self.memory is not None

    def hold(self, fd: int, path: str | None = None) -> None:
        """Take over an open file.

        Parameters
        ----------
        fd : int
            Descriptor of a complete segment; closed with this object.
        path : str, optional
            A temporary file of this process, removed with this object.
        """
        self.fd, self.path, self.ticket = fd, path, None
        self._finalizers += [
            weakref.finalize(self, _release, fd, path),
            weakref.finalize(self, self.spares.close, HEADER + self.n_bytes),
        ]

    def add_path(self, path: str) -> None:
        """Take over a temporary file with the same content, for other processes.

        Parameters
        ----------
        path : str
            Of `files.make_named_file`; removed with this object.
        """
        self.path = path
        finalizer = weakref.finalize(self, files.remove_named_file, path)
        self._finalizers.append(finalizer)

    def release(self) -> None:
        """End one lease; with the last one the memory goes, whoever refers to this.

        Without a call the memory goes when nothing refers to this object. A scheduler
        in the same process may refer to it for ever.
        """
        self.leases -= 1
        if self.leases == 0:
            with _lock:
                _segments.pop(self.token, None)
            self.fd, self.path = -1, None
            for finalizer in self._finalizers:
                finalizer()

    def map(self) -> memoryview:
        """Return the content as writable memory of the caller's own.

        Pages are shared with all other readers until they are written to.

        Returns
        -------
        memoryview
            Of `n_bytes` bytes; keeps the memory alive, also after this object's end.

        Raises
        ------
        NoRoomError
            If neither a mapping nor a copy can be had.
        """
        if self.fd >= 0:
            try:
                size = HEADER + self.n_bytes
                return mapping.map_private(self.fd, size, self.spares)[HEADER:]
            except OSError as error:
                # Linux allows 65,530 mappings a process by default; copy beyond that.
                if error.errno != errno.ENOMEM:
                    raise
        return memoryview(self.read(0, self.n_bytes))

    def read(self, start: int, stop: int) -> bytearray:
        """Return a copy of a part of the content.

        Parameters
        ----------
        start, stop : int
            Offsets within the content.

        Returns
        -------
        bytearray

        Raises
        ------
        NoRoomError
            If there is no memory for the copy.
        TransportError
            If the file is shorter than it should be, or not open.
        """
        try:
            copy = bytearray(stop - start)
        except MemoryError as error:
            msg = f"No memory for a copy of {self.what} ({format_bytes(stop - start)})"
            raise NoRoomError(msg) from error
        if self.memory is not None:
            copy[:] = self.memory[start:stop]
            return copy
        if self.fd < 0:
            msg = f"{self!r} of {self.what} is not open in this process"
            raise TransportError(msg)
        view, done, offset = memoryview(copy), 0, HEADER + start
        while done < len(copy):
            # Not preadv(), which not every macOS has.
            chunk = os.pread(self.fd, min(stop - start - done, _READ_AT_ONCE), offset)
            if not chunk:
                msg = f"The file that holds {self.what} was cut short; share it again"
                raise TransportError(msg)
            view[done : done + len(chunk)] = chunk
            done += len(chunk)
            offset += len(chunk)
        return copy

    def __reduce__(self) -> tuple[Callable[..., Segment], tuple[Any, ...]]:
        contact.stop_message_logs()
        if self.fd >= 0 and not _is_spilling():
            # Whoever passes it on is the one to ask: it will be there longest.
            return attach, (self._make_ticket(),)
        if self.is_open:
            content = _picklable(self.memory if self.fd < 0 else self.map())
            return _restore, (self.token, self.n_bytes, self.what, content)
        return attach, (self.ticket or self._make_ticket(),)

    def _make_ticket(self) -> Ticket:
        """Return what another process needs; of no use to it if this is closed."""
        return Ticket(
            self.token,
            self.n_bytes,
            os.getpid(),
            self.fd,
            self.path,
            contact.find_place(),
            contact.find_contact(),
            self.what,
        )


def make_segment(
    views: Sequence[memoryview], what: str
) -> tuple[Segment, list[int]] | None:
    """Return a new segment with some blocks of memory in it, and where each starts.

    Parameters
    ----------
    views : sequence of memoryview
        Contiguous bytes; copied.
    what : str
        The object's description, for errors.

    Returns
    -------
    tuple of Segment and list of int, or None
        None where this process has too many files open already, or is told not to share
        (`route`): the bytes have to travel themselves.

    Raises
    ------
    NoRoomError
        If memory or disk is full.
    """
    way = route()
    if way == "wire" or len(_segments) >= _max_open():
        return None
    offsets, n_bytes = [], 0
    for view in views:
        offsets.append(n_bytes)
        n_bytes += -(-view.nbytes // _ALIGNMENT) * _ALIGNMENT
    token = os.urandom(_N_TOKEN_BYTES)
    made = tickets.open_new(n_bytes, what, named=way == "file")
    if made is None:
        return None
    fd, path = made
    try:
        pieces = [
            (HEADER + offset, view) for offset, view in zip(offsets, views, strict=True)
        ]
        files.write_all(fd, pieces, what=what, n_bytes=n_bytes)
        tickets.finish(fd, token, n_bytes, path, what)
    except BaseException:
        _release(fd, path)
        raise
    segment = Segment(token, n_bytes, what)
    segment.is_made_here = True
    segment.hold(fd, path)
    return _register(segment), offsets


def attach(ticket: Ticket) -> Segment:
    """Return this process's hold on the segment of a ticket; never fails.

    Called when a handle is unpickled, in an event loop as well as anywhere else. One
    that can't be opened here keeps its ticket.

    Parameters
    ----------
    ticket : Ticket
        From another process, or from this one.

    Returns
    -------
    Segment
        The same object for as long as this process holds the same segment.
    """
    segment = find(ticket.token)
    if segment is None:
        segment = Segment(ticket.token, ticket.n_bytes, ticket.what)
        segment.ticket = ticket
        open_by_ticket(segment)
        return _register(segment)
    if not segment.is_open:
        segment.ticket = ticket
        open_by_ticket(segment)
    return segment


def open_by_ticket(segment: Segment) -> bool:
    """Open a segment's file if this process can; return whether it is open now.

    Parameters
    ----------
    segment : Segment
        With a ticket, or open already.

    Returns
    -------
    bool
    """
    ticket = segment.ticket
    if segment.is_open or ticket is None or _blocked:
        return segment.is_open
    here = contact.find_place()
    if ticket.place.machine != here.machine:
        return False
    fd = None
    if ticket.place.pid_namespace == here.pid_namespace:
        fd = tickets.open_checked(f"/proc/{ticket.pid}/fd/{ticket.fd}", ticket)
    if fd is None and ticket.path is not None:
        fd = tickets.open_checked(ticket.path, ticket)
    if fd is not None:
        if len(_segments) < _max_open():
            segment.hold(fd)
        else:  # the mapping stays, the descriptor goes
            segment.memory = memoryview(_read_all(fd, ticket.n_bytes))
            segment.ticket = None
            os.close(fd)
    return segment.is_open


def find(token: bytes) -> Segment | None:
    """Return the segment of that token that this process holds, or None.

    Parameters
    ----------
    token : bytes
        See `Ticket`.

    Returns
    -------
    Segment or None
    """
    with _lock:
        return _segments.get(token)


def route() -> str:
    """Return how bytes are to be shared, from Dask's configuration.

    Returns
    -------
    str
        The value of ``daskkit.transport.route``: ``"auto"`` (the default: anonymous
        memory where the system has it, else a temporary file), ``"file"`` (always a
        temporary file) or ``"wire"`` (nothing is shared, all bytes are sent).

    Raises
    ------
    TransportError
        If it is anything else.
    """
    config = sys.modules.get("dask.config")  # without Dask nobody has set anything
    way = "auto" if config is None else config.get("daskkit.transport.route", "auto")
    if way not in ("auto", "file", "wire"):
        msg = (
            f"daskkit.transport.route in Dask's configuration is {way!r}; "
            "available: auto, file, wire"
        )
        raise TransportError(msg)
    return str(way)


_lock = threading.RLock()  # a finaliser may run while the same thread holds it
_segments: weakref.WeakValueDictionary[bytes, Segment] = weakref.WeakValueDictionary()

#: True in tests: this process behaves as if it could open nobody's descriptors.
_blocked = False


def _register(segment: Segment) -> Segment:
    """Return the one segment of its token, the first to come."""
    with _lock:
        return _segments.setdefault(segment.token, segment)


def _release(fd: int, path: str | None) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)
    if path is not None:
        files.remove_named_file(path)


def _read_all(fd: int, n_bytes: int) -> memoryview:
    return mapping.map_private(fd, HEADER + n_bytes)[HEADER:]


def _max_open() -> int:
    """Return how many segments this process may hold: a quarter of its files."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(32, min(soft, 2**16) // 4)


def _is_spilling() -> bool:
    """Return whether Dask is writing this object to its disk, not to a peer.

    A spilled object is dropped from memory, and its descriptor with it: a ticket on
    disk would lead nowhere. Dask calls the same serialiser for both, so the callers are
    looked at; 2 us.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to see one's callers
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == "distributed.spill" or name.startswith("zict"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _picklable(view: memoryview | None) -> pickle.PickleBuffer:
    from pickle import PickleBuffer

    assert view is not None  # an open segment has a file or memory
    return PickleBuffer(view)


def _restore(token: bytes, n_bytes: int, what: str, content: Any) -> Segment:
    """Return a segment whose bytes travelled themselves."""
    segment = find(token)
    if segment is not None and segment.is_open:
        return segment
    segment = Segment(token, n_bytes, what)
    segment.memory = memoryview(content).cast("B")
    with _lock:
        _segments[token] = segment
    return segment
