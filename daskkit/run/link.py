"""Messages between caller and lane over a socket; the caller never waits to send.

A lane reads its next batch only when it has sent an answer. A caller that waited until
a large batch is through would wait for ever if the answer is large, too.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import socket
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from daskkit.run.box import N_MOST, Box, make_box_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Link"]

# Bytes of the message, and its place in the box; they follow if it has none.
_HEADER = struct.Struct("<qq")
_NO_PLACE = -1
_N_AT_ONCE = 2**20
# Shorter messages are copied sooner than the system is called twice, and fit into any
# socket.
_N_SHORT = 2**16


class Link:
    """One end of a socket that carries objects.

    Parameters
    ----------
    end : socket.socket
        Of type SOCK_STREAM, blocking; closed with this object.

    Examples
    --------
    >>> one, other = map(Link, socket.socketpair())
    >>> one.send("a batch")
    True
    >>> other.receive()
    'a batch'
    >>> one.close(), other.close()
    (None, None)
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._pid = os.getpid()
        # Bytes, and the descriptors that go with the first of them.
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        # Threads of an item print while its lane answers.
        self._sending = threading.RLock()
        # For what this end sends and for what the other one does, from the first long
        # message on.
        self._outbox: Box | None = None
        self._inbox: Box | None = None
        self._has_tried = False

    def fileno(self) -> int:
        """Return the descriptor, for selectors; -1 once it is closed."""
        return self._socket.fileno()

    def send(self, message: Any) -> bool:
        """Send an object, or as much of it as goes without waiting.

        Parameters
        ----------
        message : object
            That pickle can take, with nothing of the user's in it but bytes.

        Returns
        -------
        bool
            Whether all is sent; if not, call `flush` when the socket can be written.

        Raises
        ------
        OSError
            If the other end is gone.
        """
        self._unsent += self._cut(message)
        return self.flush()

    def flush(self) -> bool:
        """Go on sending; return whether all is sent."""
        while self._unsent:
            part, fds = self._unsent[0]
            try:
                n_sent = self._send(part, fds, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if n_sent < len(part):
                self._unsent[0] = part[n_sent:], []
            else:
                self._unsent.popleft()
        return True

    def send_whole(self, message: Any) -> None:
        """Send an object as `send` does, and wait until it is sent."""
        with self._sending:
            for part, fds in self._cut(message):
                try:
                    n_sent = self._send(part, fds)
                finally:
                    _close(fds)
                if n_sent < len(part):
                    self._socket.sendall(part[n_sent:])

    def _cut(self, message: Any) -> list[tuple[memoryview, list[int]]]:
        """Return a message in the parts that are sent, and what goes with each."""
        parts = _dump(message)
        n_bytes = sum(map(len, parts))
        if n_bytes < _N_SHORT:
            whole = b"".join((_HEADER.pack(n_bytes, _NO_PLACE), *parts))
            return [(memoryview(whole), [])]
        fds: list[int] = []
        place = None
        if n_bytes <= N_MOST:
            if not self._has_tried:
                fds = self._make_outbox()
            if self._outbox is not None:
                place = self._outbox.put(parts)
        if place is not None:
            return [(memoryview(_HEADER.pack(n_bytes, place)), fds)]
        header = _HEADER.pack(n_bytes, _NO_PLACE)
        return [(part, []) for part in (memoryview(header), *parts)]

    def _make_outbox(self) -> list[int]:
        """Make a box; return the descriptor that the other end needs."""
        self._has_tried = True
        fd = make_box_file()
        if fd is None:
            return []
        try:
            self._outbox = Box(fd)
        except OSError:  # too many mappings: messages go by themselves
            os.close(fd)
            return []
        return [fd]

    def _send(self, part: memoryview, fds: list[int], flags: int = 0) -> int:
        """Send bytes and descriptors; return how many bytes were sent."""
        if not fds:
            return self._socket.send(part, flags)
        n_sent = socket.send_fds(self._socket, [part], fds, flags)
        _close(fds)
        return n_sent

    def has_message(self, timeout_s: float) -> bool:
        """Return whether there is something to receive, or will be soon."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def be_patient(self, timeout_s: float) -> None:
        """Have `receive` raise `TimeoutError` if the other end stops amid a message."""
        self._socket.settimeout(timeout_s)

    def receive(self) -> Any:
        """Return the next object; waits for it, and for all of it.

        Raises
        ------
        EOFError
            If the other end was closed.
        OSError
            If the connection is broken, or this process has too many files open.
        """
        header, fds, _, _ = socket.recv_fds(self._socket, _HEADER.size, 1)
        if not header:
            raise EOFError
        if fds:
            try:
                self._inbox = Box(fds[0])
            finally:
                _close(fds)
        rest = self.receive_exactly(_HEADER.size - len(header))
        n_bytes, place = _HEADER.unpack(header + rest)
        if place == _NO_PLACE:
            return pickle.loads(self.receive_exactly(n_bytes))
        if self._inbox is None:
            msg = "a message was lost: this process has too many files open"
            raise OSError(msg)
        with self._inbox.take(place, n_bytes) as view:
            return pickle.loads(view)

    def receive_exactly(self, n_bytes: int) -> bytearray:
        """Return so many bytes, which are no whole message."""
        received = bytearray(n_bytes)
        with memoryview(received) as view:
            n_received = 0
            while n_received < n_bytes:
                rest = view[n_received : n_received + _N_AT_ONCE]
                n_more = self._socket.recv_into(rest)
                if not n_more:
                    raise EOFError
                n_received += n_more
        return received

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        for _, fds in self._unsent:
            _close(fds)
        self._unsent.clear()
        for box in (self._outbox, self._inbox):
            if box is not None:
                box.close()
        # The other end has to see it now, whatever processes were forked meanwhile that
        # have this socket open as well; but who closes it in one means that one only.
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):  # it is gone already
                self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class _Writer:
    """What a pickler takes for a file."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[Any], None]) -> None:
        self.write = write


def _dump(message: Any) -> list[memoryview]:
    """Return a pickle in parts; large buffers are not copied but are such parts."""
    parts: list[pickle.PickleBuffer] = []
    writer = _Writer(lambda part: parts.append(pickle.PickleBuffer(part)))
    pickle.Pickler(writer, protocol=5).dump(message)
    return [part.raw() for part in parts]


def _close(fds: list[int]) -> None:
    """Close descriptors, and forget them."""
    while fds:
        os.close(fds.pop())
