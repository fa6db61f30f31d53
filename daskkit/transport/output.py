"""The answer of a call that several processes write into: an array, in parts.

The one piece of memory in which processes see each other's writes, and only until the
call is over. It begins as an array of the caller's own. Before another process is told
of the call, `share` makes an anonymous file in memory, and from then on all write into
that, if they can open it; what they can't write has to travel.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskkit.transport import contact, files, mapping, segment
from daskkit.transport import ticket as tickets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Layout", "Output", "find_span"]

#: Smaller answers are not worth a file: their parts travel (see `auto.SHARE_FROM`).
SHARE_FROM = 2**20

# The file's first page: what it is, its token, then the size of the layout and the
# layout, which are written when it is known. The content follows, on a page of its own.
_START = 4096
_MAGIC = b"daskkit output\0\0"
_N_TOKEN_BYTES = 16
_SIZE_AT = len(_MAGIC) + _N_TOKEN_BYTES
_LAYOUT_AT = 64


class Layout(NamedTuple):
    """How the answer lies in memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    #: ``"C"`` or ``"F"``.
    order: str

    @property
    def n_bytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def can_be_shared(self) -> bool:
        """Whether its bytes mean the same in all processes, and are worth a file."""
        return (
            not self.dtype.hasobject
            and self.dtype.kind != "T"  # strings of any length, held elsewhere
            and self.n_bytes >= SHARE_FROM
        )


class _Ticket(NamedTuple):
    """How another process finds the file."""

    token: bytes
    pid: int
    fd: int
    place: contact.Place


class Output:
    """An array that one call fills, in this process and in others.

    The caller makes it; it says what the array is like (`allocate`) once it knows, and
    takes it in the end (`finish`). Anybody may `put` parts that nobody else puts.

    Parameters
    ----------
    what : str
        What it is called in errors.

    Examples
    --------
    >>> output = Output("squares")
    >>> output.allocate(Layout((4,), np.dtype(int), "C"))
    >>> output.put((slice(0, 2),), np.array([0, 1])), output.put((slice(2, 4),), 4)
    (True, True)
    >>> output.finish()
    array([0, 1, 4, 4])
    """

    def __init__(self, what: str) -> None:
        self._what = what
        #: Of the process that calls `allocate` and `finish`; 0 in all others.
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._layout: Layout | None = None
        # The caller's own memory, and which parts of the answer are in there.
        self._array: NDArray[Any] | None = None
        self._parts: list[Sequence[slice]] = []
        # The file that all share.
        self._token = b""
        self._fd = -1
        self._is_used = False
        self._mapped: NDArray[Any] | None = None
        self._close: Callable[[], object] = _do_nothing

    @property
    def is_mine(self) -> bool:
        """Whether this is the process that made it."""
        return os.getpid() == self._owner

    @property
    def layout(self) -> Layout | None:
        """How the answer lies in memory; None as long as this process can't know."""
        if self._layout is None and self._fd >= 0 and not self.is_mine:
            self._layout = _read_layout(self._fd)
        return self._layout

    def allocate(self, layout: Layout) -> None:
        """Say what the answer is like, once, in the process that made this.

        Raises
        ------
        NoRoomError
            If there is not that much memory.
        """
        with self._lock:
            if self._fd >= 0 and not self._publish(self._fd, layout):
                self._close()
                self._fd, self._close = -1, _do_nothing
            if self._fd < 0:
                order: Any = layout.order
                self._array = np.empty(layout.shape, layout.dtype, order)
            self._layout = layout  # last: other threads may write from now on

    def share(self) -> None:
        """Have other processes that are told of this from now on write here, too.

        Does nothing where they could not, or where it isn't worth it.

        Raises
        ------
        NoRoomError
            If there is not that much memory.
        """
        with self._lock:
            if self._fd >= 0 or not files.have_memfd() or segment.route() != "auto":
                return
            layout = self._layout
            if layout is not None and not layout.can_be_shared:
                return
            try:
                fd = files.make_memory_file()
            except OSError:  # too many open files: everything has to travel
                return
            try:
                self._token = os.urandom(_N_TOKEN_BYTES)
                header = memoryview(_MAGIC + self._token)
                files.write_all(fd, [(0, header)], what=self._what, n_bytes=_START)
                is_ready = layout is None or self._publish(fd, layout)
            except BaseException:
                os.close(fd)
                raise
            if is_ready:
                self._hold(fd)  # last: other threads write into it from now on
            else:
                os.close(fd)

    def put(self, region: Sequence[slice], values: Any) -> bool:
        """Write a part of the answer; return whether it is where it belongs.

        Parameters
        ----------
        region : sequence of slice
            Where, one for each axis, from a start to a stop, or all.
        values : array_like
            What; of the region's shape or one that can be broadcast to it.

        Returns
        -------
        bool
            False if this process has no way to write it: it has to travel.
        """
        layout = self.layout
        if layout is None:
            return False
        if self._fd >= 0:
            self._put_into_file(layout, region, values)
            self._is_used = True
            return True
        array = self._array
        if array is None or not self.is_mine:
            return False
        with self._lock:
            self._parts.append(region)
        array[tuple(region)] = values
        return True

    def finish(self, *, is_used: bool = False) -> NDArray[Any]:
        """Return the answer, which is the caller's alone from now on.

        Parameters
        ----------
        is_used : bool, default False
            Whether another process has put something here.

        Returns
        -------
        numpy.ndarray
            Writable. What was put nowhere is undefined.
        """
        with self._lock:
            layout, array = self._layout, self._array
            assert layout is not None  # whoever finishes has allocated
            if self._fd < 0 or not (is_used or self._is_used):
                assert array is not None  # it is there until a file takes over
                self.close()
                return array
            for region in self._parts:
                assert array is not None  # where else the parts would be
                self._put_into_file(layout, region, array[tuple(region)])
            fd, size = self._fd, _START + layout.n_bytes
            self._mapped = self._array = None
            with contextlib.suppress(OSError):
                # A worker that maps it still, for a moment, writes nothing any more.
                files.seal(fd)
            memory = mapping.map_private(fd, size)[_START:]
            self.close()
            return _view(layout, memory)

    def close(self) -> None:
        """Let go of file and memory; a second call does nothing."""
        with self._lock:
            self._close()
            self._close = _do_nothing
            self._fd, self._array, self._mapped = -1, None, None

    def __reduce__(self) -> tuple[Callable[..., Output], tuple[Any, ...]]:
        ticket = None
        if self._fd >= 0:
            ticket = _Ticket(self._token, os.getpid(), self._fd, contact.find_place())
        return _restore, (self._what, ticket)

    def _hold(self, fd: int) -> None:
        self._fd = fd
        finalizer = weakref.finalize(self, os.close, fd)
        finalizer.atexit = False
        self._close = finalizer

    def _publish(self, fd: int, layout: Layout) -> bool:
        """Let those who have the file know its layout; False if it can't have that."""
        record = pickle.dumps(layout, 5)
        if not layout.can_be_shared or len(record) > _START - _LAYOUT_AT:
            return False
        n_bytes = _START + layout.n_bytes
        files.check_room(n_bytes, self._what)
        os.ftruncate(fd, n_bytes)
        files.seal_size(fd)
        # The size comes last: who sees it can read the layout.
        size = len(record).to_bytes(8, "little")
        pieces = [(_LAYOUT_AT, memoryview(record)), (_SIZE_AT, memoryview(size))]
        files.write_all(fd, pieces, what=self._what, n_bytes=n_bytes)
        return True

    def _put_into_file(
        self, layout: Layout, region: Sequence[slice], values: Any
    ) -> None:
        """Write a part; in one piece without a mapping, which takes twice as long.

        1.9 GB/s against 1.1: the kernel neither clears the pages first nor takes a
        fault for each (two virtual cores, Linux 6.18).
        """
        span = find_span(layout, region)
        if span is None:
            np.copyto(self._map(layout)[tuple(region)], values, casting="same_kind")
            return
        offset, shape = span
        part = values
        if not (
            isinstance(values, np.ndarray)
            and values.dtype == layout.dtype
            and values.shape == shape
            and (
                values.flags.f_contiguous
                if layout.order == "F"
                else values.flags.c_contiguous
            )
        ):
            order: Any = layout.order
            part = np.empty(shape, layout.dtype, order)
            np.copyto(part, values, casting="same_kind")
        if part.nbytes:
            flat = part.ravel("K").view(np.uint8)
            pieces = [(_START + offset, memoryview(flat))]
            files.write_all(self._fd, pieces, what=self._what, n_bytes=layout.n_bytes)

    def _map(self, layout: Layout) -> NDArray[Any]:
        with self._lock:
            if self._mapped is None:
                memory = mapping.map_shared(self._fd, _START + layout.n_bytes)
                self._mapped = _view(layout, memory[_START:])
            return self._mapped


def find_span(
    layout: Layout, region: Sequence[slice]
) -> tuple[int, tuple[int, ...]] | None:
    """Return where a part lies if it is one piece of memory.

    Parameters
    ----------
    layout : Layout
        Of the whole.
    region : sequence of slice
        The part, as in `Output.put`.

    Returns
    -------
    tuple of int and tuple, or None
        Offset in bytes, and the part's shape; None if it has gaps.

    Examples
    --------
    >>> layout = Layout((4, 10), np.dtype("u1"), "C")
    >>> find_span(layout, (slice(1, 3), slice(None)))
    (10, (2, 10))
    >>> find_span(layout, (slice(1, 3), slice(0, 5))) is None
    True
    >>> find_span(layout, (slice(1, 2), slice(2, 5)))
    (12, (1, 3))
    """
    lengths = layout.shape
    bounds = [
        part.indices(length)[:2] for part, length in zip(region, lengths, strict=True)
    ]
    shape = tuple(stop - start for start, stop in bounds)
    offset, stride = 0, layout.dtype.itemsize
    # From the axis whose neighbours are neighbours in memory outwards.
    axes = range(len(lengths))
    is_whole = True
    for axis in reversed(axes) if layout.order == "C" else axes:
        if not is_whole and shape[axis] > 1:
            return None
        is_whole = is_whole and shape[axis] == lengths[axis]
        offset += bounds[axis][0] * stride
        stride *= lengths[axis]
    return offset, shape


#: True in tests: this process behaves as if it could open nobody's descriptors.
_blocked = False


def _view(layout: Layout, memory: memoryview) -> NDArray[Any]:
    order: Any = layout.order
    return np.ndarray(layout.shape, layout.dtype, memory, order=order)


def _read_layout(fd: int) -> Layout | None:
    """Return what `Output._publish` has written, if it has."""
    size = int.from_bytes(os.pread(fd, 8, _SIZE_AT), "little")
    if not size:
        return None
    layout: Layout = pickle.loads(os.pread(fd, size, _LAYOUT_AT))
    return layout


def _restore(what: str, ticket: _Ticket | None) -> Output:
    """Return another process's hold on an output, which may be none."""
    output = Output(what)
    output._owner = 0  # noqa: SLF001 - the module's own class, made in another process
    if ticket is None or ticket.place != contact.find_place() or _blocked:
        return output
    path = f"/proc/{ticket.pid}/fd/{ticket.fd}"
    fd = tickets.open_file(path, (os.geteuid(),), writable=True)
    if fd is None:
        return output
    if os.pread(fd, _SIZE_AT, 0) == _MAGIC + ticket.token:
        output._hold(fd)  # noqa: SLF001 - as above
    else:
        os.close(fd)
    return output


def _do_nothing() -> None:
    """Close nothing."""
