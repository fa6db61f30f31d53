"""One object to bytes and back: pickle protocol 5 with its buffers out of band.

Bottom of the transport layer: knows neither shared memory nor Dask. NumPy and pandas
are recognised without being imported.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import itertools
import operator
import pickle
import re
import sys
import threading
import types
import weakref
from typing import TYPE_CHECKING, Any

from daskkit.transport.errors import NoRoomError, UnpicklableError
from daskkit.transport.scratch import open_scratch, read_written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

__all__ = [
    "Dumped",
    "copy_buffer",
    "describe",
    "dump",
    "load",
    "note",
    "noted_types",
    "stop_noting",
]

#: Arrays below this size are left to NumPy's own reducer: a bytes object copied along
#: with the stream costs less than a buffer of its own.
_SMALL_ARRAY = 4096
# A text that is just the name of the main module.
_MAIN = re.compile(rb"\x8c(?:\x08__main__|\x0b__mp_main__)")
# What pickle writes last of a function or class, and right before it the end of its
# name, as a text or a reference to one. A pattern that begins with one certain byte is
# found ten times as fast as one that ends with it.
_GLOBAL = re.compile(rb"(?s)\x93(?:(?<=\x94\x93)|(?<=h.\x93)|(?<=j.{4}\x93))")

#: Elements that are tried one by one to name the one that can't be pickled.
_SEARCHED = 100_000


class Dumped:
    """A pickled object: the stream, its buffers, and what has to outlive them."""

    __slots__ = ("anchors", "buffers", "notes", "stream")

    def __init__(self) -> None:
        #: The pickle, without the buffers.
        self.stream: bytes = b""
        #: What pickle handed out, in its order.
        self.buffers: list[pickle.PickleBuffer] = []
        #: For each buffer the pandas object that it was found in, or None: Arrow makes
        #: a new wrapper of its memory for each pickle, which says nothing of how long
        #: the memory is going to live.
        self.anchors: list[weakref.ref[Any] | None] = []
        #: What handles met on the way asked to be kept alive, see `note`.
        self.notes: list[Any] = []

    def clear(self) -> None:
        """Forget everything, before another attempt."""
        self.stream = b""
        self.buffers.clear()
        self.anchors.clear()
        self.notes.clear()

    @property
    def n_bytes(self) -> int:
        """Size of the stream and of all buffers."""
        return len(self.stream) + sum(b.raw().nbytes for b in self.buffers)


class _Current(threading.local):
    """What the dump that runs in this thread is collecting."""

    def __init__(self) -> None:
        self.dumped: Dumped | None = None
        self.container: weakref.ref[Any] | None = None
        #: The types that are met, if somebody wants to know.
        self.types: set[type] | None = None


_current = _Current()


def note(keep: object) -> None:
    """Ask the running `dump`, if there is one, to keep an object alive.

    A handle calls it when it is pickled: its memory has to live as long as the pickle
    that mentions it, even if the handle itself is dropped meanwhile.

    Parameters
    ----------
    keep : object
        Appended to `Dumped.notes`.
    """
    if _current.dumped is not None:
        _current.dumped.notes.append(keep)


@contextlib.contextmanager
def noted_types() -> Iterator[set[type]]:
    """Note the types of all objects that this thread pickles in the context.

    Yields
    ------
    set of type
        Filled by `dump`; without the built-in types that pickle knows by itself, such
        as numbers, texts and lists, and without exact arrays and pandas objects.

    Examples
    --------
    >>> class Point: ...
    >>> with noted_types() as types:
    ...     dumped = dump([1, {"a": Point()}])
    >>> Point in types, int in types
    (True, False)
    """
    outer, types = _current.types, set[type]()
    _current.types = types
    try:
        yield types
    finally:
        _current.types = outer


def dump(value: Any) -> Dumped:
    """Return an object as a stream and buffers; copies no contiguous buffer.

    Plain pickle if it can, cloudpickle if it can't or would write a reference that
    means something else in another process: to ``__main__``, or to a module that was
    registered with `cloudpickle.register_pickle_by_value`.

    Parameters
    ----------
    value : object
        Anything that pickle or cloudpickle can take.

    Returns
    -------
    Dumped
        Its buffers still are the object's own memory.

    Raises
    ------
    UnpicklableError
        Naming the part that can't be pickled, and why.

    Examples
    --------
    >>> dumped = dump([1, 2])
    >>> load(dumped.stream, dumped.buffers)
    [1, 2]
    """
    dumped = Dumped()
    outer = (_current.dumped, _current.container)
    _current.dumped = dumped
    try:
        _dump_into(dumped, value)
    except MemoryError as error:
        msg = f"No memory left to pickle {describe(value)}; use a smaller one"
        raise NoRoomError(msg) from error
    except Exception as error:
        part, reason = _find_culprit(value, error)
        msg = (
            f"{describe(value)} can't be pickled and so can't be sent to another "
            f"process:{part} raises {type(reason).__name__}: {reason}. Open or create "
            "such things within the function"
        )
        raise UnpicklableError(msg) from error
    finally:
        _current.dumped, _current.container = outer
    if _current.dumped is not None:  # within another dump: a container of ours
        _current.dumped.notes += dumped.notes
    return dumped


def load(stream: Any, buffers: Sequence[Any]) -> Any:
    """Return the object that `dump` took apart.

    Parameters
    ----------
    stream : bytes-like
        `Dumped.stream`.
    buffers : sequence of bytes-like
        One for each of `Dumped.buffers`; the object is built on them, without a copy.

    Returns
    -------
    object
    """
    return pickle.loads(stream, buffers=buffers)


def copy_buffer(view: memoryview) -> bytes | bytearray:
    """Return a copy of a buffer that is as writable as it was.

    Parameters
    ----------
    view : memoryview
        Contiguous bytes.

    Returns
    -------
    bytes or bytearray

    Examples
    --------
    >>> copy_buffer(memoryview(b"12"))
    b'12'
    """
    return bytes(view) if view.readonly else bytearray(view)


def describe(value: Any) -> str:
    """Return a short text that tells an object from others: type, shape or length.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    str

    Examples
    --------
    >>> describe([1, 2, 3]), describe(len)
    ('list of length 3', 'builtin_function_or_method len')
    """
    cls = type(value)
    if cls.__module__ == "daskkit.transport.partition":  # what its users know it as
        cls = cls.__mro__[1]
    kind = cls.__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        dtype = getattr(value, "dtype", None)
        return f"{kind} of shape {shape}" + (f" and dtype {dtype}" if dtype else "")
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"{kind} {name}"
    if isinstance(value, (list, tuple, dict, set, frozenset, str, bytes, bytearray)):
        return f"{kind} of length {len(value)}"
    return kind


def _dump_into(dumped: Dumped, value: Any) -> None:
    """Fill `dumped`, by pickle or, where that is wrong or fails, by cloudpickle."""

    def collect(buffer: pickle.PickleBuffer) -> None:
        dumped.buffers.append(buffer)
        dumped.anchors.append(_current.container)

    _current.container = None
    table = _reducers()
    # Whatever the reason, cloudpickle may still manage: a lambda is an AttributeError
    # here, a local class a PicklingError, a weird __reduce__ anything at all.
    with contextlib.suppress(Exception), open_scratch() as file:
        pickler = pickle.Pickler(file, protocol=5, buffer_callback=collect)
        pickler.dispatch_table = table
        pickler.dump(value)
        stream = read_written(file)
        if not _refers_to_here(stream):
            dumped.stream = stream
            return
    import cloudpickle

    dumped.clear()
    _current.container = None
    file = io.BytesIO()
    pickler = cloudpickle.Pickler(file, protocol=5, buffer_callback=collect)
    for cls, reducer in cloudpickle.Pickler.dispatch_table.items():
        if _current.types is None or cls not in copyreg.dispatch_table:
            table[cls] = reducer
    table[types.CodeType] = _reduce_code
    # Its class has an attribute of that name, which hides the pickler's own slot: an
    # ordinary assignment would change nothing.
    vars(pickle.Pickler)["dispatch_table"].__set__(pickler, table)
    pickler.dump(value)
    dumped.stream = file.getvalue()


def _refers_to_here(stream: bytes) -> bool:
    """Return whether a pickle may name a module that another process lacks.

    A user's string of that name counts too, beside any function or class; cloudpickle
    is right for both. Children of ``spawn`` know the main module as ``__mp_main__``.
    """
    # Its opcode is looked for first: one byte is found soonest, and texts have none.
    if b"\x93" not in stream:
        return False
    if b"main__" in stream and _MAIN.search(stream) and _GLOBAL.search(stream):
        return True
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is None:
        return False
    by_value: set[str] = cloudpickle.list_registry_pickle_by_value()
    return any(name.encode() in stream for name in by_value)


def _reduce_code(code: types.CodeType) -> Any:
    """Reduce code as cloudpickle does, but with the name of its file.

    cloudpickle 3.1 writes "<dynamic-code>", and tracebacks of the worker would show
    neither the file nor the line of a function from a script or notebook.
    """
    import cloudpickle

    make, args = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(
        code.co_filename if arg == "<dynamic-code>" else arg for arg in args
    )


def _find_culprit(value: Any, error: Exception) -> tuple[str, BaseException]:
    """Return which part of `value` can't be pickled, as a path, and its own error."""
    path, reason = "", error
    for _ in range(3):  # deeper parts are found by reading the message
        for key, child in itertools.islice(_children(value), _SEARCHED):
            try:
                _dump_into(Dumped(), child)
            except Exception as child_error:  # noqa: BLE001 - as in dump
                path, value, reason = f"{path}{key}", child, child_error
                break
        else:
            break
    return f" its part {path} ({describe(value)})" if path else " it", reason


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a container or a function, each with its place in it."""
    if isinstance(value, (list, tuple)):
        yield from ((f"[{i}]", child) for i, child in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"[{key!r:.40}]", child) for key, child in value.items())
    else:
        code = getattr(value, "__code__", None)
        cells = getattr(value, "__closure__", None) or ()
        names = getattr(code, "co_freevars", ())
        for name, cell in zip(names, cells, strict=False):
            with contextlib.suppress(ValueError):  # a cell not filled yet
                yield f".{name}", cell.cell_contents
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict) and code is None:
            yield from ((f".{name}", child) for name, child in attributes.items())


_tables: dict[tuple[tuple[str, int], ...], dict[type, Callable[[Any], Any]]] = {}


def _reducers() -> dict[type, Callable[[Any], Any]]:
    """Return pickle's dispatch table with reducers for what NumPy copies in band.

    By exact type, so it costs nothing for all other objects. A module that another
    thread is importing right now has some of its classes only; and `hasattr` would have
    NumPy import a submodule, `numpy.ma`, which takes 20 ms.
    """
    here = {
        module: [name for name in names if name in vars(sys.modules[module])]
        for module, names in _REDUCED.items()
        if sys.modules.get(module) is not None
    }
    key = tuple((module, len(names)) for module, names in here.items())
    if key not in _tables:
        _tables[key] = {
            getattr(sys.modules[module], name): _REDUCED[module][name]
            for module, names in here.items()
            for name in names
        }
    if _current.types is not None:
        table = _NotingTable({**_unnoted, **_tables[key]})
        for cls in copyreg.dispatch_table.keys() & _unnoted.keys():
            table.pop(cls, None)  # registered since then
        return table
    # A dict, looked up in C; a ChainMap would cost a microsecond for each object.
    return {**_tables[key], **copyreg.dispatch_table}


# Types that need not be noted any more.
_unnoted: dict[type, Callable[[Any], Any]] = {}


def stop_noting(cls: type) -> None:
    """Leave a type out of `noted_types` from now on; it then costs nothing at all.

    Parameters
    ----------
    cls : type
        Of a module: it is kept for ever.
    """
    _unnoted[cls] = _reduce_itself


_reduce_itself = operator.methodcaller("__reduce_ex__", pickle.HIGHEST_PROTOCOL)


class _NotingTable(dict[type, Any]):
    """A dispatch table that notes each type which is not in it when it is first met.

    From then on it has a reducer for it that does what pickle would do: all but the
    first object of a type cost no more than without.
    """

    def __missing__(self, cls: type) -> Any:
        if issubclass(cls, type):
            raise KeyError(cls)  # a metaclass: classes are pickled by their names
        assert _current.types is not None
        _current.types.add(cls)
        self[cls] = copyreg.dispatch_table.get(cls, _reduce_itself)
        return self[cls]


def _numpy() -> ModuleType:
    import numpy as np

    return np


def _reduce_array(array: Any) -> Any:
    """Reduce an exact ndarray so that its buffer goes out of band.

    NumPy itself does so except for views with gaps, and for datetimes and odd records,
    which don't support the buffer protocol. What it copies in band comes back in native
    byte order and perhaps in another memory order.
    """
    dtype = array.dtype
    if dtype.hasobject or not dtype.itemsize or dtype.kind == "T":
        return array.__reduce_ex__(5)
    if array.nbytes < _SMALL_ARRAY and dtype.isnative:
        return array.__reduce_ex__(5)
    if not _has_datetime(dtype):
        reduced = array.__reduce_ex__(5)
        if reduced[0].__name__ != "_reconstruct":  # not in band
            return reduced
    order = "F" if array.flags.fnc else "C"
    flat = array.ravel(order).view("u1")
    return _restore_flat, (flat, dtype, array.shape, order)


def _has_datetime(dtype: Any) -> bool:
    """Return whether a structured dtype has a datetime anywhere inside."""
    if dtype.names is None:
        return dtype.base.kind in "mM"
    return any(_has_datetime(dtype[name].base) for name in dtype.names)


def _restore_flat(flat: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> Any:
    return flat.view(dtype).reshape(shape, order=order)


def _reduce_subclass(array: Any) -> Any:
    """Reduce a recarray, matrix or memmap to its plain array and its class."""
    if array.nbytes < _SMALL_ARRAY or array.dtype.hasobject:
        return array.__reduce_ex__(5)
    return _restore_subclass, (_plain_view(array), type(array))


def _plain_view(array: Any) -> Any:
    """Return the same memory as an exact ndarray with an ordinary dtype."""
    np = _numpy()
    plain = array.view(np.ndarray)
    if plain.dtype.type is np.record:  # np.recarray puts it back
        plain = plain.view(np.dtype((np.void, plain.dtype)))
    return plain


def _restore_subclass(array: Any, cls: type) -> Any:
    return array.view(cls)


def _reduce_masked(array: Any) -> Any:
    """Reduce a masked array to its data and its mask, two buffers."""
    np = _numpy()
    if (
        array.nbytes < _SMALL_ARRAY
        or array.dtype.hasobject
        or array.baseclass is not np.ndarray
    ):
        return array.__reduce_ex__(5)
    mask = None if array.mask is np.ma.nomask else array.mask
    fill_value = array._fill_value  # noqa: SLF001 - None where the default is in force
    return _restore_masked, (_plain_view(array), mask, fill_value, array.hardmask)


def _restore_masked(data: Any, mask: Any, fill_value: Any, hard_mask: bool) -> Any:
    np = _numpy()
    return np.ma.MaskedArray(
        data,
        mask=np.ma.nomask if mask is None else mask,
        fill_value=fill_value,
        hard_mask=hard_mask,
        copy=False,
    )


def _reduce_pandas(frame: Any) -> Any:
    """Reduce as pandas does; its buffers are kept as long as the object itself."""
    _current.container = weakref.ref(frame)
    return frame.__reduce_ex__(5)


# By module, what its objects are reduced by.
_REDUCED: dict[str, dict[str, Callable[[Any], Any]]] = {
    "numpy": {
        "ndarray": _reduce_array,
        "recarray": _reduce_subclass,
        "matrix": _reduce_subclass,
        "memmap": _reduce_subclass,
    },
    "numpy.ma": {"MaskedArray": _reduce_masked},
    "pandas": {"DataFrame": _reduce_pandas, "Series": _reduce_pandas},
}
