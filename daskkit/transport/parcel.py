"""What travels: a packed object, and how it is opened where it arrives."""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from daskkit.transport import contact, remote, wire
from daskkit.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from daskkit.transport.contact import Place
    from daskkit.transport.segment import Segment

__all__ = ["Packed", "Piece", "linger", "make_token", "unpack", "unpack_once"]

#: From this size a buffer gets a file of its own and is mapped; smaller ones go
#: together into one file and are copied out of it. So an array that the caller keeps
#: doesn't hold the memory of its neighbours.
MAP_FROM = 2**18

# How long memory outlives the last object that needs it if that was pickled just
# before: the scheduler opens the memory when it unpickles the task, some milliseconds
# later, and holds it until the task is done.
_LINGER_S = 5.0

# Pickles by this process that have not been unpickled here, by their numbers.
_awaited: set[str] = set()
_lingering: dict[str, tuple[Segment, ...]] = {}
_PROCESS = os.urandom(16).hex()
_numbers = itertools.count()


class Piece(NamedTuple):
    """Where in a segment a buffer lies."""

    segment: Segment
    start: int
    stop: int


class Packed:
    """An object on its way to another process; small, whatever the object's size.

    Made by `pack`, opened by `unpack`. It can be pickled any number of times, in any
    process, and holds the shared memory until it is closed or nothing refers to it.
    """

    __slots__ = (
        "__weakref__",
        "buffers",
        "kept",
        "length",
        "loaded",
        "place",
        "sent",
        "stream",
        "token",
        "what",
    )

    def __init__(
        self,
        stream: Any,
        buffers: list[Any],
        *,
        kept: tuple[Segment, ...],
        what: str,
        length: int | None,
        place: Place,
        token: str,
    ) -> None:
        #: The pickle: bytes or a `Piece`.
        self.stream = stream
        #: Its buffers: bytes-like objects or `Piece`.
        self.buffers = buffers
        #: Segments of handles inside the object.
        self.kept = kept
        #: Description of the object.
        self.what = what
        #: Number of elements if it is exactly a list, else None.
        self.length = length
        #: Where it was packed; hand it to `pack` as the `home` of an answer.
        self.place = place
        #: Tells one packing from another, in all processes.
        self.token = token
        #: What `unpack_once` keeps, shared by all copies in this process.
        self.loaded = _loaded.setdefault(token, _Loaded())
        #: When it was pickled and under which number, if somebody waits for that; read
        #: by the finaliser.
        self.sent: list[tuple[float, str]] | None = None

    def __repr__(self) -> str:
        return f"<Packed {self.what}, {format_bytes(self.n_bytes)}>"

    @property
    def n_bytes(self) -> int:
        """Size of the object, shared or not."""
        return sum(_size(part) for part in (self.stream, *self.buffers))

    @property
    def n_sent(self) -> int:
        """Size of what travels itself."""
        parts = (self.stream, *self.buffers)
        return sum(_size(part) for part in parts if not isinstance(part, Piece))

    def __sizeof__(self) -> int:
        # What Dask takes for the memory of a result. Memory that another process made
        # is not this worker's, which gains nothing by spilling it to its disk.
        mine = (
            _size(part)
            for part in (self.stream, *self.buffers)
            if not isinstance(part, Piece) or part.segment.is_made_here
        )
        return object.__sizeof__(self) + sum(mine)

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Otherwise Dask pickles it only to name a task.
        return ("daskkit-packed", self.token)

    def __reduce_ex__(self, protocol: Any) -> Any:
        for segment in self.segments():
            wire.note(segment)
        number = make_token()
        if self.sent is not None:
            self.sent.append((time.monotonic(), number))
            _awaited.add(number)
        if protocol < 5:  # noqa: PLR2004 - the first with buffers
            parts = [_to_bytes(part) for part in (self.stream, *self.buffers)]
        else:
            from pickle import PickleBuffer

            # Out of band even where it is small: distributed looks for "__main__" in
            # the pickle, and would pickle all of it once more if it were in there.
            parts = [
                part if isinstance(part, Piece) else PickleBuffer(part)
                for part in (self.stream, *self.buffers)
            ]
        state = (parts, self.kept, self.what, self.length, self.place, self.token)
        return _make_packed, (*state, number)

    def close(self) -> None:
        """Free the shared memory now; a second call does nothing.

        Processes that have received the object keep what they need; tasks that have yet
        to receive it will fail. Call it when the last task is done: otherwise the
        memory waits for the garbage collector, and for a scheduler in this process to
        forget the task, which it never does for tasks that fail before any of their
        name has succeeded (`SchedulerState.unknown_durations`, distributed 2026.8).
        Received and small objects have nothing to free.
        """
        if self.sent is None:
            return
        _awaited.difference_update(number for _, number in self.sent)
        self.sent.clear()  # the finaliser then has nothing to wait for
        self.sent = None
        for segment in self.segments():
            segment.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def segments(self) -> set[Segment]:
        """Return the shared memory that the object needs.

        Returns
        -------
        set of Segment
        """
        parts = (self.stream, *self.buffers)
        return {p.segment for p in parts if isinstance(p, Piece)} | set(self.kept)


def unpack(packed: Packed, *, last: bool = False) -> Any:
    """Return a private copy of a packed object.

    Large arrays are mapped copy on write: they are writable, and nobody else sees what
    is written. A second call returns another copy.

    Parameters
    ----------
    packed : Packed
        From this or another process.
    last : bool, default False
        That it will not be unpacked again; saves a copy of buffers that were sent.

    Returns
    -------
    object

    Raises
    ------
    TransportError
        If the shared memory is gone: released by its owner, or lost with its process.
    NoRoomError
        If there is no memory for it here.

    Notes
    -----
    Waits for the network where the bytes are on another machine, so it must not be
    called in an event loop.
    """
    for segment in packed.segments():
        if not segment.is_open:
            remote.obtain(segment)
    maps: dict[bytes, memoryview] = {}
    buffers = [
        _open_piece(part, maps) if isinstance(part, Piece) else _own(part, last=last)
        for part in packed.buffers
    ]
    stream = packed.stream
    if isinstance(stream, Piece):
        stream = _open_piece(stream, maps)
    return wire.load(stream, buffers)


def unpack_once(packed: Packed) -> Any:
    """Return the object, the same one for all tasks of this process.

    It is loaded by the first task that needs it and dropped when no copy of `packed` is
    left here: meant for the function of a call, which many tasks use, and whose large
    arrays then are mapped once (a second pass over 500 MB takes half as long as the
    first). What one task writes into it the next one in the same process sees, as in
    the plain loop; neither other processes nor the owner do.

    Parameters
    ----------
    packed : Packed
        From this or another process.

    Returns
    -------
    object

    Raises
    ------
    TransportError, NoRoomError
        As `unpack`, whose notes hold here too.

    Examples
    --------
    >>> from daskkit.transport.auto import pack
    >>> packed = pack([1, 2])
    >>> unpack_once(packed) is unpack_once(packed)
    True
    """
    loaded = packed.loaded
    with loaded.lock:
        if not loaded.values:
            loaded.values.append(unpack(packed))
        return loaded.values[0]


class _Loaded:
    """What `unpack_once` has loaded; held by all copies of one packed object."""

    __slots__ = ("__weakref__", "lock", "values")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: list[Any] = []


_loaded: weakref.WeakValueDictionary[str, _Loaded] = weakref.WeakValueDictionary()


def make_token() -> str:
    """Return a name that no packed object has in any process.

    Returns
    -------
    str
    """
    return f"{_PROCESS}-{next(_numbers)}"


def _open_piece(piece: Piece, maps: dict[bytes, memoryview]) -> Any:
    """Return a buffer of one's own with the content of a piece."""
    segment, start, stop = piece
    if stop - start < MAP_FROM:
        return segment.read(start, stop)
    if segment.token not in maps:
        maps[segment.token] = segment.map()
    return maps[segment.token][start:stop]


def _own(buffer: Any, *, last: bool) -> Any:
    """Return a buffer that nobody else writes to."""
    view = memoryview(buffer)
    return view if last or view.readonly else bytearray(view)


def _size(part: Any) -> int:
    if isinstance(part, Piece):
        return part.stop - part.start
    return memoryview(part).nbytes


def _to_bytes(part: Any) -> Any:
    return part if isinstance(part, Piece) else wire.copy_buffer(memoryview(part))


def linger(segments: tuple[Segment, ...], sent: list[tuple[float, str]]) -> None:
    """Keep memory for a moment if a task that needs it is still on its way.

    ``client.submit(func, pack(array))`` drops the object before the scheduler has seen
    the task. A scheduler in this process has, once the last pickle arrived here again:
    they arrive in order, and an attempt at pickling that failed never does. Its copies
    of the object don't linger: it drops them when the task is done.
    """
    if not sent:
        return
    when, number = sent[-1]
    has_arrived = number not in _awaited
    _awaited.difference_update(number for _, number in sent)
    if has_arrived or time.monotonic() - when > _LINGER_S:
        return
    for client in contact.running_clients():
        _lingering[number] = segments
        client.loop.add_callback(client.loop.call_later, _LINGER_S, _let_go, number)
        return


def _let_go(number: str) -> None:
    """Free what waited for a pickle to arrive in this process: it has, or won't."""
    _lingering.pop(number, None)


def _make_packed(  # noqa: PLR0917 - what pickle passes, in the order of Packed
    parts: Sequence[Any],
    kept: tuple[Segment, ...],
    what: str,
    length: int | None,
    place: Place,
    token: str,
    number: str,
) -> Packed:
    _awaited.discard(number)
    packed = Packed(
        parts[0],
        list(parts[1:]),
        kept=kept,
        what=what,
        length=length,
        place=place,
        token=token,
    )
    _let_go(number)
    return packed
