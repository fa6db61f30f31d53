"""The inner loop: one function over some items, where an error names its item.

Bottom layer, beside the records; runs in the caller and in workers alike.
"""

from __future__ import annotations

import itertools
import operator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from daskkit.transport.partition import Partition

__all__ = ["index_of_failure", "name_item", "run_items", "short_repr"]

_LONGEST_REPR = 80


def run_items(
    func: Callable[[Any], Any], items: Collection[Any], start: int = 0
) -> Partition:
    """Return ``func(item)`` of some items, as one partition.

    Parameters
    ----------
    func : callable
        ``func(item)``.
    items : collection
        The items of this part, in order.
    start : int, default 0
        Index of the first of them in the whole input, for error messages.

    Returns
    -------
    Partition
        A list of the results that travels between processes as one object.

    Raises
    ------
    Exception
        What `func` raised, with a note that names the item.

    Examples
    --------
    >>> run_items(abs, [-1, 2])
    [1, 2]
    """
    # Others only want what names an item, and soon.
    from daskkit.transport.partition import Partition

    results = Partition()
    try:
        # extend() over map() keeps what is done when an item raises, so that the
        # index of the guilty one costs nothing while all goes well.
        results.extend(map(func, items))
    except Exception as error:
        done = len(results)
        name_item(error, start + done, *itertools.islice(items, done, done + 1))
        raise
    return results


def index_of_failure(n_items: int, iterator: Iterator[Any]) -> int:
    """Return the index of the item that a sequence's iterator yielded last.

    Parameters
    ----------
    n_items : int
        Length of the sequence.
    iterator : iterator
        Made by ``iter(sequence)``; its length hint counts what is left.

    Returns
    -------
    int

    Examples
    --------
    >>> iterator = iter([3, 1, 4])
    >>> _ = next(iterator), next(iterator)
    >>> index_of_failure(3, iterator)
    1
    """
    return n_items - operator.length_hint(iterator) - 1


def name_item(error: BaseException, index: int, *item: object) -> None:
    """Add a note to an exception that says which item raised it.

    Parameters
    ----------
    error : BaseException
        Changed in place.
    index : int
        Index of the item in the whole input.
    *item : object
        The item itself, where it is at hand.
    """
    value = f" (value {short_repr(item[0])})" if item else ""
    error.add_note(f"raised by item {index}{value}")


def short_repr(value: object) -> str:
    """Return the repr of a value in one line of at most 80 characters.

    Parameters
    ----------
    value : object
        A repr that raises is replaced by the type's name.

    Returns
    -------
    str

    Examples
    --------
    >>> short_repr("x" * 100)[-5:]
    'xx...'
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - a broken repr must not hide the real error
        text = f"<{type(value).__name__}>"
    if len(text) > _LONGEST_REPR:
        return text[: _LONGEST_REPR - 3] + "..."
    return text
