"""Checks of what users pass, with one wording for the same mistake everywhere.

Bottom layer: imports neither NumPy nor Dask.
"""

from __future__ import annotations

import functools
import math

from daskkit.errors import ArgumentError
from daskkit.loop import short_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["check_callable", "check_timeout", "check_whole", "is_whole", "name_of"]


def is_whole(value: Any, least: int) -> bool:
    """Return whether a value is a whole number of at least `least`, and no bool.

    Examples
    --------
    >>> is_whole(3, 1), is_whole(True, 1), is_whole(2.0, 1)
    (True, False, False)
    """
    if type(value) is not int and not _is_number(value, "Integral"):
        return False
    return int(value) >= least


def check_whole(
    value: Any,
    name: str,
    least: int,
    *,
    error: type[Exception] = ArgumentError,
    optional: bool = False,
) -> int:
    """Return a whole number; raise for anything else.

    Parameters
    ----------
    value : object
        What was received.
    name : str
        What it is called.
    least : int
        Smallest that is allowed.
    error : type, default ArgumentError
        What is raised.
    optional : bool, default False
        Whether the message says that None is allowed, too.

    Returns
    -------
    int

    Raises
    ------
    Exception
        Of type `error`.

    Examples
    --------
    >>> check_whole(3, "blocks", 1)
    3
    >>> check_whole(0, "blocks", 1, optional=True)
    Traceback (most recent call last):
    daskkit.errors.ArgumentError: blocks must be a whole number of at least 1 or None,
    received 0
    """
    if not is_whole(value, least):
        msg = (
            f"{name} must be a whole number of at least {least}"
            f"{' or None' if optional else ''}, received {short_repr(value)}"
        )
        raise error(msg)
    return int(value)


def check_callable(value: object, name: str, call: str) -> None:
    """Raise ArgumentError unless something can be called.

    Parameters
    ----------
    value : object
        What was received.
    name, call : str
        The argument's name, and how it is going to be called.
    """
    if not callable(value):
        msg = (
            f"{name} must be callable as {call}, received {short_repr(value)} of type "
            f"{type(value).__name__}"
        )
        raise ArgumentError(msg)


def check_timeout(timeout: Any) -> None:
    """Raise unless a value is a time-out: positive seconds, or None.

    Raises
    ------
    ArgumentError
        If it is not.
    """
    if timeout is not None and not (
        _is_number(timeout, "Real") and math.isfinite(timeout) and float(timeout) > 0
    ):
        msg = (
            f"timeout must be positive seconds or None, received {short_repr(timeout)}"
        )
        raise ArgumentError(msg)


def _is_number(value: object, kind: str) -> bool:
    """Return whether a value is of a class of `numbers`, and no bool."""
    # For an int, which it mostly is, nobody need wait for the import.
    import numbers

    return isinstance(value, getattr(numbers, kind)) and not isinstance(value, bool)


def name_of(func: Any) -> str:
    """Return what a function is called, also one that is wrapped.

    Examples
    --------
    >>> name_of(functools.partial(abs, -1)), name_of(lambda: 0)
    ('abs', 'lambda')
    """
    while isinstance(func, functools.partial):
        func = func.func
    name = getattr(func, "__name__", None)
    if isinstance(name, str) and name != "<lambda>":
        return name
    return "lambda" if name else type(func).__name__
