"""The items of a call, handed out in parts; what comes back is handed out again."""

from __future__ import annotations

import bisect
import itertools
import threading
import time
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = ["Part", "Source", "Window"]

# Reading the input holds up whoever does it for at most about this long.
_READ_S = 0.01
# From so many items on, a slice costs more than a window.
_WINDOW_FROM = 256


class Window(Sequence["Any"]):
    """Consecutive items of a list or tuple, without a copy.

    For trivial items a slice takes 3 % of the time of the loop over it.

    Parameters
    ----------
    sequence : list or tuple
        Of which it is a part.
    start, stop : int
        Index of the first of its items, and of the first after them.

    Examples
    --------
    >>> window = Window([1, 2, 3, 4], 1, 3)
    >>> list(window), window[0], window[-1:]
    ([2, 3], 2, [3])
    """

    __slots__ = ("_sequence", "_start", "_stop")

    def __init__(self, sequence: Any, start: int, stop: int) -> None:
        self._sequence = sequence
        self._start, self._stop = start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            if step != 1:
                return self._sequence[self._start : self._stop][index]
            return self._sequence[self._start + first : self._start + max(first, end)]
        return self._sequence[range(self._start, self._stop)[index]]

    def __iter__(self) -> Iterator[Any]:
        iterator: Any = iter(self._sequence)
        iterator.__setstate__(self._start)  # where its pickle would go on
        if self._stop == len(self._sequence):
            return iterator  # type: ignore[no-any-return]
        return itertools.islice(iterator, len(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self[:],)


class Part:
    """Consecutive items; a record that nobody changes."""

    __slots__ = ("is_suspect", "items", "start")

    def __init__(
        self, start: int, items: Sequence[Any], *, is_suspect: bool = False
    ) -> None:
        #: Index of the first in the input.
        self.start = start
        self.items = items
        #: Whether a worker has died with one of them: never to be executed in the
        #: caller.
        self.is_suspect = is_suspect

    @property
    def stop(self) -> int:
        """Index of the first item after them."""
        return self.start + len(self.items)

    def between(self, start: int, stop: int) -> Part:
        """Return the items from index `start` up to `stop`."""
        offset = self.start
        items = self.items[start - offset : stop - offset]
        return Part(start, items, is_suspect=self.is_suspect)

    def marked(self, *, is_suspect: bool) -> Part:
        """Return the same items, suspected or not."""
        return Part(self.start, self.items, is_suspect=is_suspect)


class Source:
    """Items by parts, from any thread.

    Parameters
    ----------
    items : iterable
        A list, tuple, range or array is sliced. Anything else is read into a list now,
        or as needed with `is_stream`, each item once.
    is_stream : bool, default False
        Whether the input may be endless.

    Examples
    --------
    >>> source = Source(range(10))
    >>> part = source.take(4)
    >>> part.start, part.items
    (0, range(0, 4))
    >>> source.give_back(part.between(2, 4))
    >>> source.take(5).items, source.take(9).items, source.take(1)
    (range(2, 4), range(4, 10), None)
    """

    def __init__(self, items: Iterable[Any], *, is_stream: bool = False) -> None:
        self._sequence: Any = None
        self._iterator: Iterator[Any] | None = None
        self.n_items: int | None = None
        if isinstance(items, (list, tuple, range)) or _is_array(items):
            self._sequence = items
        elif is_stream:
            self._iterator = iter(items)
        else:
            self._sequence = list(items)
        if self._sequence is not None:
            self.n_items = len(self._sequence)
        # Not for subclasses, whose iteration may be their own.
        self._has_windows = type(self._sequence) in {list, tuple}
        self._position = 0
        self._returned: list[Part] = []
        self._lock = threading.Lock()
        # Reading an input may take its time; what was returned is at hand meanwhile.
        self._reading = threading.Lock()
        self._read_s = 0.0
        self._error: Exception | None = None

    @property
    def sequence(self) -> Sequence[Any] | None:
        """All items, where they are known from the start."""
        known: Sequence[Any] | None = self._sequence
        return known

    @property
    def n_left(self) -> int | None:
        """Items that nobody has; None if that can't be known."""
        if self.n_items is None:
            return None
        returned = sum(len(part.items) for part in self._returned)
        return self.n_items - self._position + returned

    @property
    def n_read(self) -> int:
        """Items that have been handed out at least once."""
        return self._position

    @property
    def has_returned(self) -> bool:
        """Whether items were given back."""
        return bool(self._returned)

    @property
    def has_suspects(self) -> bool:
        """Whether items wait that a worker has died with."""
        return any(part.is_suspect for part in list(self._returned))

    @property
    def is_empty_here(self) -> bool:
        """Whether nothing is left that may be executed in the caller."""
        if any(not part.is_suspect for part in list(self._returned)):
            return False
        return self.n_items is not None and self._position >= self.n_items

    @property
    def is_empty(self) -> bool:
        """Whether all items have been handed out, as far as is known."""
        if self._returned:
            return False
        return self.n_items is not None and self._position >= self.n_items

    def take(
        self, n_items: int, *, here: bool = False, fresh: bool = True
    ) -> Part | None:
        """Return the next items, at least one, or None if there are none left.

        Parameters
        ----------
        n_items : int
            At most so many; fewer if reading more would take long.
        here : bool, default False
            Leave what may kill the process to others.
        fresh : bool, default True
            False for items only that were handed out before and given back.

        Raises
        ------
        Exception
            What reading the input raised.
        """
        with self._lock:
            for i, part in enumerate(self._returned):
                if part.is_suspect and here:
                    continue
                del self._returned[i]
                if not part.is_suspect and len(part.items) > n_items:
                    cut = part.start + n_items
                    self._returned.insert(i, part.between(cut, part.stop))
                    part = part.between(part.start, cut)  # noqa: PLW2901 - the rest is back
                return part
            if not fresh:
                return None
            if self._iterator is None:
                if self._position >= len(self._sequence):
                    return None
                start = self._position
                stop = min(start + n_items, len(self._sequence))
                self._position = stop
                if here and n_items >= _WINDOW_FROM and self._has_windows:
                    return Part(start, Window(self._sequence, start, stop))
                return Part(start, self._sequence[start:stop])
        return self._read(n_items)

    def give_back(self, part: Part) -> None:
        """Hand items out again, before those that follow them."""
        if len(part.items):
            with self._lock:
                bisect.insort(self._returned, part, key=lambda one: one.start)

    def _read(self, n_items: int) -> Part | None:
        """Return items of an input that can only be read once, in order."""
        with self._reading:
            iterator = self._iterator
            if iterator is None:
                return None
            if self._read_s > 0:
                n_items = max(1, min(n_items, int(_READ_S / self._read_s)))
            began = time.perf_counter()
            items: list[Any] = []
            if self._error is None:
                try:
                    items.extend(itertools.islice(iterator, n_items))
                except Exception as error:  # noqa: BLE001 - raised after these items
                    self._error = error
            if self._error is not None and not items:
                raise self._error
            with self._lock:
                start = self._position
                self._position += len(items)
                if len(items) < n_items and self._error is None:
                    self._iterator, self._sequence = None, ()
                    self.n_items = self._position
            if not items:
                return None
            self._read_s = (time.perf_counter() - began) / len(items)
            return Part(start, items)


def _is_array(items: Any) -> bool:
    return (
        type(items).__module__ == "numpy"
        and type(items).__name__ == "ndarray"
        and bool(items.ndim)
    )
