"""What arrives at a worker in place of a container that could not be sent to it.

Where a result that one task has made and another one waits for can't be pickled, or not
rebuilt, distributed asks for it again and again: nobody ever hears of the error
(dask/distributed issue 6705). So its place is taken by something that can be sent, and
that raises as soon as a task uses it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from daskkit.transport.contact import find_imported

if TYPE_CHECKING:
    from daskkit.transport.errors import TransportError

__all__ = ["Broken", "is_between_workers"]

# Where distributed pickles the messages that it sends, and unpickles what it receives.
_MESSAGES = "distributed.comm.utils"


class Broken(list[Any]):
    """A list each use of which raises why it isn't there.

    Parameters
    ----------
    error : type
        Of `TransportError`, or itself.
    text : str
        The message.

    Examples
    --------
    >>> from daskkit.transport.errors import TransportError
    >>> broken = Broken(TransportError, "lost on its way")
    >>> broken
    Broken('lost on its way')
    >>> list(broken)
    Traceback (most recent call last):
        ...
    daskkit.transport.errors.TransportError: lost on its way
    """

    __slots__ = ("_error", "_text")

    def __init__(self, error: type[TransportError], text: str) -> None:
        super().__init__()
        self._error = error
        self._text = text

    def fail(self, *_: object) -> NoReturn:
        """Raise why it isn't there."""
        raise self._error(self._text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"

    def __sizeof__(self) -> int:
        return object.__sizeof__(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        del protocol
        return _arrive, (self._error, self._text)

    __iter__ = __len__ = __getitem__ = __contains__ = __reversed__ = fail
    __eq__ = __lt__ = __add__ = __mul__ = fail


def _arrive(error: type[TransportError], text: str) -> Broken:
    """Go on to another worker; a client raises, and nobody gets it for an answer."""
    if _has_worker():
        return Broken(error, text)
    raise error(text)


def _has_worker() -> bool:
    worker = find_imported("distributed.worker", "Worker")
    if worker is None:
        return False
    # There is no public way to them; one that is closed may still be there.
    workers = list(worker._instances)  # noqa: SLF001
    return any(one.status.value not in {"closed", "failed"} for one in workers)


def is_between_workers() -> bool:
    """Return whether distributed is amid a message of a worker of this process.

    Not so where a worker writes to its disk, and in a client, which can raise.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_between_workers()
    False
    """
    if not _has_worker():
        return False
    frame = sys._getframe()  # noqa: SLF001 - the documented way to see callers
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == _MESSAGES:
            return True
    return False
