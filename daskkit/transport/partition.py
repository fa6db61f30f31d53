"""The type in which a batch of results or arguments travels between processes.

Bottom layer: knows nothing of clusters and imports neither NumPy nor Dask. When
distributed serialises an exact ``list``, ``tuple``, ``set`` or ``dict`` it makes a
frame of each element (about 20 us each); an instance of a subclass is pickled whole. So
nothing in daskkit sends a bare container between processes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from daskkit.transport.scalars import Columns, join_scalars, split_scalars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Partition", "send_whole"]

#: Up to this length all elements are measured, beyond it this many, evenly spread.
_MEASURED = 1000


class Partition(list[Any]):
    """A list that is serialised as one object, and arrives as a `Partition`.

    By pickle protocol 5 with its buffers out of band; by cloudpickle only where plain
    pickle fails or would be wrong in another process.

    Parameters
    ----------
    items : iterable, optional
        The elements.

    Examples
    --------
    >>> Partition([1, 2]) == [1, 2]
    True
    """

    __slots__ = ()

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        _register_sizeof()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(Partition, list, self, protocol)


class _ListOnce(list[Any]):
    """A list that is sent whole and arrives as an exact list."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(list, list, self, protocol)


class _TupleOnce(tuple[Any, ...]):
    """A tuple that is sent whole and arrives as an exact tuple."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(tuple, tuple, self, protocol)


class _SetOnce(set[Any]):
    """A set that is sent whole and arrives as an exact set."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(set, set, self, protocol)


class _DictOnce(dict[Any, Any]):
    """A dict that is sent whole and arrives as an exact dict."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(dict, dict, self, protocol)


_ONCE: dict[type, Callable[[Any], Any]] = {
    list: _ListOnce,
    tuple: _TupleOnce,
    set: _SetOnce,
    dict: _DictOnce,
}


def send_whole(value: Any) -> Any:
    """Return `value`, in a form that Dask sends as one object if it is a container.

    Parameters
    ----------
    value : object
        The result of a task, about to leave its worker.

    Returns
    -------
    object
        For an exact list, tuple, set or dict an equal instance of a subclass, which the
        receiver unpickles as exactly what `value` was; anything else as it is.

    Examples
    --------
    >>> import pickle
    >>> type(pickle.loads(pickle.dumps(send_whole((1, 2)))))
    <class 'tuple'>
    """
    once = _ONCE.get(type(value))
    if once is None:
        return value
    _register_sizeof()
    return once(value)


def _reduce(cls: type, plain: Callable[[Any], Any], value: Any, protocol: int) -> Any:
    """Reduce a container to one stream and its buffers."""
    from pickle import PickleBuffer

    from daskkit.transport import wire

    columns = split_scalars(value)
    if columns is not None:
        value = plain([columns])
    dumped = wire.dump(plain(value))
    if protocol < 5:  # noqa: PLR2004 - the first with buffers
        raw = [wire.copy_buffer(buffer.raw()) for buffer in dumped.buffers]
        return _restore, (cls, dumped.stream, *raw)
    # The stream too goes out of band: distributed looks for "__main__" in the pickle
    # and would have cloudpickle do everything once more.
    return _restore, (cls, PickleBuffer(dumped.stream), *dumped.buffers)


def _restore(cls: type, stream: Any, *buffers: Any) -> Any:
    from daskkit.transport import wire

    value = wire.load(stream, buffers)
    if len(value) == 1 and type(value) is not dict:
        (only,) = value
        if type(only) is Columns:
            value = join_scalars(only)
    return value if type(value) is cls else cls(value)


def measure_bytes(items: Any) -> int:
    """Return the memory of a container and what is in it, for Dask's accounting.

    Dask's own estimate takes ten elements of a list for all of them, which is off by
    any factor where one of a thousand is an array. Here every element counts up to a
    thousand, and beyond that a thousand, evenly spread.

    Parameters
    ----------
    items : list, tuple, set or dict
        With elements of any kind.

    Returns
    -------
    int

    Notes
    -----
    The same object in many places counts once, as it does in memory.

    Examples
    --------
    >>> measure_bytes([b"x" * 1000]) > 1000
    True
    """
    from dask.sizeof import sizeof

    elements = list(items.items() if isinstance(items, dict) else items)
    step = max(1, -(-len(elements) // _MEASURED))
    sample = elements[::step]
    seen = {id(element): element for element in sample}
    total = sum(_element_bytes(element, sizeof) for element in seen.values())
    return sys.getsizeof(items) + (
        total * len(elements) // len(sample) if sample else 0
    )


def _element_bytes(element: Any, sizeof: Callable[[Any], int]) -> int:
    """Return the memory of one element; containers of arrays are looked into."""
    if type(element) in _ONCE and len(element) <= _MEASURED:
        if type(element) is dict:
            children = [*element.keys(), *element.values()]
        else:
            children = list(element)
        return sys.getsizeof(element) + sum(sizeof(child) for child in children)
    return int(sizeof(element))


_registered = False


def _register_sizeof() -> None:
    """Tell Dask how to measure these types, once, if Dask is there at all.

    Not at import: Dask takes 0.2 s to import, and whoever asks it has imported it.
    """
    global _registered  # noqa: PLW0603 - done once for a process
    if _registered or "dask.sizeof" not in sys.modules:
        return
    from dask.sizeof import sizeof

    _registered = True
    for cls in (Partition, _ListOnce, _TupleOnce, _SetOnce, _DictOnce):
        sizeof.register(cls)(measure_bytes)
