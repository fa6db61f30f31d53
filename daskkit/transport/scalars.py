"""NumPy scalars in a list, which travel as arrays.

A scalar such as ``numpy.float64(0.5)`` is pickled by itself: 1.5 us, and as much to
rebuild it, where a Python float takes 0.02 us. Functions of pandas rows return them all
the time, often among other things. Bottom layer; imports NumPy where it is there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Columns", "find_scalars", "join_scalars", "split_scalars"]

# Fewer elements aren't worth the trouble.
_FEWEST = 32
# So many elements are looked at before all of them are.
_SAMPLED = 16
# More types than that are something else than numbers.
_MOST_TYPES = 8


class Columns(NamedTuple):
    """The elements of a list by type."""

    #: The number of each element's column, one byte an element; None for a single one.
    codes: bytes | None
    #: Elements of one type each: an array, or a list.
    columns: list[Any]


def find_scalars(value: Any) -> Any:
    """Return a list of NumPy scalars of one type as an array, None for any other.

    Parameters
    ----------
    value : list or tuple
        Elements of any kind.

    Returns
    -------
    numpy.ndarray or None
        ``list(array)`` has equal elements of the same type.

    Examples
    --------
    >>> import numpy as np
    >>> find_scalars([np.float32(0.5), np.float32(1.5)])
    array([0.5, 1.5], dtype=float32)
    >>> find_scalars([0.5, 1.5]) is None
    True
    """
    if not value or not _is_scalar(value[0]) or len(set(map(type, value))) > 1:
        return None
    return _to_array(value)


def split_scalars(value: Any) -> Columns | None:
    """Return the elements of a list by type, if there are NumPy scalars among them.

    Parameters
    ----------
    value : object
        Only a list or tuple of at least 32 elements is looked at.

    Returns
    -------
    Columns or None
        To be joined by `join_scalars`; None if it is better pickled as it is.

    Examples
    --------
    >>> import numpy as np
    >>> columns = split_scalars([np.float64(0.5), None] * 16)
    >>> join_scalars(columns)[:2]
    [np.float64(0.5), None]
    """
    if not isinstance(value, (list, tuple)) or len(value) < _FEWEST:
        return None
    if not any(map(_is_scalar, value[:: len(value) // _SAMPLED])):
        return None
    types = list(map(type, value))
    numbers = {kind: i for i, kind in enumerate(dict.fromkeys(types))}
    if len(numbers) > _MOST_TYPES:
        return None
    if len(numbers) == 1:
        array = _to_array(value)
        return None if array is None else Columns(None, [array])
    codes = bytes(map(numbers.__getitem__, types))
    columns: list[Any] = [[] for _ in numbers]
    appends = [column.append for column in columns]
    for code, element in zip(codes, value, strict=True):
        appends[code](element)
    for i, column in enumerate(columns):
        array = _to_array(column) if _is_scalar(column[0]) else None
        columns[i] = column if array is None else array
    return Columns(codes, columns)


def join_scalars(split: Columns) -> list[Any]:
    """Return the list that was split.

    Parameters
    ----------
    split : Columns
        As made by `split_scalars`.

    Returns
    -------
    list
    """
    if split.codes is None:
        return list(split.columns[0])
    elements = [iter(column) for column in split.columns]
    return [next(elements[code]) for code in split.codes]


def _is_scalar(element: Any) -> bool:
    """Return whether an element is a scalar that an array gives back as it is."""
    kind = type(element)
    if kind.__module__ != "numpy":
        return False
    dtype = getattr(element, "dtype", None)
    # Not an array, and not text, which an array would pad.
    return dtype is not None and dtype.type is kind and dtype.kind in "biufcmM"


def _to_array(scalars: Any) -> Any:
    """Return scalars of one type as an array, None where it would change them."""
    import numpy as np

    dtype = scalars[0].dtype
    if dtype.kind in "mM" and any(scalar.dtype != dtype for scalar in scalars):
        return None  # times of several units
    return np.fromiter(scalars, dtype, len(scalars))
