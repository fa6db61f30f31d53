"""Light stamps on the batches of any back end: who did what, and when.

The function and the items of a workload are wrapped. Each thread that executes items
writes into a file of its own, mapped into memory, so that neither a lock nor a message
is needed, and nothing is lost with the process. Items that follow each other without a
pause are one stamp. Used in an execution of its own, whose time counts for nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskkit.accounts import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.records import Workload

__all__ = ["read_stamps", "stamp_workload"]

# Begin, end, CPU seconds, seconds of (un)pickling, first item, items.
_ENTRY = struct.Struct("dddd qq")
# A file grows only as far as it is written.
_MOST_ENTRIES = 65_536
# Items with a shorter pause between them are one batch.
_PAUSE_S = 0.0001
# Asking for CPU seconds takes 0.5 us; not after each of many short items.
_CPU_EVERY_S = 0.0001


def stamp_workload(workload: Workload, folder: str) -> Workload:
    """Return a workload that does the same and leaves stamps in a folder.

    Parameters
    ----------
    workload : Workload
        What is to be done.
    folder : str
        Where each thread that executes items puts a file.

    Returns
    -------
    Workload
        Its items are numbered copies; without a `combine` its answer is a list of
        results in wrappers, and not to be used.

    Examples
    --------
    >>> import tempfile
    >>> from daskkit.records import Workload
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     work = stamp_workload(Workload("n", abs, [-1, 2], combine=sum), folder)
    ...     answer = work.loop()
    ...     stamps = read_stamps(folder)
    >>> answer, stamps[0].first, sum(stamp.n_items for stamp in stamps)
    (3, 0, 2)
    """
    compiled = workload.compiled
    return dataclasses.replace(
        workload,
        func=_Stamped(workload.func, folder),
        items=[_Item(i, item) for i, item in enumerate(workload.items)],
        combine=None if workload.combine is None else _Unwrapped(workload.combine),
        vectorized=(
            None
            if workload.vectorized is None
            else _StampedWhole(workload.vectorized, folder, workload.items)
        ),
        compiled=None if compiled is None else _StampedLater(compiled, folder),
    )


def read_stamps(folder: str, began_s: float = 0.0) -> list[Stamp]:
    """Return the stamps of all threads, in the order of time.

    Parameters
    ----------
    folder : str
        As for `stamp_workload`.
    began_s : float, default 0.0
        Earlier ones are left out; on the clock of `time.perf_counter`.

    Returns
    -------
    list of Stamp
        Their times are on that clock.
    """
    _here.forget(folder)
    stamps = []
    for path in Path(folder).glob("*.stamps"):
        for entry in _ENTRY.iter_unpack(_whole_entries(path.read_bytes())):
            start_s, end_s, cpu_s, serialise_s, first, n_items = entry
            if n_items and start_s >= began_s:
                stamp = Stamp(
                    worker=path.name.split(".")[0],
                    start_s=start_s,
                    end_s=end_s,
                    # Clocks tick differently: a thread can't compute for longer.
                    cpu_s=min(cpu_s, end_s - start_s),
                    first=first,
                    n_items=n_items,
                    serialise_s=serialise_s,
                )
                stamps.append(stamp)
    return sorted(stamps, key=lambda stamp: stamp.start_s)


def _whole_entries(content: bytes) -> bytes:
    return content[: len(content) // _ENTRY.size * _ENTRY.size]


class _Book:
    """The stamps of one thread."""

    def __init__(self, folder: str) -> None:
        name = f"{os.getpid()}-{threading.get_native_id()}.{time.monotonic_ns()}"
        path = Path(folder, f"{name}.stamps")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            size = _MOST_ENTRIES * _ENTRY.size
            os.ftruncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self.pid = os.getpid()
        self._n_entries = 0
        self._start_s = self._end_s = self._cpu_s = 0.0
        self._serialise_s = 0.0
        self._first = self._n_items = 0
        self._cpu_began = self._cpu_seen_s = 0.0

    def write(self, func: Callable[[Any], Any], item: Any, first: int, n: int) -> Any:
        """Return ``func(item)``, and write down how long that took."""
        start_s = time.perf_counter()
        opening_s = _pending.take()
        is_next = (
            start_s - self._end_s < _PAUSE_S
            and first == self._first + self._n_items
            and self._n_items > 0
        )
        if not is_next and self._n_entries < _MOST_ENTRIES:
            self._n_entries += 1
            self._start_s, self._first, self._n_items = start_s, first, 0
            self._cpu_s = self._serialise_s = 0.0
            self._cpu_began, self._cpu_seen_s = time.thread_time(), start_s
        self._serialise_s += opening_s
        try:
            return func(item)
        finally:
            end_s = time.perf_counter()
            if end_s - self._cpu_seen_s > _CPU_EVERY_S:
                self._cpu_s = time.thread_time() - self._cpu_began
                self._cpu_seen_s = end_s
            self._end_s = end_s
            self._n_items += n
            # What follows the last look at the CPU clock was computed.
            self._save(self._cpu_s + end_s - self._cpu_seen_s)

    def add(self, seconds: float) -> None:
        """Add time that packing results of the last entry has taken."""
        if self._n_entries:
            self._serialise_s += seconds
            self._save(self._cpu_s + self._end_s - self._cpu_seen_s)

    def _save(self, cpu_s: float) -> None:
        entry = (self._start_s, self._end_s, cpu_s, self._serialise_s)
        offset = (self._n_entries - 1) * _ENTRY.size
        _ENTRY.pack_into(self._map, offset, *entry, self._first, self._n_items)


class _Here(threading.local):
    """The books of a thread by folder, and the one that was written to last."""

    def __init__(self) -> None:
        self.books: dict[str, _Book] = {}

    def book(self, folder: str) -> _Book:
        """Return this thread's book; a forked child has another than its parent."""
        book = self.books.get(folder)
        if book is None or book.pid != os.getpid():
            book = self.books[folder] = _Book(folder)
        return book

    def forget(self, folder: str) -> None:
        """Close this thread's book; its next item opens another."""
        self.books.pop(folder, None)


class _Pending:
    """Seconds of unpickling that no item has been charged with, in this process."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def put(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def take(self) -> float:
        """Return the sum; another thread may have opened the items."""
        total = 0.0
        while self._seconds:
            with contextlib.suppress(IndexError):  # another thread was quicker
                total += self._seconds.pop()
        return total


_here = _Here()
_pending = _Pending()


class _Timed:
    """A value that tells how long it takes to pickle, and to rebuild."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def dumped(self, seconds: float) -> None:
        """Note how long it took to pickle the value."""


class _End:
    """Comes after the value in a pickle, and so knows when that was done."""

    __slots__ = ("_began_s", "_owner")

    def __init__(self, owner: _Timed) -> None:
        self._owner, self._began_s = owner, time.perf_counter()

    def __reduce__(self) -> tuple[Any, ...]:
        self._owner.dumped(time.perf_counter() - self._began_s)
        return time.perf_counter, ()


class _Begin:
    """Comes before the value in a pickle, and becomes the time when it is rebuilt."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return time.perf_counter, ()


class _Item(_Timed):
    """An item with its number."""

    __slots__ = ("number",)

    def __init__(self, number: int, value: Any) -> None:
        super().__init__(value)
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_item, (self.number, _Begin(), self.value, _End(self))


def _rebuild_item(number: int, began_s: float, value: Any, ended_s: float) -> _Item:
    _pending.put(ended_s - began_s)
    return _Item(number, value)


class _Result(_Timed):
    """A result on its way from where it was computed."""

    __slots__ = ("_folder",)

    def __init__(self, value: Any, folder: str) -> None:
        super().__init__(value)
        self._folder = folder

    def dumped(self, seconds: float) -> None:
        # Another thread may pickle than has computed; then nobody is charged.
        book = _here.books.get(self._folder)
        if book is not None and book.pid == os.getpid():
            book.add(seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_result, (self._folder, self.value, _End(self))


def _rebuild_result(folder: str, value: Any, ended_s: float) -> _Result:
    del ended_s
    return _Result(value, folder)


@dataclasses.dataclass(frozen=True)
class _Stamped:
    """The function of an item."""

    func: Callable[[Any], Any]
    folder: str

    def __call__(self, item: _Item) -> _Result:
        book = _here.book(self.folder)
        result = book.write(self.func, item.value, item.number, 1)
        return _Result(result, self.folder)


@dataclasses.dataclass(frozen=True)
class _StampedWhole:
    """The function of many items at once, which gets them as it always does."""

    func: Callable[[Any], Any]
    folder: str
    #: All of them.
    items: Any

    def __call__(self, items: Sequence[_Item]) -> Any:
        first = items[0].number if len(items) else 0
        part = self.items[first : first + len(items)]
        return _here.book(self.folder).write(self.func, part, first, len(items))


@dataclasses.dataclass(frozen=True)
class _StampedLater:
    """Compiles, and stamps what was compiled."""

    compiled: Callable[[], Callable[[Any], Any]]
    folder: str

    def __call__(self) -> _Stamped:
        return _Stamped(self.compiled(), self.folder)


@dataclasses.dataclass(frozen=True)
class _Unwrapped:
    """The combination, of results in wrappers or of its own answers."""

    combine: Callable[[list[Any]], Any]

    def __call__(self, results: list[Any]) -> Any:
        return self.combine(
            [one.value if isinstance(one, _Result) else one for one in results]
        )
