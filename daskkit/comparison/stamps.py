"""Light stamps on the batches of any back end: who did what, and when.

The function and the items of a workload are wrapped. Each thread that executes items
keeps a book (`comparison.books`), in which items that follow each other without a pause
are one stamp. What is pickled carries the time of that with it, and who rebuilds it
writes down both. Used in an execution of its own, whose time counts for nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import sys
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any

from daskkit.comparison.books import (
    PAUSE_S,
    note_ready,
    open_book,
    open_books,
    put_stamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.records import Workload

__all__ = ["size_of", "stamp_workload"]

# Timing a value takes 10 us at its two ends, whatever its size. Below this size that is
# several times what is timed (1 KiB: pickled and rebuilt in 0.5 us, carried through a
# pipe in 2), and the ledger would show what it costs itself; beyond it many values add
# up to bytes that are worth to be counted. From 64 KiB on, pickling takes longer.
_SMALL_BYTES = 1_024
# Of these it is known without a look.
_NUMBERS = frozenset({int, float, bool, type(None)})
# Of a long list the first elements stand for all.
_FEW = 10


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
        results, most of them in wrappers, and not to be used.

    Examples
    --------
    >>> import tempfile
    >>> from daskkit.comparison.books import read_stamps
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
        items=[_number(i, item, folder) for i, item in enumerate(workload.items)],
        combine=None if workload.combine is None else _Unwrapped(workload.combine),
        vectorized=(
            None
            if workload.vectorized is None
            else _StampedWhole(workload.vectorized, folder, workload.items)
        ),
        compiled=None if compiled is None else _StampedLater(compiled, folder),
    )


class _End:
    """Comes after the value in a pickle, and so knows when that was done."""

    __slots__ = ("_began_s",)

    def __init__(self) -> None:
        self._began_s = perf_counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return _tell_end, (os.getpid(), self._began_s, perf_counter())


def _tell_end(
    pid: int, began_s: float, ended_s: float
) -> tuple[int, float, float, float]:
    """Return who has packed a value, when, and that it is rebuilt now."""
    return pid, began_s, ended_s, perf_counter()


class _Begin:
    """Comes before the value in a pickle, and becomes the time when it is rebuilt."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return perf_counter, ()


class _Numbered:
    """A value with its number, which tells when it is pickled and rebuilt."""

    __slots__ = ("_folder", "_n_bytes", "number", "value")
    is_result = False

    def __init__(self, number: int, value: Any, folder: str, n_bytes: int) -> None:
        self.number, self.value = number, value
        self._folder, self._n_bytes = folder, n_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        head = (type(self), self.number, self._folder, self._n_bytes)
        return _rebuild, (head, _Begin(), self.value, _End())


class _Item(_Numbered):
    """A large item on its way to where it is executed."""

    __slots__ = ()


def _number(number: int, item: Any, folder: str) -> tuple[int, Any] | _Item:
    """Return an item with its number; a small one as what is pickled without Python."""
    n_bytes = size_of(item)
    if n_bytes < _SMALL_BYTES:
        return number, item
    return _Item(number, item, folder, n_bytes)


def _number_of(item: tuple[int, Any] | _Item) -> int:
    return item[0] if isinstance(item, tuple) else item.number


class _Result(_Numbered):
    """A result on its way from where it was computed."""

    __slots__ = ()
    is_result = True


def _rebuild(
    head: tuple[type[_Numbered], int, str, int],
    began_s: float,
    value: Any,
    end: tuple[int, float, float, float],
) -> _Numbered:
    kind, number, folder, n_bytes = head
    pid, packed_s, sent_s, ended_s = end
    packing, opening = sent_s - packed_s, ended_s - began_s
    times = [packed_s, sent_s, packing, began_s, ended_s, opening]
    with contextlib.suppress(FileNotFoundError):  # an answer may outlast the stamps
        open_book(folder).open([*times, number, 1, n_bytes, pid, int(kind.is_result)])
    return kind(number, value, folder, n_bytes)


def size_of(value: Any) -> int:
    """Return about how many bytes a value is, without a copy of it.

    Parameters
    ----------
    value : object
        Of long lists the first elements are looked at.

    Returns
    -------
    int

    Examples
    --------
    >>> size_of(b"12345678"), size_of([b"1234"] * 1_000)
    (8, 4000)
    """
    n_bytes = getattr(value, "nbytes", None)
    if isinstance(n_bytes, int):
        return n_bytes
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, (list, tuple, set, frozenset, dict)) and value:
        some = value.items() if isinstance(value, dict) else value
        few = list(itertools.islice(some, _FEW))
        return round(sum(map(size_of, few)) / len(few) * len(value))
    if hasattr(value, "memory_usage"):  # a DataFrame
        return int(sum(value.memory_usage()))
    return sys.getsizeof(value)


@dataclasses.dataclass(frozen=True)
class _Stamped:
    """The function of an item."""

    func: Callable[[Any], Any]
    folder: str

    def __call__(self, item: tuple[int, Any] | _Item) -> Any:
        """Return what the function does, written down as `Book.write` would.

        All in one: amid other work each call of Python takes 5 us on some machines, as
        it has left the processor's caches.
        """
        if type(item) is tuple:
            number, value = item
        else:
            number, value = item.number, item.value  # type: ignore[union-attr]
        try:
            book = open_books[self.folder][get_ident()]
        except KeyError:
            book = open_book(self.folder)
        if number != book.next or perf_counter() - book.end_s > PAUSE_S:
            book.begin(number)
        try:
            result = self.func(value)
        finally:
            book.next = number + 1
            book.n_items += 1
            end_s = book.end_s = perf_counter()
            if end_s - book.seen_s > book.look_after_s:
                book.look(end_s)
            start_s, first = book.begun
            put_stamp(
                book.map,
                book.offset,
                start_s,
                end_s,
                book.seen_s,
                book.cpu_s,
                first,
                book.n_items,
            )
        if type(result) in _NUMBERS or (n_bytes := size_of(result)) < _SMALL_BYTES:
            return result
        return _Result(number, result, self.folder, n_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_stamped, (_Begin(), self.func, self.folder)


def _rebuild_stamped(
    began_s: float, func: Callable[[Any], Any], folder: str
) -> _Stamped:
    """Return the function; by now all that it needs has been imported."""
    note_ready(folder, began_s)
    return _Stamped(func, folder)


@dataclasses.dataclass(frozen=True)
class _StampedWhole:
    """The function of many items at once, which gets them as it always does."""

    func: Callable[[Any], Any]
    folder: str
    #: All of them.
    items: Any

    def __call__(self, items: Sequence[tuple[int, Any] | _Item]) -> Any:
        first = _number_of(items[0]) if len(items) else 0
        part = self.items[first : first + len(items)]
        return open_book(self.folder).write(self.func, part, first, len(items))


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
