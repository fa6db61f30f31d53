"""Objects over a socket, of any size, without waiting to send."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from daskkit.run import box, link
from daskkit.run.box import N_MOST, Box, make_box_file
from daskkit.run.lane import Order
from daskkit.run.link import Link
from daskkit.transport.auto import pack, unpack
from daskkit.transport.files import have_memfd

needs_boxes = pytest.mark.skipif(not have_memfd(), reason="no memory files here")


@pytest.fixture
def ends():
    """Yield both ends of a link."""
    one, other = map(Link, socket.socketpair())
    yield one, other
    one.close()
    other.close()


@pytest.mark.parametrize("has_box", [True, False])
@pytest.mark.parametrize(
    "n_bytes", [0, 1, 1_000, 2**16, 500_000, N_MOST - 50, N_MOST, 30_000_000]
)
def test_messages_arrive_whole(ends, n_bytes, has_box, monkeypatch):
    """Also those that are larger than what the socket or a box holds."""
    if not has_box:
        monkeypatch.setattr(link, "make_box_file", lambda: None)
    one, other = ends
    message = bytes(range(256)) * (n_bytes // 256) + b"x" * (n_bytes % 256)
    received = []
    thread = threading.Thread(
        target=lambda: received.extend(other.receive() for _ in range(4))
    )
    thread.start()
    is_through = [one.send(what) for what in (message, message, message, b"last")][-1]
    while not is_through:
        is_through = one.flush()
    thread.join()
    assert received == [message, message, message, b"last"]


@needs_boxes
def test_long_message_needs_no_room_in_the_socket(ends):
    """A lane that has one batch and computes need not read the next one."""
    one, other = ends
    message = b"x" * (N_MOST - 100)
    assert one.send(message) is True
    assert one.send(message) is True
    assert other.receive() == message
    assert one.send(message) is True
    assert [other.receive() for _ in range(2)] == [message, message]


@needs_boxes
def test_long_messages_use_the_same_memory(ends):
    """They come by thousands, and new memory for each takes longer than to copy it."""
    one, other = ends
    before = _find_boxes()
    message, n_boxes = b"x" * 500_000, []
    for _ in range(50):
        one.send(message)
        other.receive()
        other.send_whole(message)
        one.receive()
        n_boxes.append(len(_find_boxes() - before))
    assert len(set(n_boxes)) == 1


def _find_boxes():
    """Return the descriptors of boxes of this process, other tests' lanes included."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if "daskkit-box" in str(entry.readlink()):
                found.add((entry.name, entry.stat().st_ino))
    return found


def test_large_parts_are_not_copied_before():
    """An order with a batch of 500 kB is put together where the other end reads it."""
    stream = b"x" * 500_000
    parts = link._dump(Order(0, 1, 2, 3, 4, stream))
    assert any(part.obj is stream for part in parts)
    packed = pack(np.arange(60_000))
    parts = link._dump(Order(0, 1, 2, 3, 4, packed))
    assert any(part.nbytes == 480_000 for part in parts)


def test_packed_arrays_arrive(ends):
    """Theirs are buffers; each reader has writable memory of its own."""
    one, other = ends
    arrays = [np.arange(20_000) + i for i in range(3)]
    one.send(pack(arrays))
    one.send(pack(arrays))
    first, second = (unpack(other.receive(), last=True) for _ in range(2))
    first[0][:] = 0
    one.send(pack([b"y" * 400_000]))
    other.receive()
    np.testing.assert_array_equal(second, arrays)
    np.testing.assert_array_equal(first[1:], arrays[1:])


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
    before = _find_boxes()
    with pytest.raises(OSError, match="Broken pipe"):
        one.send_whole(b"x" * 500_000)
    assert len(_find_boxes() - before) == 1  # the mapping has one itself
    with pytest.raises(OSError, match="Broken pipe"):
        one.send(b"x" * 500_000)


@pytest.mark.parametrize("n_sent", [3, 8, 16, 19])
def test_half_a_message_is_none(ends, n_sent):
    """A sender that dies in the middle leaves an error, not a shorter message."""
    one, other = ends
    one._socket.send((struct.pack("<qq", 10, -1) + b"abc")[:n_sent])
    one.close()
    with pytest.raises(EOFError):
        other.receive()


@needs_boxes
def test_no_file_is_left(ends):
    """Neither of a message that was received nor of one that never was sent."""
    before = _find_boxes()
    one, other = map(Link, socket.socketpair())
    while one.send(b"x" * 1_000):
        pass
    assert one.send(b"x" * 500_000) is False
    one.close()
    other.close()
    assert not _find_boxes() - before


@needs_boxes
def test_too_many_files_are_open(ends):
    """Who can't take in the box says why."""
    import resource

    one, other = ends
    one.send(b"x" * 500_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        with pytest.raises(OSError, match="too many files open"):
            other.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@needs_boxes
def test_box_that_is_full():
    """Both places are taken; the third message has to go by itself."""
    fd = make_box_file()
    one, other = Box(fd), Box(fd)
    os.close(fd)
    parts = [memoryview(b"ab"), memoryview(b"c")]
    assert [one.put(parts) for _ in range(3)] == [0, 1, None]
    with pytest.raises(KeyError), other.take(0, 3) as view:
        assert bytes(view) == b"abc"
        raise KeyError
    # A place is free also where its message could not be read.
    assert one.put(parts) == 0
    one.close()
    other.close()


@needs_boxes
def test_no_room_to_map_a_box(ends, monkeypatch):
    """Then long messages go by the socket, and no file is left."""

    def fail(*_):
        raise OSError

    one, other = ends
    before = _find_boxes()
    monkeypatch.setattr(box.mmap, "mmap", fail)
    thread = threading.Thread(target=lambda: one.send_whole(b"x" * 500_000))
    thread.start()
    assert other.receive() == b"x" * 500_000
    thread.join()
    assert not _find_boxes() - before


def test_no_memory_for_a_box(monkeypatch):
    """Then there is none."""

    def fail(*_):
        raise OSError

    monkeypatch.setattr(box.os, "ftruncate", fail)
    before = _find_boxes()
    assert make_box_file() is None
    assert not _find_boxes() - before


def test_end_is_seen_beside_copies_of_the_socket(ends):
    """Such as those of processes that were forked meanwhile."""
    one, other = ends
    copy = os.dup(one.fileno())
    try:
        one.close()
        assert other.has_message(5.0)
        with pytest.raises(EOFError):
            other.receive()
    finally:
        os.close(copy)


def test_end_in_a_fork_is_none_of_its_parent(ends):
    """A fork closes its copy only."""
    one, other = ends
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
        pid = os.fork()
    if pid == 0:
        try:
            one.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    one.send("still here")
    assert other.receive() == "still here"
