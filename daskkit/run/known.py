"""What earlier calls of a function have shown, so that later ones need not try it.

Of some hundred functions of this process; nothing that is kept here holds an object of
the user's but the function's code.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

__all__ = ["Known", "recall"]

_MOST = 256

_lock = threading.Lock()
_known: OrderedDict[Any, Known] = OrderedDict()


class Known:
    """What is known of a function; changed by whoever finds out more."""

    #: Seconds that its first item took the last time; None before.
    first_s: float | None = None
    #: Whether threads brought nothing, as its items hold the GIL.
    threads_failed: bool = False


def recall(func: Any) -> Known:
    """Return what is known of a function.

    Parameters
    ----------
    func : callable
        Python functions of the same code are one: a lambda that is made for each call.

    Returns
    -------
    Known

    Examples
    --------
    >>> recall(lambda x: x).first_s is None
    True
    """
    key = getattr(func, "__code__", None) or (
        getattr(func, "__module__", None),
        getattr(func, "__qualname__", None) or type(func).__qualname__,
    )
    with _lock:
        known = _known.pop(key, None) or Known()
        _known[key] = known
        while len(_known) > _MOST:
            _known.popitem(last=False)
    return known
