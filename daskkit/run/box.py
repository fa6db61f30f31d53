"""Memory that both ends of a link share, for the long messages of one of them.

A socket holds some 200 kB: who sends more has to come back for the rest, and to get a
core for that takes milliseconds where items have them all. New memory for each message
would take longer than to copy it: 0.3 ms for 500 kB, of which a copy takes 0.02.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING

from daskkit.transport.files import have_memfd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["N_MOST", "Box", "make_box_file"]

#: So many bytes a message may have. Larger objects are put into shared memory of their
#: own, see `daskkit.transport`.
N_MOST = 2**20

# As many as a lane may hold batches.
_N_PLACES = 2
# A byte for each place says whether a message is in there.
_PLACES_AT = mmap.PAGESIZE
_SIZE = _PLACES_AT + _N_PLACES * N_MOST


class Box:
    """Places for messages that were sent and not received yet.

    Parameters
    ----------
    fd : int
        Of a file made by `make_box_file`; of no use to the box after that.

    Examples
    --------
    >>> fd = make_box_file()
    >>> box, other = Box(fd), Box(fd)
    >>> place = box.put([memoryview(b"a long "), memoryview(b"message")])
    >>> with other.take(place, 14) as message:
    ...     bytes(message)
    b'a long message'
    >>> box.close(), other.close(), os.close(fd)
    (None, None, None)
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _SIZE)

    def put(self, parts: Sequence[memoryview]) -> int | None:
        """Return the place where a message now lies; None if all are taken.

        Parameters
        ----------
        parts : sequence of memoryview
            The bytes of the message, `N_MOST` bytes or less in all.
        """
        for place in range(_N_PLACES):
            if not self._map[place]:
                at = _PLACES_AT + place * N_MOST
                for part in parts:
                    self._map[at : at + len(part)] = part
                    at += len(part)
                self._map[place] = 1
                return place
        return None

    @contextlib.contextmanager
    def take(self, place: int, n_bytes: int) -> Iterator[memoryview]:
        """Yield a message of that length; its place is free after that."""
        at = _PLACES_AT + place * N_MOST
        try:
            with memoryview(self._map) as whole, whole[at : at + n_bytes] as view:
                yield view
        finally:
            self._map[place] = 0

    def close(self) -> None:
        """Let go of the memory; a second call does nothing."""
        self._map.close()


def make_box_file() -> int | None:
    """Return the descriptor of a new file in memory for a box.

    Returns
    -------
    int or None
        None where it can't be had.
    """
    if not have_memfd():
        return None
    try:
        fd = os.memfd_create("daskkit-box", os.MFD_CLOEXEC)
    except OSError:
        return None
    try:
        os.ftruncate(fd, _SIZE)
    except OSError:
        os.close(fd)
        return None
    return fd
