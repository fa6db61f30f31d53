"""Any object to something small that can be sent, and back: `pack` and `unpack`.

What is large is put into shared memory, without being asked for; what is small travels
as it is. Nothing here computes or starts a process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import uuid
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from daskkit.transport import contact, mapping, remote, wire
from daskkit.transport.segment import Segment, make_segment
from daskkit.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from daskkit.transport.contact import Place

__all__ = [
    "Packed",
    "Packer",
    "forget_cached",
    "pack",
    "unpack",
    "unpack_once",
]

#: From this many bytes in all, an object's buffers are shared instead of sent.
#: `benchmarks/transport.py threshold`, time by shared memory / time by socket, result
#: and argument: 128 KiB 1.04 and 1.00, 256 KiB 0.86 and 0.97, 512 KiB 0.94 and 0.97,
#: 1 MiB 0.81 and 0.94, 2 MiB 0.67 and 0.76, 8 MiB 0.42 and 0.56.
SHARE_FROM = 2**19

#: From this size a buffer gets a file of its own and is mapped; smaller ones go
#: together into one file and are copied out of it. So an array that the caller keeps
#: doesn't hold the memory of its neighbours.
MAP_FROM = 2**18

#: A stream from this size is shared like a buffer.
_STREAM_FROM = 2**16

# How long memory outlives the last object that needs it if that was pickled just
# before: the scheduler opens the memory when it unpickles the task, some milliseconds
# later, and holds it until the task is done.
_LINGER_S = 5.0

# Pickles by this process that have not been unpickled here, by their numbers.
_awaited: set[str] = set()
_lingering: dict[str, tuple[Segment, ...]] = {}
_PROCESS = uuid.uuid4().hex
_numbers = itertools.count()

# Of one object at most this many buffers get files of their own, the largest; the other
# large ones share as many files again.
_MAX_FILES = 64


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
        number = f"{_PROCESS}-{next(_numbers)}"
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


def pack(value: Any, *, home: Place | None = None) -> Packed:
    """Return an object in a form that travels cheaply to any process.

    Copies all buffers, large ones into shared memory: what happens to the object
    afterwards can't be seen by the receiver.

    Parameters
    ----------
    value : object
        Anything that can be pickled, functions with captured arrays included.
    home : Place, optional
        Where the receiver runs, if that is known: `Packed.place` of what it sent. If it
        could not open memory of this process, nothing is shared and the bytes travel.

    Returns
    -------
    Packed

    Raises
    ------
    UnpicklableError
        Naming the part that can't be pickled.
    NoRoomError
        If memory or disk is full.

    See Also
    --------
    Packer : for many objects of one call.

    Examples
    --------
    >>> unpack(pack({"a": [1, 2]}))
    {'a': [1, 2]}
    """
    is_near = home is None or home == contact.find_place()
    return _pack(value, _put_together if is_near else _put_nowhere)


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


class Packer:
    """Packs the objects of one call, each large array once however often it occurs.

    Across calls an array that is still alive is recognised by its memory and compared
    with what was shared before (10 GB/s, 7 times faster than sharing it again), so a
    change between two calls is seen. Within a call it is trusted to stay as it was when
    the call first met it: use another Packer for each item of a generator that reuses
    its array.

    Examples
    --------
    >>> packer = Packer()
    >>> unpack(packer.pack([1, 2]))
    [1, 2]
    """

    def __init__(self) -> None:
        # Holds what this call uses, so that the cache may let go of it at any time.
        self._met: dict[_Key, _Entry] = {}

    def pack(self, value: Any) -> Packed:
        """Return an object in a form that travels cheaply, as `daskkit.pack` does.

        Parameters
        ----------
        value : object
            Anything that can be pickled.

        Returns
        -------
        Packed

        Raises
        ------
        UnpicklableError, NoRoomError
            As `pack`.
        """
        return _pack(value, self._put_once)

    def _put_once(
        self, views: list[memoryview], anchors: list[Any], what: str
    ) -> list[Any]:
        """Share views, those that are worth it by looking for them first."""
        parts: list[Any] = [None] * len(views)
        rest = []
        for i, (view, anchor) in enumerate(zip(views, anchors, strict=True)):
            entry = None
            if view.nbytes >= MAP_FROM:
                entry = self._find_or_share(view, _find_anchor(view, anchor), what)
            if entry is None:
                rest.append(i)
            else:
                parts[i] = Piece(entry.segment, 0, view.nbytes)
        others = _put_together([views[i] for i in rest], [], what)
        for i, part in zip(rest, others, strict=True):
            parts[i] = part
        return parts

    def _find_or_share(
        self, view: memoryview, anchor: weakref.ref[Any] | None, what: str
    ) -> _Entry | None:
        """Return the entry of a block of memory, a new one if need be; None: can't."""
        if anchor is None:
            return None
        key = (mapping.find_address(view), view.nbytes)
        met = self._met.get(key)
        # The same owner, or an array that was resized has left its address to another.
        if met is not None and met.anchor() is anchor():
            return met
        entry = _cache.find(key, view)
        if entry is None:
            made = make_segment([view], what)
            if made is None:
                return None
            entry = _Entry(made[0], anchor)
            _cache.add(key, entry)
        self._met[key] = entry
        return entry


def forget_cached() -> None:
    """Release the shared copies that are kept for the next call.

    They go by themselves with the objects that they were made of; call it when the
    cluster is closed, as then there is no next call.
    """
    _cache.clear()


_Key = tuple[int, int]


class _Entry(NamedTuple):
    """A shared copy, and the object that it is a copy of."""

    segment: Segment
    anchor: weakref.ref[Any]


class _Cache:
    """Shared copies of arrays that are alive, the most recent up to a limit."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # weakref callbacks run at any point
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._watches: dict[_Key, weakref.ref[Any]] = {}

    def find(self, key: _Key, view: memoryview) -> _Entry | None:
        """Return the entry for this memory if it still has the same content."""
        with self._lock:
            entry = self._entries.get(key)
        if entry is None:
            return None
        if mapping.compare(view, entry.segment.map()):
            with self._lock, contextlib.suppress(KeyError):
                self._entries.move_to_end(key)
            return entry
        self._drop(key)
        return None

    def add(self, key: _Key, entry: _Entry) -> None:
        """Take in an entry until its object dies or others need the room."""
        target = entry.anchor()
        if target is None:
            return
        reference = weakref.ref(self)

        def forget(_: Any, reference: Any = reference, key: _Key = key) -> None:
            cache = reference()
            if cache is not None:
                cache._drop(key)  # noqa: SLF001 - its own method, by a weak reference

        with self._lock:
            self._drop(key)
            entry.segment.leases += 1
            self._entries[key] = entry
            self._watches[key] = weakref.ref(target, forget)
            limit = _cache_limit()
            total = sum(n_bytes for _, n_bytes in self._entries)
            while total > limit or len(self._entries) > _MAX_FILES:
                oldest = next(iter(self._entries))
                total -= oldest[1]
                self._drop(oldest)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            for key in list(self._entries):
                self._drop(key)

    def _drop(self, key: _Key) -> None:
        with self._lock:
            self._watches.pop(key, None)
            entry = self._entries.pop(key, None)
        if entry is not None:
            entry.segment.release()


_cache = _Cache()


def _cache_limit() -> int:
    """Return how much may be kept for a next call: an eighth of the memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8


def _find_anchor(
    view: memoryview, container: weakref.ref[Any] | None
) -> weakref.ref[Any] | None:
    """Return a weak reference to what owns a block of memory, None if nothing does.

    That is the array at the end of the chain of views; for Arrow the pandas object,
    since Arrow's own wrapper is made for the pickle and dies with it.
    """
    owner = view.obj
    while True:
        base = getattr(owner, "base", None)
        if isinstance(owner, memoryview):
            base = owner.obj
        if base is None or type(owner).__module__.partition(".")[0] == "pyarrow":
            break
        owner = base
    if type(owner).__module__.partition(".")[0] == "pyarrow":
        return container
    try:
        return weakref.ref(owner)
    except TypeError:  # bytes, for instance
        return container


def _pack(
    value: Any,
    put: Callable[[list[memoryview], list[Any], str], list[Any]],
) -> Packed:
    """Return a packed object; `put` shares its buffers."""
    dumped = wire.dump(value)
    what = wire.describe(value)
    length = len(value) if type(value) is list else None
    views = [memoryview(dumped.stream), *(buffer.raw() for buffer in dumped.buffers)]
    anchors = [None, *dumped.anchors]
    parts: list[Any] = list(views)
    if sum(view.nbytes for view in views) >= SHARE_FROM:
        first = 0 if views[0].nbytes >= _STREAM_FROM else 1
        parts[first:] = put(views[first:], anchors[first:], what)
    kept = tuple(dict.fromkeys(dumped.notes))
    stream, *buffers = (_copy(part) for part in parts)
    packed = Packed(
        stream,
        buffers,
        kept=kept,
        what=what,
        length=length,
        place=contact.find_place(),
        token=f"{_PROCESS}-{next(_numbers)}",
    )
    segments = tuple(packed.segments())
    if segments:
        packed.sent = []
        for segment in segments:
            segment.leases += 1
        weakref.finalize(packed, _linger, segments, packed.sent).atexit = False
    return packed


def _put_nowhere(
    views: list[memoryview],
    anchors: list[Any],  # noqa: ARG001 - the same signature as Packer._put_once
    what: str,  # noqa: ARG001 - as above
) -> list[Any]:
    """Share nothing."""
    return list(views)


def _put_together(
    views: list[memoryview],
    anchors: list[Any],  # noqa: ARG001 - the same signature as Packer._put_once
    what: str,
) -> list[Any]:
    """Share views: the large ones one by one, the others in one segment."""
    parts: list[Any] = list(views)
    large = [i for i, view in enumerate(views) if view.nbytes >= MAP_FROM]
    large.sort(key=lambda i: -views[i].nbytes)
    groups = [[i] for i in large[:_MAX_FILES]]
    crowd = large[_MAX_FILES:]
    groups += [crowd[i::_MAX_FILES] for i in range(_MAX_FILES)]
    small = (i for i, view in enumerate(views) if 0 < view.nbytes < MAP_FROM)
    groups.append(list(small))
    for group in groups:
        if not group:
            continue
        made = make_segment([views[i] for i in group], what)
        if made is None:
            continue  # these travel themselves
        segment, offsets = made
        for i, start in zip(group, offsets, strict=True):
            parts[i] = Piece(segment, start, start + views[i].nbytes)
    return parts


def _copy(part: Any) -> Any:
    """Return a copy of what isn't shared, so that it can't change any more.

    A function may return the same scratch array each time, and Dask fetches a result
    some time after it was returned.
    """
    if isinstance(part, Piece):
        return part
    if isinstance(part.obj, bytes):  # above all the stream, which nobody else has
        return part.obj
    return wire.copy_buffer(part)


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


def _linger(segments: tuple[Segment, ...], sent: list[tuple[float, str]]) -> None:
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
