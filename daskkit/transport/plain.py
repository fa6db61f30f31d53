"""Lists of numbers, of short texts or of tuples of them, which travel with less care.

Nothing in them can be shared, refers to a module, or runs code when it is rebuilt; so a
pickle is all there is to it. `auto.pack` takes 0.3 ms of a lane that has just executed
items, and lanes answer some ten times a second.
"""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING, Any

from daskkit.transport.auto import SHARE_FROM, Packed, unpack
from daskkit.transport.partition import Partition
from daskkit.transport.scratch import pickle_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Sent", "count_bytes", "dump_plain", "open_sent"]

#: What a batch of items or results travels as.
Sent = Packed | bytes

_NUMBERS: frozenset[type] = frozenset({bool, complex, float, int, type(None)})
_TEXTS: frozenset[type] = frozenset({bytes, str})
_LISTS: frozenset[type] = frozenset({list, Partition})
# To look at more takes longer than is saved, and large ones are better shared.
_MOST, _MOST_BYTES = 10_000, SHARE_FROM


def dump_plain(value: Any) -> bytes | None:
    """Return a plain list, of tuples or not, or a range as bytes; None for others.

    Parameters
    ----------
    value : object
        What is to be sent.

    Returns
    -------
    bytes or None
        For `open_sent`; a `Partition` arrives as a list.

    Examples
    --------
    >>> open_sent(dump_plain([1, None, "text"]))
    [1, None, 'text']
    >>> open_sent(dump_plain([(1, "a"), (2, "b")]))
    [(1, 'a'), (2, 'b')]
    >>> dump_plain([[1]]) is None
    True
    """
    if type(value) is range:
        return pickle_plain(value)
    if type(value) not in _LISTS or len(value) > _MOST:
        return None
    kinds = set(map(type, value))
    elements = value
    if kinds == {tuple}:
        if sum(map(len, value)) > _MOST:
            return None
        elements = list(itertools.chain.from_iterable(value))
        kinds = set(map(type, elements))
    if not _are_plain(elements, kinds):
        return None
    return pickle_plain(value if type(value) is list else [*value])


def _are_plain(elements: Sequence[Any], kinds: set[type]) -> bool:
    """Return whether elements of such types are numbers and short texts."""
    if kinds <= _NUMBERS:
        return True
    if not kinds <= _NUMBERS | _TEXTS:
        return False
    if kinds & _NUMBERS:
        elements = [element for element in elements if type(element) in _TEXTS]
    return sum(map(len, elements)) <= _MOST_BYTES


def open_sent(sent: Sent) -> Any:
    """Return what was sent; it is not opened a second time.

    Parameters
    ----------
    sent : Packed or bytes
        By `daskkit.transport.auto.pack` or by `dump_plain`.

    Returns
    -------
    object

    Raises
    ------
    TransportError, NoRoomError
        As `daskkit.transport.auto.unpack`.
    """
    return pickle.loads(sent) if type(sent) is bytes else unpack(sent, last=True)  # type: ignore[arg-type] # mypy knows no `type(...) is`


def count_bytes(sent: Sent) -> int:
    """Return the size of what was sent, shared or not."""
    return len(sent) if isinstance(sent, bytes) else sent.n_bytes
