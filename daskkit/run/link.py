"""Messages between caller and lane over a socket; the caller never waits to send.

A lane reads its next batch only when it has sent an answer. A caller that waited until
a large batch is through would wait for ever if the answer is large, too.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import deque

__all__ = ["Link"]

_HEADER = struct.Struct("<Q")
_N_AT_ONCE = 2**20
# To copy it takes less than to call the system twice.
_N_SHORT = 2**16


class Link:
    """One end of a socket that carries whole messages.

    Parameters
    ----------
    end : socket.socket
        Of type SOCK_STREAM, blocking; closed with this object.

    Examples
    --------
    >>> one, other = map(Link, socket.socketpair())
    >>> one.send(b"a batch")
    True
    >>> other.receive()
    b'a batch'
    >>> one.close(), other.close()
    (None, None)
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._unsent: deque[memoryview] = deque()
        # Threads of an item print while its lane answers.
        self._sending = threading.RLock()

    def fileno(self) -> int:
        """Return the descriptor, for selectors; -1 once it is closed."""
        return self._socket.fileno()

    def send(self, message: bytes) -> bool:
        """Send a message, or as much of it as goes without waiting.

        Returns
        -------
        bool
            Whether all is sent; if not, call `flush` when the socket can be written.

        Raises
        ------
        OSError
            If the other end is gone.
        """
        self._unsent.append(memoryview(_HEADER.pack(len(message))))
        self._unsent.append(memoryview(message))
        return self.flush()

    def flush(self) -> bool:
        """Go on sending; return whether all is sent."""
        while self._unsent:
            part = self._unsent[0]
            try:
                n_sent = self._socket.send(part, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if n_sent < len(part):
                self._unsent[0] = part[n_sent:]
            else:
                self._unsent.popleft()
        return True

    def send_whole(self, message: bytes) -> None:
        """Send a message and wait until it is sent."""
        header = _HEADER.pack(len(message))
        with self._sending:
            if len(message) < _N_SHORT:
                self._socket.sendall(header + message)
            else:
                self._socket.sendall(header)
                self._socket.sendall(message)

    def has_message(self, timeout_s: float) -> bool:
        """Return whether there is something to receive, or will be soon."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def be_patient(self, timeout_s: float) -> None:
        """Have `receive` raise `TimeoutError` if the other end stops amid a message."""
        self._socket.settimeout(timeout_s)

    def receive(self) -> bytes:
        """Return the next message; waits for it, and for all of it.

        Raises
        ------
        EOFError
            If the other end was closed.
        OSError
            If the connection is broken.
        """
        (n_bytes,) = _HEADER.unpack(self.receive_exactly(_HEADER.size))
        return self.receive_exactly(n_bytes)

    def receive_exactly(self, n_bytes: int) -> bytes:
        """Return so many bytes, which are no whole message."""
        received = bytearray()
        while len(received) < n_bytes:
            part = self._socket.recv(min(_N_AT_ONCE, n_bytes - len(received)))
            if not part:
                raise EOFError
            received += part
        return bytes(received)

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        self._unsent.clear()
        self._socket.close()
