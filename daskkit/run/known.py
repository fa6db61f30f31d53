"""What earlier calls of a function have shown, so that later ones need not try it.

Of some hundred functions of this process; nothing that is kept here holds an object of
the user's but the function's code.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from daskkit.run.plan import Facts

__all__ = ["Known", "recall"]

_MOST = 256
_MEMORY_S = 60.0
# For so long after the first failure of threads, which others' load may have caused.
_DOUBT_S, _DOUBT_GROWS = 4.0, 4
_ALIKE = 4.0

_lock = threading.Lock()
_known: OrderedDict[Any, Known] = OrderedDict()


class Known:
    """What is known of a function; changed by whoever finds out more.

    Parameters
    ----------
    of_type : bool, default False
        Whether it is known of all objects of a type, which may hold anything.
    """

    def __init__(self, *, of_type: bool = False) -> None:
        self._of_type = of_type
        #: Seconds that its first item took the last time; None before.
        self.first_s: float | None = None
        # When threads brought nothing, and what an item took then.
        self._failure: tuple[float, float] | None = None
        self._n_failures = 0
        # When its share of the GIL was measured, what an item took then, and the share.
        self._gil: tuple[float, float, float] | None = None
        # When others than the caller were the better choice, and the facts.
        self._shared: tuple[float, Facts] | None = None

    def note_shared(self, facts: Facts | None) -> None:
        """Note why items were given to others, or that this brought nothing.

        Parameters
        ----------
        facts : Facts or None
            None to forget what was noted.
        """
        if facts is None or self._of_type:
            self._shared = None
        else:
            self._shared = time.monotonic(), facts

    def facts(self, item_s: float | None = None) -> Facts | None:
        """Return what made others the better choice the last time.

        Parameters
        ----------
        item_s : float, optional
            Seconds of an item; None if nothing of it is known.

        Returns
        -------
        Facts or None
            None if there is no such thing of the last minute, for items of about that
            cost.

        Examples
        --------
        >>> from daskkit.run.plan import Facts
        >>> known = Known()
        >>> known.note_shared(Facts(n_left=10, item_s=0.001))
        >>> known.facts(0.002).n_left, known.facts(0.1)
        (10, None)
        """
        if self._shared is None:
            return None
        since_s, facts = self._shared
        if item_s is None:
            item_s = facts.item_s
        return facts if _still_holds(since_s, facts.item_s, item_s) else None

    def note_failure(self, item_s: float) -> None:
        """Note that threads brought nothing, as items hold the GIL.

        Parameters
        ----------
        item_s : float
            Seconds of an item.
        """
        again = self._failure is not None and _is_alike(self._failure[1], item_s)
        self._n_failures = self._n_failures + 1 if again else 1
        self._failure = time.monotonic(), item_s

    def note_success(self) -> None:
        """Note that threads have brought something."""
        self._failure = None

    def have_threads_failed(self, item_s: float) -> bool:
        """Return whether threads need not be tried for such items.

        Parameters
        ----------
        item_s : float
            Seconds of an item.

        Returns
        -------
        bool
            For a while, and for items of about that cost: others may be larger arrays,
            and the machine may have been busy. For four seconds at first, and for four
            times as long after each next time, up to a minute.

        Examples
        --------
        >>> known = Known()
        >>> known.note_failure(0.001)
        >>> known.have_threads_failed(0.002), known.have_threads_failed(0.1)
        (True, False)
        """
        if self._failure is None:
            return False
        since_s, known_item_s = self._failure
        memory_s = min(_MEMORY_S, _DOUBT_S * _DOUBT_GROWS ** (self._n_failures - 1))
        is_recent = time.monotonic() - since_s < memory_s
        return is_recent and _is_alike(known_item_s, item_s)

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
            None if it isn't known of the last minute, for items of about that cost.
        """
        if self._gil is None:
            return None
        since_s, known_item_s, share = self._gil
        return share if _still_holds(since_s, known_item_s, item_s) else None


def _still_holds(since_s: float, known_item_s: float, item_s: float) -> bool:
    is_recent = time.monotonic() - since_s < _MEMORY_S
    return is_recent and _is_alike(known_item_s, item_s)


def _is_alike(known_item_s: float, item_s: float) -> bool:
    return known_item_s / _ALIKE < item_s < known_item_s * _ALIKE


def recall(func: Any) -> Known:
    """Return what is known of a function.

    Parameters
    ----------
    func : callable
        Python functions of the same code are one: a lambda that is made for each call,
        and whatever arguments `functools.partial` has bound.

    Returns
    -------
    Known

    Examples
    --------
    >>> recall(lambda x: x).first_s is None
    True
    """
    while isinstance(func, functools.partial):
        func = func.func
    key = getattr(func, "__code__", None)
    of_type = key is None and getattr(func, "__qualname__", None) is None
    if key is None:
        named = type(func) if of_type else func
        key = getattr(named, "__module__", None), named.__qualname__
    with _lock:
        known = _known.pop(key, None) or Known(of_type=of_type)
        _known[key] = known
        while len(_known) > _MOST:
            _known.popitem(last=False)
    return known
