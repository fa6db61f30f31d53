"""What earlier calls of a function have shown, so that later ones need not try it.

Of some hundred functions of this process; nothing that is kept here holds an object of
the user's but the function's code.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any

__all__ = ["Known", "recall"]

_MOST = 256
_MEMORY_S = 60.0
_ALIKE = 4.0

_lock = threading.Lock()
_known: OrderedDict[Any, Known] = OrderedDict()


class Known:
    """What is known of a function; changed by whoever finds out more."""

    def __init__(self) -> None:
        #: Seconds that its first item took the last time; None before.
        self.first_s: float | None = None
        # When threads brought nothing, and what an item took then.
        self._failure: tuple[float, float] | None = None
        # When its share of the GIL was measured, what an item took then, and the share.
        self._gil: tuple[float, float, float] | None = None

    def note_failure(self, item_s: float) -> None:
        """Note that threads brought nothing, as items hold the GIL.

        Parameters
        ----------
        item_s : float
            Seconds of an item.
        """
        self._failure = time.monotonic(), item_s

    def have_threads_failed(self, item_s: float) -> bool:
        """Return whether threads need not be tried for such items.

        Parameters
        ----------
        item_s : float
            Seconds of an item.

        Returns
        -------
        bool
            For a minute, and for items of about that cost: others may be larger
            arrays, and the machine may have been busy.

        Examples
        --------
        >>> known = Known()
        >>> known.note_failure(0.001)
        >>> known.have_threads_failed(0.002), known.have_threads_failed(0.1)
        (True, False)
        """
        if self._failure is None:
            return False
        return _still_holds(*self._failure, item_s)

    def note_gil_share(self, item_s: float, share: float) -> None:
        """Note for how much of their time items hold the GIL.

        Parameters
        ----------
        item_s : float
            Seconds of an item.
        share : float
            Between 0 and 1.
        """
        self._gil = time.monotonic(), item_s, share

    def gil_share(self, item_s: float) -> float | None:
        """Return that share, which takes milliseconds to measure.

        Parameters
        ----------
        item_s : float
            Seconds of an item.

        Returns
        -------
        float or None
            None if it isn't known of such items, see `have_threads_failed`.
        """
        if self._gil is None:
            return None
        since_s, known_item_s, share = self._gil
        return share if _still_holds(since_s, known_item_s, item_s) else None


def _still_holds(since_s: float, known_item_s: float, item_s: float) -> bool:
    is_alike = known_item_s / _ALIKE < item_s < known_item_s * _ALIKE
    return is_alike and time.monotonic() - since_s < _MEMORY_S


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
