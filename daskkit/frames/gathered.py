"""Results of pandas rows on their way back: numbers as arrays, all else as lists.

Hundreds of thousands of floats as a list of objects cost more to send, to join and to
make a Series of than many a function costs that returns them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Gathered", "gather"]

# Types that pandas makes the same column of, and whose values one array can hold.
_TWINS = (
    (float, np.dtype(np.float64)),
    (int, np.dtype(np.int64)),
    (bool, np.dtype(np.bool_)),
)


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """Numbers of one dtype, some of them Python's own."""

    array: np.ndarray[Any, Any]
    #: One byte a number, 1 for Python's own; or whether all are.
    python: bytes | bool

    def to_list(self) -> list[Any]:
        """Return the numbers as they were, each of its type."""
        if self.python is True:
            numbers: list[Any] = self.array.tolist()
            return numbers
        if self.python is False:
            return list(self.array)
        pairs = zip(self.array, self.python, strict=True)
        return [one.item() if is_python else one for one, is_python in pairs]


@dataclasses.dataclass(frozen=True)
class Gathered:
    """Results of neighbouring rows, in order.

    Parameters
    ----------
    pieces : sequence of list or _Numbers
        One after the other.
    """

    pieces: Sequence[list[Any] | _Numbers]

    def to_list(self) -> list[Any]:
        """Return the results as the function returned them."""
        results: list[Any] = []
        for piece in self.pieces:
            results += piece.to_list() if isinstance(piece, _Numbers) else piece
        return results

    def to_array(self) -> np.ndarray[Any, Any] | None:
        """Return the results as an array if all are numbers of one kind, else None."""
        arrays = [piece.array for piece in self.pieces if isinstance(piece, _Numbers)]
        kinds = {array.dtype for array in arrays}
        if len(arrays) < len(self.pieces) or len(kinds) > 1:
            return None
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def gather(results: Sequence[Any]) -> Gathered:
    """Return results in the form in which they travel; what `Work.combine` takes.

    Parameters
    ----------
    results : sequence
        What a function returned for neighbouring rows, at least one; or `Gathered` of
        neighbours.

    Returns
    -------
    Gathered

    Examples
    --------
    >>> both = gather([gather([0.5, np.float64(1.5)]), gather([2.5])])
    >>> both.to_array()
    array([0.5, 1.5, 2.5])
    >>> both.to_list()
    [0.5, np.float64(1.5), 2.5]
    >>> gather([0.5, "text"]).to_array() is None
    True
    """
    if isinstance(results[0], Gathered):
        return Gathered([piece for one in results for piece in one.pieces])
    return Gathered([_find_numbers(results) or list(results)])


def _find_numbers(results: Sequence[Any]) -> _Numbers | None:
    """Return results as an array if all are Python's or NumPy's numbers of one kind."""
    kinds = set(map(type, results))
    for python, dtype in _TWINS:
        if kinds <= {python, dtype.type}:
            try:
                array = np.fromiter(results, dtype, len(results))
            except OverflowError:  # an int of more than 64 bits
                return None
            if len(kinds) == 1:
                return _Numbers(array, python in kinds)
            return _Numbers(array, bytes(type(one) is python for one in results))
    return None
