"""Where the thread that feeds the lanes waits for whatever happens next."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Mailbox"]


class Mailbox:
    """Events from sockets and from other threads, in one queue.

    An event is a function without arguments, which the waiting thread calls.

    Examples
    --------
    >>> mailbox = Mailbox()
    >>> mailbox.post(lambda: "called")
    >>> [event() for event in mailbox.wait(timeout_s=1.0)]
    ['called']
    >>> mailbox.close()
    """

    def __init__(self) -> None:
        self._posted: deque[Callable[[], Any]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)
        os.set_blocking(self._wake_r, False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        self._is_closed = False
        # A closed descriptor's number may belong to somebody else's file.
        self._lock = threading.Lock()

    def post(self, event: Callable[[], Any]) -> None:
        """Add an event, from any thread; after `close` nothing happens."""
        self._posted.append(event)
        with self._lock:
            if not self._is_closed:
                try:
                    os.write(self._wake_w, b"\0")
                except BlockingIOError:
                    return  # full, so the reader is going to wake up

    def watch(self, file: Any, event: Callable[[], Any]) -> None:
        """Add `event` whenever a socket can be read."""
        self._selector.register(file, selectors.EVENT_READ, (event, _nothing))

    def watch_room(self, file: Any, event: Callable[[], Any] | None) -> None:
        """Add `event` whenever a watched socket can be written; None ends that."""
        on_read, _ = self._selector.get_key(file).data
        if event is None:
            self._selector.modify(file, selectors.EVENT_READ, (on_read, _nothing))
        else:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(file, both, (on_read, event))

    def ignore(self, file: Any) -> None:
        """Watch a socket no more; call it before the socket is closed."""
        self._selector.unregister(file)

    def wait(self, timeout_s: float | None) -> list[Callable[[], Any]]:
        """Return the events that are there, after a while perhaps none."""
        if self._posted:
            timeout_s = 0.0
        events = []
        for key, mask in self._selector.select(timeout_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_r, 4096)
                continue
            on_read, on_room = key.data
            if mask & selectors.EVENT_WRITE:
                events.append(on_room)
            if mask & selectors.EVENT_READ:
                events.append(on_read)
        while self._posted:
            events.append(self._posted.popleft())
        return events

    def close(self) -> None:
        """Close what it has opened itself; a second call does nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._selector.close()
                os.close(self._wake_r)
                os.close(self._wake_w)


def _nothing() -> None:
    """Do nothing."""
