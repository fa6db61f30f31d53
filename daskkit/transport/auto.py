"""Any object to something small that can be sent, and back: `pack` and `unpack`.

What is large is put into shared memory, without being asked for; what is small travels
as it is. Nothing here computes or starts a process.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from daskkit.transport import contact, mapping, parcel, wire
from daskkit.transport.cache import Cache, Entry, find_anchor
from daskkit.transport.parcel import Packed, Piece, unpack, unpack_once
from daskkit.transport.segment import make_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.transport.cache import Key
    from daskkit.transport.contact import Place
    from daskkit.transport.segment import Segment

__all__ = [
    "Packed",
    "Packer",
    "forget_cached",
    "pack",
    "pack_bytes",
    "unpack",
    "unpack_once",
]

#: From this many bytes in all, an object's buffers are shared instead of sent.
#: Time by shared memory / time by socket of one result and of one argument, from
#: `benchmarks/transport.py threshold` on two cores: 256 KiB 1.04 and 0.99, 512 KiB 0.98
#: and 1.04, 1 MiB 0.84 and 1.12, 2 MiB 0.64 and 0.87, 8 MiB 0.35 and 0.60.
SHARE_FROM = 2**20

#: A stream from this size is shared like a buffer.
_STREAM_FROM = 2**16

# Of one object at most this many buffers get files of their own, the largest; the other
# large ones share as many files again.
_MAX_FILES = 64

_cache = Cache()


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


def pack_bytes(value: Any) -> Packed:
    """Return an object in a form that shares nothing: all of its bytes travel.

    For receivers whom nobody would keep shared memory for until they have opened it.

    Parameters
    ----------
    value : object
        Anything that can be pickled.

    Returns
    -------
    Packed

    Raises
    ------
    UnpicklableError
        Naming the part that can't be pickled.

    Examples
    --------
    >>> pack_bytes(b"x" * 2_000_000).segments()
    set()
    """
    return _pack(value, _put_nowhere)


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
        # What this call has met. Held weakly: memory of items that are done has to go.
        self._met: dict[Key, tuple[weakref.ref[Segment], weakref.ref[Any]]] = {}

    def pack(self, value: Any, *, keep: bool = True) -> Packed:
        """Return an object in a form that travels cheaply, as `daskkit.pack` does.

        Parameters
        ----------
        value : object
            Anything that can be pickled.
        keep : bool, default True
            Whether the shared copy is kept for the next call, as is right for a
            function; False for items, of which it keeps those that it meets again.

        Returns
        -------
        Packed

        Raises
        ------
        UnpicklableError, NoRoomError
            As `pack`.
        """

        def put(views: list[memoryview], anchors: list[Any], what: str) -> list[Any]:
            return self._put_once(views, anchors, what, keep=keep)

        return _pack(value, put)

    def _put_once(
        self, views: list[memoryview], anchors: list[Any], what: str, *, keep: bool
    ) -> list[Any]:
        """Share views, those that are worth it by looking for them first."""
        parts: list[Any] = list(views)
        rest = []
        n_files = 0
        for i, (view, container) in enumerate(zip(views, anchors, strict=True)):
            anchor = None
            if view.nbytes >= parcel.MAP_FROM and n_files < _MAX_FILES:
                anchor = find_anchor(view, container)
            if anchor is None:
                rest.append(i)
                continue
            segment = self._find_or_share(view, anchor, what, keep=keep)
            if segment is not None:  # else it travels itself
                parts[i] = Piece(segment, 0, view.nbytes)
                n_files += 1
        others = _put_together([views[i] for i in rest], [], what)
        for i, part in zip(rest, others, strict=True):
            parts[i] = part
        return parts

    def _find_or_share(
        self, view: memoryview, anchor: weakref.ref[Any], what: str, *, keep: bool
    ) -> Segment | None:
        """Return the segment of a block of memory, or None where it can't have one."""
        key = (mapping.find_address(view), view.nbytes)
        # The same owner, or an array that was resized has left its address to another.
        is_known = key in self._met and self._met[key][1]() is anchor()
        segment = self._met[key][0]() if is_known else None
        if segment is not None and segment.is_open:
            return segment
        entry = _cache.find(key, view)
        if entry is None:
            made = make_segment([view], what)
            if made is None:
                return None
            entry = Entry(made[0], anchor)
            if keep or is_known:
                _cache.add(key, entry)
        self._met[key] = (weakref.ref(entry.segment), anchor)
        return entry.segment


def forget_cached() -> None:
    """Release the shared copies that are kept for the next call.

    They go by themselves with the objects that they were made of; call it when the
    cluster is closed, as then there is no next call.
    """
    _cache.clear()


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
        token=parcel.make_token(),
    )
    segments = tuple(packed.segments())
    if segments:
        packed.sent = []
        for segment in segments:
            segment.leases += 1
        weakref.finalize(packed, parcel.linger, segments, packed.sent).atexit = False
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
    large = [i for i, view in enumerate(views) if view.nbytes >= parcel.MAP_FROM]
    large.sort(key=lambda i: -views[i].nbytes)
    groups = [[i] for i in large[:_MAX_FILES]]
    crowd = large[_MAX_FILES:]
    groups += [crowd[i::_MAX_FILES] for i in range(_MAX_FILES)]
    small = (i for i, view in enumerate(views) if 0 < view.nbytes < parcel.MAP_FROM)
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
