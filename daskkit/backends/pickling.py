"""Functions that plain pickle can't send, for libraries that know only plain pickle."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_portable"]


def make_portable(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that plain pickle can send to another process.

    Parameters
    ----------
    func : callable
        Anything that cloudpickle can serialise: lambdas, closures and functions of a
        notebook or script included.

    Returns
    -------
    callable
        `func` itself where plain pickle can send it by name, and otherwise an object
        that carries it by value. So no library loses a comparison by its pickle.

    Examples
    --------
    >>> make_portable(abs) is abs
    True
    >>> make_portable(lambda x: x + 1)(1)
    2
    """
    try:
        pickled = pickle.dumps(func)
    except (pickle.PicklingError, AttributeError, TypeError):
        return _ByValue(func)
    # A name in __main__ means something else in another process.
    return _ByValue(func) if b"__main__" in pickled else func


class _ByValue:
    """Calls a function that it carries as cloudpickle's bytes."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self._func = func
        self._pickled = cloudpickle.dumps(func)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._pickled,)

    def __call__(self, item: Any) -> Any:
        return self._func(item)


# Pools send the function with each chunk; it is rebuilt once a process.
_rebuilt: dict[bytes, _ByValue] = {}


def _rebuild(pickled: bytes) -> _ByValue:
    if pickled not in _rebuilt:
        _rebuilt.clear()
        rebuilt = _ByValue.__new__(_ByValue)
        rebuilt._func = cloudpickle.loads(pickled)  # noqa: SLF001 - our own
        rebuilt._pickled = pickled  # noqa: SLF001 - our own
        _rebuilt[pickled] = rebuilt
    return _rebuilt[pickled]
