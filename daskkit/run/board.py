"""A page of memory that the caller and one lane share: who executes which items.

A batch that was handed over is not lost to the others: the lane claims its items a few
at a time, and the caller may withdraw what is not claimed yet. The page also says which
items the lane executes right now, and since when, whatever becomes of its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import sys
import tempfile
import time

__all__ = ["N_SLOTS", "Board"]

#: Batches that a lane may hold: one executes, one waits.
N_SLOTS = 2

_SIZE = mmap.PAGESIZE
# Who executes what: pid, first and last + 1 of the claimed items, when they began
# (seconds of the monotonic clock), items done in all.
_STATE = struct.Struct("<qqqdq")
_CLAIM = struct.Struct("<qqd")
_CLAIM_AT = 8
_DONE = struct.Struct("<q")
_DONE_AT = _CLAIM_AT + _CLAIM.size
# A slot: first item that is not claimed, and end of the batch.
_SLOT = struct.Struct("<qq")
# The slot whose items are being opened, or results packed, plus 1.
_HANDLED_AT = _STATE.size
_HANDLED = struct.Struct("<q")
_SLOTS_AT = 64
# A lane that is frozen while it claims must not hold up the caller.
_LOCK_PATIENCE_S = 0.005


class Board:
    """One lane's page; both sides make one of the same file.

    Parameters
    ----------
    fd : int
        Of a file made by `make_file`; closed with the board.

    Examples
    --------
    >>> board = Board(make_file())
    >>> board.offer(0, 10, 20)
    >>> board.claim(0, 4)
    (10, 14)
    >>> board.withdraw(0, keep=0.5)
    (17, 20)
    >>> board.claim(0, 4), board.claim(0, 4)
    ((14, 17), (17, 17))
    >>> board.close()
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)

    def close(self) -> None:
        """Let go of the page; a second call does nothing."""
        if self.fd >= 0:
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    # What the caller does.

    def offer(self, slot: int, start: int, stop: int) -> None:
        """Put a batch into a slot that is free, before its message is sent."""
        _SLOT.pack_into(self._map, _SLOTS_AT + slot * _SLOT.size, start, stop)

    def withdraw(
        self, slot: int, *, keep: float = 0.0, n_least: int = 0
    ) -> tuple[int, int]:
        """Take items back that the lane has not claimed.

        Parameters
        ----------
        slot : int
            Of a batch that was offered.
        keep : float, default 0
            Share of those items that the lane keeps, the first ones.
        n_least : int, default 0
            How many it keeps at least.

        Returns
        -------
        tuple of int
            The first of them and the end; equal if there are none.
        """
        with self._locked(slot, patience_s=_LOCK_PATIENCE_S) as is_locked:
            if not is_locked:
                return 0, 0
            position = _SLOTS_AT + slot * _SLOT.size
            following, stop = _SLOT.unpack_from(self._map, position)
            cut = following + max(int((stop - following) * keep), n_least)
            cut = min(cut, stop)
            _SLOT.pack_into(self._map, position, following, cut)
            return cut, stop

    @property
    def pid(self) -> int:
        """Process of the lane; 0 before it has claimed anything."""
        pid: int = _STATE.unpack_from(self._map, 0)[0]
        return pid

    @property
    def running(self) -> tuple[int, int, float]:
        """The claimed items, first and end, and when they began; (0, 0, 0.0) if idle.

        Seconds of `time.perf_counter`, which all processes of a machine share.
        """
        _, start, stop, began, _ = _STATE.unpack_from(self._map, 0)
        return start, stop, began

    @property
    def handled(self) -> int | None:
        """The slot whose items the lane opens or whose results it packs, if any."""
        handled: int = _HANDLED.unpack_from(self._map, _HANDLED_AT)[0]
        return handled - 1 if handled else None

    @property
    def n_done(self) -> int:
        """Items that the lane has executed."""
        done: int = _DONE.unpack_from(self._map, _DONE_AT)[0]
        return done

    # What the lane does.

    def enter(self) -> None:
        """Say which process this is."""
        _STATE.pack_into(self._map, 0, os.getpid(), 0, 0, 0.0, 0)

    def handle(self, slot: int | None) -> None:
        """Say that code of the items' or results' classes runs, or None does any more.

        It may end the process, as the items themselves may.
        """
        _HANDLED.pack_into(self._map, _HANDLED_AT, 0 if slot is None else slot + 1)

    def claim(self, slot: int, n_items: int) -> tuple[int, int]:
        """Return the next items to execute, first and end; equal if none are left."""
        with self._locked(slot):
            position = _SLOTS_AT + slot * _SLOT.size
            start, limit = _SLOT.unpack_from(self._map, position)
            stop = min(start + n_items, limit)
            _SLOT.pack_into(self._map, position, stop, limit)
        _CLAIM.pack_into(self._map, _CLAIM_AT, start, stop, time.perf_counter())
        return start, stop

    def finished(self, n_items: int) -> None:
        """Say that the claimed items are done."""
        _CLAIM.pack_into(self._map, _CLAIM_AT, 0, 0, 0.0)
        _DONE.pack_into(self._map, _DONE_AT, self.n_done + n_items)

    @contextlib.contextmanager
    def _locked(self, slot: int, patience_s: float | None = None):  # type: ignore[no-untyped-def] # noqa: ANN202 - a context
        """Hold a slot; locks of a process that has died are gone with it."""
        position = _SLOTS_AT + slot * _SLOT.size
        if patience_s is None:
            fcntl.lockf(self.fd, fcntl.LOCK_EX, _SLOT.size, position)
        else:
            deadline = time.monotonic() + patience_s
            while True:
                try:
                    fcntl.lockf(
                        self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _SLOT.size, position
                    )
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        yield False
                        return
                    time.sleep(0.0001)
        try:
            yield True
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, _SLOT.size, position)


def make_file() -> int:
    """Return the descriptor of a new, empty file without a name, for one board.

    Returns
    -------
    int
    """
    if sys.platform == "linux":
        fd = os.memfd_create("daskkit-board", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="daskkit-board-")
        os.unlink(path)  # noqa: PTH108 - the counterpart of mkstemp
    os.ftruncate(fd, _SIZE)
    return fd
