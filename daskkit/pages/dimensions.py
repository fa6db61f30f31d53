"""Columns of a table as parallel axes: where values lie, and which ticks they have."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import TYPE_CHECKING, Any, Final

from daskkit.errors import ArgumentError
from daskkit.pages.theme import SERIES, color

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Dimension",
    "choose_dimensions",
    "make_dimension",
    "order_categories",
    "style_rows",
]

# Beyond this quotient a linear axis would show its small values as one.
_LOG_FROM: Final = 20.0
_N_TICKS: Final = 5
# So few different numbers are all shown as ticks: 1, 2 and 4 workers.
_FEW: Final = 6
# Where rows lie that have no value.
_NOWHERE: Final = -0.1
# More categories than this can't be told apart by their colour.
_MOST_SERIES: Final = len(SERIES)


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One column as a vertical axis from 0 (bottom) to 1 (top)."""

    #: The column.
    name: str
    #: What the axis is called.
    label: str
    #: Where each row lies; below the axis, at -0.1, if it has no value.
    positions: tuple[float, ...]
    #: Where ticks are, and what they say.
    ticks: tuple[tuple[float, str], ...]


def choose_dimensions(
    columns: Mapping[str, Sequence[Any]], dimensions: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns to be drawn, or raise.

    Parameters
    ----------
    columns : mapping of str to sequence
        All columns, of the same length; a DataFrame is one.
    dimensions : sequence of str, optional
        Which of them, in this order. Default: all.

    Returns
    -------
    tuple of str

    Raises
    ------
    ArgumentError
        If there is no such column.

    Examples
    --------
    >>> choose_dimensions({"workers": [1, 2], "wall_s": [2.0, 1.0]}, ["wall_s"])
    ('wall_s',)
    """
    names = tuple(columns) if dimensions is None else tuple(dimensions)
    unknown = [name for name in names if name not in columns]
    if unknown:
        msg = (
            f"there is no column {unknown[0]!r}; there are: "
            f"{', '.join(map(str, columns))}"
        )
        raise ArgumentError(msg)
    return names


def make_dimension(name: str, values: Sequence[Any], label: str) -> Dimension:
    """Return a column as an axis.

    Parameters
    ----------
    name : str
        The column.
    values : sequence
        Numbers make a scale, logarithmic where they differ more than twentyfold;
        anything else makes categories, in the order in which they appear.
    label : str
        What the axis is called.

    Returns
    -------
    Dimension

    Examples
    --------
    >>> make_dimension("n", [1, 3, 2], "n (number)").positions
    (0.0, 1.0, 0.5)
    >>> make_dimension("b", ["bag", "loop"], "back end").ticks
    ((0.25, 'bag'), (0.75, 'loop'))
    """
    if all(_is_number(value) for value in values):
        return _make_scale(name, [float(value) for value in values], label)
    texts = [str(value) for value in values]
    found = list(dict.fromkeys(texts))
    at = {text: (index + 0.5) / len(found) for index, text in enumerate(found)}
    return Dimension(
        name,
        label,
        tuple(at[text] for text in texts),
        tuple((place, text) for text, place in at.items()),
    )


def order_categories(values: Sequence[Any]) -> list[str]:
    """Return the different values of a column in the order in which they are drawn.

    Parameters
    ----------
    values : sequence

    Returns
    -------
    list of str
        Numbers from the smallest to the largest, anything else as it appears.

    Examples
    --------
    >>> order_categories([8, 1, 8, 2]), order_categories(["ok", "failed", "ok"])
    (['1', '2', '8'], ['ok', 'failed'])
    """
    found = list(dict.fromkeys(values))
    if all(_is_number(value) for value in found):
        found.sort()
    return list(dict.fromkeys(map(str, found)))


def style_rows(values: Sequence[Any] | None, n_rows: int) -> dict[str, list[Any]]:
    """Return colour, dash and series of each row by a column's values.

    Parameters
    ----------
    values : sequence, optional
        Of the column; None draws all rows alike.
    n_rows : int
        How many rows there are.

    Returns
    -------
    dict of str to list
        "color", "dash" and "series". Values beyond the first eight share the last
        look but one of them.

    Examples
    --------
    >>> style_rows(["a", "b", "a"], 3)["dash"]
    ['solid', 'dashed', 'solid']
    """
    texts = [""] * n_rows if values is None else [str(value) for value in values]
    found = list(dict.fromkeys(texts))
    looks = {
        text: SERIES[min(index, _MOST_SERIES - 1)] for index, text in enumerate(found)
    }
    return {
        "color": [color(looks[text][0]) for text in texts],
        "dash": [looks[text][1] for text in texts],
        "series": texts,
    }


def _make_scale(name: str, values: list[float], label: str) -> Dimension:
    finite = sorted({value for value in values if math.isfinite(value)})
    low, high = (finite[0], finite[-1]) if finite else (0.0, 0.0)
    is_log = 0.0 < low < high / _LOG_FROM
    scaled = math.log if is_log else float
    span = scaled(high) - scaled(low) if high > low else 1.0
    floor = scaled(low) if high > low else low - 0.5

    def place(value: float) -> float:
        if not math.isfinite(value):
            return _NOWHERE
        return (scaled(value) - floor) / span

    if len(finite) <= _FEW:
        ticks = [(place(mark), f"{mark:.4g}") for mark in finite]
    else:
        shares = [index / (_N_TICKS - 1) for index in range(_N_TICKS)]
        marks = [floor + span * share for share in shares]
        texts = [f"{math.exp(mark) if is_log else mark:.3g}" for mark in marks]
        ticks = list(zip(shares, texts, strict=True))
    if len(finite) < len(set(values)):
        ticks.append((_NOWHERE, "none"))
    return Dimension(name, label, tuple(map(place, values)), tuple(ticks))


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
