"""The inputs of verbs, eager and lazy: checked, joined, and made fit to be cut."""

from __future__ import annotations

from daskkit.arguments import check_callable
from daskkit.errors import ArgumentError
from daskkit.loop import short_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = ["check_combine", "check_iterable", "to_sequence", "zip_inputs"]


def zip_inputs(iterables: tuple[Iterable[Any], ...]) -> Iterable[Any]:
    """Return the items of one or several inputs, to the end of the shortest.

    Parameters
    ----------
    iterables : tuple of iterable
        As a verb takes them after its function.

    Returns
    -------
    iterable
        The input itself if there is only one, else tuples.

    Raises
    ------
    ArgumentError
        If there is none, or one can't be iterated over.

    Examples
    --------
    >>> list(zip_inputs(([1, 2], "ab")))
    [(1, 'a'), (2, 'b')]
    """
    if not iterables:
        msg = "at least one iterable of items is needed after func; received none"
        raise ArgumentError(msg)
    for i, iterable in enumerate(iterables):
        check_iterable(iterable, f"argument {i + 1} after func")
    if len(iterables) == 1:
        return iterables[0]
    return zip(*iterables)  # noqa: B905 - to the end of the shortest, as map


def check_iterable(items: Any, what: str) -> Iterable[Any]:
    """Return an input, or raise ArgumentError if it can't be iterated over.

    Examples
    --------
    >>> check_iterable([1, 2], "items")
    [1, 2]
    """
    try:
        iter(items)
    except TypeError:
        msg = (
            f"{what} must be iterable, received {short_repr(items)} of type "
            f"{type(items).__name__}"
        )
        raise ArgumentError(msg) from None
    checked: Iterable[Any] = items
    return checked


def check_combine(combine: Any) -> None:
    """Raise ArgumentError if something can't combine results.

    Examples
    --------
    >>> check_combine(sum)
    """
    check_callable(combine, "combine", "combine(list_of_results)")


def to_sequence(items: Iterable[Any]) -> Sequence[Any]:
    """Return items that can be cut; those that can't are read into a list.

    Examples
    --------
    >>> to_sequence(range(3)), to_sequence({"a": 1})
    (range(0, 3), ['a'])
    """
    # An array is recognised by its attributes, so that numpy need not be imported.
    is_array = type(items).__module__ == "numpy" and hasattr(items, "ndim")
    if is_array or isinstance(items, (list, tuple, range)):
        return items  # type: ignore[return-value] # an array is as good as a sequence
    return list(items)
