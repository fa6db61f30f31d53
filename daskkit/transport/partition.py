"""The type in which a batch of results or arguments travels between processes.

Bottom layer: knows nothing of clusters and imports neither NumPy nor Dask. When
distributed serialises an exact ``list``, ``tuple``, ``set`` or ``dict`` it makes a
frame of each element (about 20 us each); an instance of a subclass is pickled whole. So
nothing in daskkit sends a bare container between processes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from daskkit.transport.broken import Broken, is_between_workers
from daskkit.transport.errors import TransportError, UnpicklableError
from daskkit.transport.scalars import Columns, join_scalars, split_scalars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Partition", "as_made", "name_result", "send_whole"]

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

    Attributes
    ----------
    start : int or None
        Index of its first element in the whole, for messages; not sent.

    Examples
    --------
    >>> Partition([1, 2]) == [1, 2]
    True
    """

    __slots__ = ("start",)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self.start: int | None = None
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
_PLAIN: dict[type, Callable[[Any], Any]] = {
    Broken: Broken.fail,
    Partition: list,
    **{once: plain for plain, once in _ONCE.items()},  # type: ignore[misc] # classes
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


def as_made(value: Any) -> Any:
    """Return a container as whoever made it knows it, an exact list for a `Partition`.

    Parameters
    ----------
    value : object
        What a task gets of another one; what has not left its worker may still be in
        the form that `send_whole` gave it.

    Returns
    -------
    object

    Raises
    ------
    TransportError
        If it is `Broken`.

    Examples
    --------
    >>> type(as_made(send_whole([1, 2])))
    <class 'list'>
    """
    plain = _PLAIN.get(type(value))
    return value if plain is None else plain(value)


def _reduce(cls: type, plain: Callable[[Any], Any], value: Any, protocol: int) -> Any:
    """Reduce a container to one stream and its buffers."""
    from pickle import PickleBuffer

    from daskkit.transport import wire

    columns = split_scalars(value)
    try:
        dumped = wire.dump(plain(value if columns is None else [columns]))
    except TransportError as error:
        error = name_result(value, error)
        if not is_between_workers():
            raise error from error.__cause__
        return Broken, (type(error), str(error))
    if protocol < 5:  # noqa: PLR2004 - the first with buffers
        raw = [wire.copy_buffer(buffer.raw()) for buffer in dumped.buffers]
        return _restore, (cls, dumped.stream, *raw)
    # The stream too goes out of band: distributed looks for "__main__" in the pickle
    # and would have cloudpickle do everything once more.
    return _restore, (cls, PickleBuffer(dumped.stream), *dumped.buffers)


def _restore(cls: type, stream: Any, *buffers: Any) -> Any:
    from daskkit.transport import wire

    try:
        value = wire.load(stream, buffers)
    except (Exception, SystemExit) as error:
        if not is_between_workers():
            raise
        text = (
            "results of a task can't be rebuilt in another worker: "
            f"{type(error).__name__}: {error}"
        )
        return Broken(TransportError, text)
    if len(value) == 1 and type(value) is not dict:
        (only,) = value
        if type(only) is Columns:
            value = join_scalars(only)
    return value if type(value) is cls else cls(value)


def name_result(results: Any, error: TransportError) -> TransportError:
    """Return the error for a container that can't be sent, which names the result.

    Parameters
    ----------
    results : Partition or other container
        Of which only the former may know what it is a part of.
    error : TransportError
        Of the whole.

    Returns
    -------
    TransportError
        `error` itself if it isn't known which one it is.

    Examples
    --------
    >>> results = Partition([1, (x for x in "ab")])
    >>> results.start = 6
    >>> str(name_result(results, UnpicklableError("...")))[:47]
    "the result of item 7 can't be sent from its wor"
    """
    from daskkit.transport import wire

    start = getattr(results, "start", None)
    if start is None or not isinstance(error, UnpicklableError):
        return error
    for offset, result in enumerate(results):
        try:
            wire.dump(result)
        except UnpicklableError as reason:
            text = f"the result of item {start + offset} can't be sent from its worker"
            named = UnpicklableError(f"{text}: {reason}")
            named.__cause__ = reason.__cause__
            return named
    return error


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
    sizeof.register(Broken)(sys.getsizeof)
