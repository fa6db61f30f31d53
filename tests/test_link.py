"""Whole messages over a socket, of any size, without waiting to send."""

from __future__ import annotations

import socket
import threading

import pytest

from daskkit.run.link import Link


@pytest.fixture
def ends():
    """Yield both ends of a link."""
    one, other = map(Link, socket.socketpair())
    yield one, other
    one.close()
    other.close()


@pytest.mark.parametrize("n_bytes", [0, 1, 1_000, 10**6, 30_000_000])
def test_messages_arrive_whole(ends, n_bytes):
    """Also those that are larger than what the socket holds."""
    one, other = ends
    message = bytes(range(256)) * (n_bytes // 256) + b"x" * (n_bytes % 256)
    received = []
    thread = threading.Thread(
        target=lambda: received.extend(other.receive() for _ in range(2))
    )
    thread.start()
    one.send(message)
    is_through = one.send(b"second")
    while not is_through:
        is_through = one.flush()
    thread.join()
    assert received == [message, b"second"]


def test_sending_does_not_wait(ends):
    """What has no room is sent later."""
    one, other = ends
    message = b"x" * 5_000_000
    assert one.send(message) is False
    assert one.flush() is False
    thread = threading.Thread(target=lambda: other.send_whole(b"answer"))
    thread.start()
    assert one.receive() == b"answer"
    thread.join()


def test_the_other_end_is_gone(ends):
    """Receiving says so, and so does sending."""
    one, other = ends
    other.close()
    with pytest.raises(EOFError):
        one.receive()
    with pytest.raises(OSError, match="Broken pipe"):
        one.send(b"x")


def test_half_a_message_is_none(ends):
    """A sender that dies in the middle leaves an error, not a shorter message."""
    one, other = ends
    one._socket.send(b"\x0a\x00\x00\x00\x00\x00\x00\x00abc")
    one.close()
    with pytest.raises(EOFError):
        other.receive()
