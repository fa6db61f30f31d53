"""A result is rebuilt where it was made, before it is sent to the caller.

Code of its class runs when it is rebuilt. Where that ends the process, it shall be a
worker's: there is another one, and only one caller. Of nearly all results it is known
that no such code runs; they cost nothing.
"""

from __future__ import annotations

import contextlib
import copyreg
import sys
import time
import types
from typing import TYPE_CHECKING, Any, Final

from daskkit.transport import wire
from daskkit.transport.auto import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daskkit.transport.auto import Packed
    from daskkit.transport.contact import Place

__all__ = ["Trial", "has_own_rebuild", "name_types", "try_first"]

#: The share of the time of the items that is spent on trying their results.
_SHARE = 0.05

#: Packages whose types are rebuilt every day, besides Python's own.
_KNOWN: Final = frozenset(
    {
        "dask",
        "daskkit",
        "distributed",
        "numpy",
        "pandas",
        "polars",
        "pyarrow",
        "scipy",
        "shapely",
        "sklearn",
        "tblib",
        "xarray",
    }
)
# What pickle calls to rebuild an object, where `object` says how that is done.
_HOOKS = (
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__setstate__",
    "__setitem__",
    "__array_finalize__",
    "append",
    "extend",
)
_MRO = vars(type)["__mro__"].__get__
_DICT = vars(type)["__dict__"].__get__
_MODULE = vars(type)["__module__"].__get__
_TOLD = 3


class Trial:
    """Packs the results of one lane, and tries whether they can be rebuilt.

    The first batch with a type of which that isn't sure is tried, and so are others
    while that takes little time beside the items.
    """

    def __init__(self) -> None:
        self._has_own: dict[type, bool] = {}
        self._tried: set[type] = set()
        self._items_s = 0.0
        self._trials_s = 0.0
        self._byte_s = 0.0

    def pack(
        self,
        value: Any,
        home: Place | None,
        items_s: float,
        announce: Callable[[str], None],
    ) -> Packed:
        """Return a result, or a list of results, in the form in which it travels.

        Parameters
        ----------
        value : object
            What is sent.
        home : Place or None
            As of `daskkit.transport.auto.pack`.
        items_s : float
            Seconds that it took to compute.
        announce : callable
            ``announce(names)`` is called before the trial, with the types that are the
            reason: this process may not live to tell.

        Returns
        -------
        Packed
            Whatever the trial has raised: the caller meets it as well, and knows what
            to do.

        Raises
        ------
        UnpicklableError, NoRoomError
            As `daskkit.transport.auto.pack`.

        Examples
        --------
        >>> from fractions import Fraction
        >>> unpack(Trial().pack([Fraction(1, 2)], None, 0.0, print))
        [Fraction(1, 2)]
        """
        with wire.noted_types() as met:
            packed = pack(value, home=home)
        self._items_s += items_s
        own = {cls for cls in met if self._look_at(cls)}
        if own and not (own <= self._tried and self._is_dear(packed.n_bytes)):
            announce(name_types(own))
            began = time.perf_counter()
            with contextlib.suppress(BaseException):
                unpack(packed)
            trial_s = time.perf_counter() - began
            self._trials_s += trial_s
            self._byte_s = trial_s / max(1, packed.n_bytes)
            self._tried |= own
        return packed

    def _look_at(self, cls: type) -> bool:
        if cls not in self._has_own:
            self._has_own[cls] = has_own_rebuild(cls)
            if _is_known(_module_of(cls)) and cls not in copyreg.dispatch_table:
                wire.stop_noting(cls)
        return self._has_own[cls]

    def _is_dear(self, n_bytes: int) -> bool:
        """Return whether another trial would take too long beside the items."""
        trials_s = self._trials_s + n_bytes * self._byte_s
        return trials_s > _SHARE * self._items_s


_tried_first: set[type] = set()


def try_first(
    results: Iterable[Any], announce: Callable[[str], None] | None = None
) -> None:
    """Rebuild the first result of each type that this process has yet to meet.

    For results that leave it by other ways than a lane. Does nothing for types of which
    it is known that no code of theirs runs; what is within a result isn't looked at.

    Parameters
    ----------
    results : iterable
        As they were computed.
    announce : callable, optional
        As of `Trial.pack`.

    Examples
    --------
    >>> try_first([1, 2.0, "x"])
    """
    for cls in set(map(type, results)) - _tried_first:
        _tried_first.add(cls)
        if has_own_rebuild(cls):
            first = next(result for result in results if type(result) is cls)
            if announce is not None:
                announce(name_types([cls]))
            with contextlib.suppress(BaseException):
                dumped = wire.dump(first)
                buffers = [wire.copy_buffer(one.raw()) for one in dumped.buffers]
                wire.load(dumped.stream, buffers)


def name_types(classes: Iterable[type]) -> str:
    """Return the names of some types, in one short line.

    Examples
    --------
    >>> from fractions import Fraction
    >>> name_types({Fraction, int})
    'builtins.int, fractions.Fraction'
    """
    names = sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more


def has_own_rebuild(cls: type) -> bool:
    """Return whether code runs when an object is unpickled that may do anything.

    Parameters
    ----------
    cls : type
        Of the object.

    Returns
    -------
    bool
        False for types of Python and of well-known libraries, and for those that leave
        it to these how they are rebuilt: plain classes, dataclasses, named tuples.

    Examples
    --------
    >>> from fractions import Fraction
    >>> has_own_rebuild(Fraction)
    False
    """
    if _is_known(_module_of(cls)):
        return False
    reducer = copyreg.dispatch_table.get(cls)
    if reducer is not None and not _is_known(getattr(reducer, "__module__", None)):
        return True
    hooks = [*_HOOKS]
    if _owner(cls, "__reduce_ex__") is not object or _owner(cls, "__reduce__") not in {
        object,
        None,
    }:
        hooks.append("__init__")  # such as of exceptions: the class is called
    return any(_is_own(cls, name) for name in hooks)


def _is_own(cls: type, name: str) -> bool:
    """Return whether a class has a method that is neither known nor generated."""
    owner = _owner(cls, name)
    if owner is None or _is_known(_module_of(owner)):
        return False
    found = _DICT(owner)[name]
    found = getattr(found, "__func__", found)  # __new__ is a static method
    if isinstance(found, types.FunctionType):
        # `dataclasses` and `enum` put methods of theirs into the class; those of a
        # named tuple are compiled in a module that there isn't.
        home = str(found.__globals__.get("__name__"))
        return not (_is_known(home) or home.startswith("namedtuple_"))
    return True


def _owner(cls: type, name: str) -> type | None:
    """Return the class that an attribute comes from, whatever the metaclass says."""
    return next((one for one in _MRO(cls) if name in _DICT(one)), None)


def _module_of(cls: type) -> object:
    # A function of a compiled module is pickled by its name; what its type calls
    # "__module__" is that of the function.
    if type.__repr__(cls).startswith("<class '_cython_"):
        return "builtins"
    return _MODULE(cls)


def _is_known(module: object) -> bool:
    package = str(module).partition(".")[0]
    return package in sys.stdlib_module_names or package in _KNOWN
