"""Shared copies of arrays that are alive, kept for the next call that needs them."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.transport import mapping

if TYPE_CHECKING:
    from daskkit.transport.segment import Segment

__all__ = ["Cache", "Entry", "Key", "find_anchor"]

# More would take too many of a process's open files.
_MAX_ENTRIES = 64

#: Address and size of a block of memory.
Key = tuple[int, int]


class Entry(NamedTuple):
    """A shared copy, and the object that it is a copy of."""

    segment: Segment
    anchor: weakref.ref[Any]


class Cache:
    """Shared copies of arrays that are alive, the most recent up to a limit."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # weakref callbacks run at any point
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._watches: dict[Key, weakref.ref[Any]] = {}

    def find(self, key: Key, view: memoryview) -> Entry | None:
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

    def add(self, key: Key, entry: Entry) -> None:
        """Take in an entry until its object dies or others need the room."""
        target = entry.anchor()
        if target is None:
            return
        reference = weakref.ref(self)

        def forget(_: Any, reference: Any = reference, key: Key = key) -> None:
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
            while total > limit or len(self._entries) > _MAX_ENTRIES:
                oldest = next(iter(self._entries))
                total -= oldest[1]
                self._drop(oldest)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            for key in list(self._entries):
                self._drop(key)

    def _drop(self, key: Key) -> None:
        with self._lock:
            self._watches.pop(key, None)
            entry = self._entries.pop(key, None)
        if entry is not None:
            entry.segment.release()


def _cache_limit() -> int:
    """Return how much may be kept for a next call: an eighth of the memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8


def find_anchor(
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
