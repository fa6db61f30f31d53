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
import time

__all__ = ["N_SLOTS", "OPENS", "SENDS", "TRIES", "Board", "make_file"]

#: Batches that a lane may hold: one executes, one waits.
N_SLOTS = 2

_SIZE = mmap.PAGESIZE
# Where there is what, as numbers of eight bytes: each is written and read at once, so
# that nobody ever sees half of one.
_PID, _DONE = 0, 1
# When the claimed items began (seconds of `time.perf_counter`, 0 if there are none),
# the first and the last + 1 of them, and again when they began.
_CLAIM = 2
# When a slot began to be handled, the slot plus 1, which of `OPENS`, `SENDS` and
# `TRIES`, and again when.
_HANDLED = 6
# A slot: first item that is not claimed, and end of the batch.
_SLOTS, _SLOT_BYTES = 10, 16
# Who reads what is just being written looks again, so often: then nobody is writing,
# but somebody was stopped amid it.
_N_LOOKS = 100
# The types of the results that are tried: a length and a text.
_TYPES_AT = 512
_TYPES = struct.Struct("<q1024s")

#: What a lane does with a batch besides executing it: it opens the items, packs the
#: results, or tries whether these can be rebuilt.
OPENS, SENDS, TRIES = range(3)

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
        view = memoryview(self._map)
        self._numbers, self._times = view.cast("q"), view.cast("d")

    def close(self) -> None:
        """Let go of the page; a second call does nothing."""
        if self.fd >= 0:
            self._numbers.release()
            self._times.release()
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    # What the caller does.

    def offer(self, slot: int, start: int, stop: int) -> None:
        """Put a batch into a slot that is free, before its message is sent."""
        at = _SLOTS + 2 * slot
        self._numbers[at], self._numbers[at + 1] = start, stop

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
            at = _SLOTS + 2 * slot
            following, stop = self._numbers[at], self._numbers[at + 1]
            cut = following + max(int((stop - following) * keep), n_least)
            cut = min(cut, stop)
            self._numbers[at + 1] = cut
            return cut, stop

    @property
    def pid(self) -> int:
        """Process of the lane; 0 before it has claimed anything."""
        return self._numbers[_PID]

    @property
    def running(self) -> tuple[int, int, float]:
        """The claimed items, first and end, and when they began; (0, 0, 0.0) if idle.

        Seconds of `time.perf_counter`, which all processes of a machine share.
        """
        return self._read(_CLAIM)

    @property
    def handling(self) -> tuple[int | None, int, float]:
        """What the lane does with a batch besides executing it.

        The slot whose items it opens or whose results it packs, if any; what it does
        with it, such as `OPENS`; and since when.
        """
        handled, stage, began_s = self._read(_HANDLED)
        return (handled - 1 if handled else None), stage, began_s

    @property
    def types(self) -> str:
        """The types of the results that were tried last."""
        length, text = _TYPES.unpack_from(self._map, _TYPES_AT)
        names: str = text[:length].decode(errors="replace")
        return names

    @property
    def n_done(self) -> int:
        """Items that the lane has executed."""
        return self._numbers[_DONE]

    # What the lane does.

    def enter(self) -> None:
        """Say which process this is."""
        self._numbers[_PID], self._numbers[_DONE] = os.getpid(), 0
        self._write(_CLAIM, 0, 0, 0.0)

    def handle(self, slot: int | None, stage: int = OPENS, types: str = "") -> None:
        """Say that code of the items' or results' classes runs, or None does any more.

        It may end the process, as the items themselves may.
        """
        if stage == TRIES:
            text = types.encode(errors="replace")[:1024]
            _TYPES.pack_into(self._map, _TYPES_AT, len(text), text)
        handled = 0 if slot is None else slot + 1
        self._write(_HANDLED, handled, stage, time.perf_counter())

    def claim(self, slot: int, n_items: int) -> tuple[int, int]:
        """Return the next items to execute, first and end; equal if none are left."""
        with self._locked(slot):
            at = _SLOTS + 2 * slot
            start = self._numbers[at]
            stop = min(start + n_items, self._numbers[at + 1])
            self._numbers[at] = stop
        self._write(_CLAIM, start, stop, time.perf_counter())
        return start, stop

    def finished(self, n_items: int) -> None:
        """Say that the claimed items are done."""
        self._write(_CLAIM, 0, 0, 0.0)
        self._numbers[_DONE] += n_items

    # What belongs together has its time before and behind it: who finds the same one
    # at both ends has read what was written at that time.

    def _write(self, at: int, first: int, second: int, began_s: float) -> None:
        """Say two numbers and since when they hold."""
        self._times[at] = began_s
        self._numbers[at + 1] = first
        self._numbers[at + 2] = second
        self._times[at + 3] = began_s

    def _read(self, at: int) -> tuple[int, int, float]:
        """Return what was written last; (0, 0, 0.0) for nothing."""
        for _ in range(_N_LOOKS):
            began_s = self._times[at + 3]
            first, second = self._numbers[at + 1], self._numbers[at + 2]
            if began_s == self._times[at]:
                return (first, second, began_s) if began_s else (0, 0, 0.0)
        return 0, 0, 0.0

    @contextlib.contextmanager
    def _locked(self, slot: int, patience_s: float | None = None):  # type: ignore[no-untyped-def] # noqa: ANN202 - a context
        """Hold a slot; locks of a process that has died are gone with it."""
        position = 8 * (_SLOTS + 2 * slot)
        if patience_s is None:
            fcntl.lockf(self.fd, fcntl.LOCK_EX, _SLOT_BYTES, position)
        else:
            deadline = time.monotonic() + patience_s
            while True:
                try:
                    fcntl.lockf(
                        self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _SLOT_BYTES, position
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
            fcntl.lockf(self.fd, fcntl.LOCK_UN, _SLOT_BYTES, position)


def make_file() -> int:
    """Return the descriptor of a new, empty file without a name, for one board.

    Returns
    -------
    int
    """
    if sys.platform == "linux":
        fd = os.memfd_create("daskkit-board", os.MFD_CLOEXEC)
    else:
        import tempfile

        fd, path = tempfile.mkstemp(prefix="daskkit-board-")
        os.unlink(path)  # noqa: PTH108 - the counterpart of mkstemp
    os.ftruncate(fd, _SIZE)
    return fd
