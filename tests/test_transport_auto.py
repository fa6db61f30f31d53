"""Packing: what is shared, what is copied, how long it lives, how it fails."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import resource
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
import weakref
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest

from daskkit.transport import (
    auto,
    cache,
    contact,
    files,
    mapping,
    parcel,
    remote,
    segment,
)
from daskkit.transport import ticket as tickets
from daskkit.transport.errors import NoRoomError, TransportError, UnpicklableError

LARGE = 200_000  # doubles: 1.6 MB, above the threshold

needs_memfd = pytest.mark.skipif(
    not files.have_memfd(), reason="anonymous memory files exist on Linux only"
)


@pytest.fixture(autouse=True)
def _no_cache_left(monkeypatch):
    """Start and end each test with nothing kept for a next call or a late receiver."""
    monkeypatch.setattr(parcel, "_LINGER_S", 0)
    # Other tests' shared cluster may hold memory of its own in this process.
    monkeypatch.setattr(segment, "_segments", weakref.WeakValueDictionary())
    auto.forget_cached()
    yield
    auto.forget_cached()
    gc.collect()
    assert not segment._segments


def _send(packed):
    """Return what another process would unpickle, as far as one process can tell."""
    stream = pickle.dumps(packed, protocol=5)
    known = dict(segment._segments)
    segment._segments.clear()
    try:
        return pickle.loads(stream)
    finally:
        received = dict(segment._segments)
        segment._segments.update(received | known)


def test_small_objects_travel_themselves():
    """Below the threshold no file is made; the bytes are in the pickle."""
    packed = auto.pack([np.arange(1000), "text"])
    assert not packed.segments()
    assert packed.n_sent == packed.n_bytes >= 8000


def test_large_objects_travel_as_tickets():
    """Above the threshold the pickle is small, whatever the object's size."""
    packed = auto.pack({"a": np.zeros(LARGE), "b": [np.ones(LARGE)]})
    assert packed.n_bytes > 3_200_000
    assert len(pickle.dumps(packed)) < 3000
    assert sys.getsizeof(packed) >= packed.n_bytes
    assert sys.getsizeof(_send(packed)) < 3000


def test_many_small_buffers_share_one_file():
    """A thousand arrays below the mapping size need one descriptor."""
    arrays = [np.full(1000, i) for i in range(1000)]
    packed = auto.pack(arrays)
    assert len(packed.segments()) == 1
    for back, array in zip(auto.unpack(packed), arrays, strict=True):
        np.testing.assert_array_equal(back, array)


def test_many_large_buffers_need_a_bounded_number_of_files():
    """Three hundred large arrays take at most 128 descriptors, and come back."""
    arrays = [np.full(40_000, i) for i in range(300)]
    packed = auto.pack(arrays)
    assert len(packed.segments()) <= 128
    for back, array in zip(auto.unpack(packed), arrays, strict=True):
        np.testing.assert_array_equal(back, array)


def test_written_copies_are_private():
    """Each unpacking is a copy of its own: writing disturbs neither the others nor us."""
    array = np.zeros(LARGE)
    packed = auto.pack(array)
    received = _send(packed)
    first = auto.unpack(received)
    first[:] = 7
    second = auto.unpack(received)
    assert not second.any()
    assert not auto.unpack(packed).any()
    assert not array.any()
    assert first.flags.writeable
    assert (first == 7).all()


def test_small_written_copies_are_private():
    """The same holds for buffers that travelled themselves."""
    packed = _send(auto.pack(np.zeros(100)))
    auto.unpack(packed)[:] = 7
    assert not auto.unpack(packed).any()


def test_packed_is_a_snapshot():
    """What is written to the object after packing is not seen by the receiver."""
    small, large = np.zeros(100), np.zeros(LARGE)
    packed = auto.pack([small, large])
    small[:] = large[:] = 1
    assert not any(array.any() for array in auto.unpack(packed))


def test_last_unpacking_takes_the_buffers():
    """With `last` a received buffer is used as it is, not copied."""
    received = _send(auto.pack(np.arange(100)))
    back = auto.unpack(received, last=True)
    assert np.shares_memory(back, np.frombuffer(received.buffers[0], back.dtype))


@needs_memfd
def test_results_outlive_their_packing():
    """Arrays stay valid after every handle and descriptor is closed."""
    packed = auto.pack(np.arange(LARGE))
    back = auto.unpack(packed)
    del packed
    gc.collect()
    assert not segment._segments
    np.testing.assert_array_equal(back, np.arange(LARGE))


def _count_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@needs_memfd
def test_a_mapping_holds_no_descriptor():
    """A hundred unpacked arrays keep no file open."""
    before = _count_descriptors()
    kept = [auto.unpack(auto.pack(np.zeros(150_000 + i))) for i in range(100)]
    assert _count_descriptors() <= before + 2
    assert len(kept) == 100


@needs_memfd
def test_shared_memory_is_sealed_and_private():
    """The file can be neither written, resized nor read by other users."""
    packed = auto.pack(np.zeros(LARGE))
    (held,) = packed.segments()
    assert stat.S_IMODE(os.fstat(held.fd).st_mode) == 0o600
    assert not os.get_inheritable(held.fd)
    for change in (
        lambda: os.pwrite(held.fd, b"x", 100),
        lambda: os.ftruncate(held.fd, 10),
        lambda: os.ftruncate(held.fd, 10**8),
    ):
        with pytest.raises(PermissionError):
            change()


# One copy an object, and no stale ones.


def test_packer_shares_an_array_once_in_a_call():
    """The same large array in many objects of a call is in one segment."""
    array, packer = np.zeros(LARGE), auto.Packer()
    packs = [packer.pack((array, i)) for i in range(5)]
    assert len(set.union(*(p.segments() for p in packs))) == 1


def test_items_are_not_kept_but_those_met_again():
    """Items that are done are freed; one that comes again is kept from then on."""
    packer = auto.Packer()
    arrays = [np.full(LARGE, i) for i in range(3)]
    for array in arrays:
        packer.pack([array], keep=False).close()
    assert not segment._segments
    for _ in range(2):
        packer.pack([arrays[0]], keep=False).close()
    assert len(segment._segments) == 1


def test_packer_shares_an_array_once_across_calls():
    """A second call finds the copy of the first while the array lives."""
    array = np.zeros(LARGE)
    first = auto.Packer().pack(array).segments()
    second = auto.Packer().pack([array, 1]).segments()
    assert {s.token for s in first} == {s.token for s in second}


def test_packer_sees_changes_between_calls():
    """An array that was changed, even in one byte, is shared anew."""
    array = np.zeros(LARGE)
    first = auto.Packer().pack(array)
    array[-1] = 1
    second = auto.Packer().pack(array)
    assert auto.unpack(second)[-1] == 1
    assert auto.unpack(first)[-1] == 0


def test_packer_is_not_fooled_by_recycled_memory():
    """A new array at the address of a dead one is not taken for it."""
    packer = auto.Packer()
    for i in range(20):
        array = np.full(LARGE, float(i))
        assert auto.unpack(packer.pack(array))[0] == i
        del array


def test_packer_frees_copies_with_their_arrays():
    """The kept copy goes when the array goes, at the end of the call at the latest."""
    array, packer = np.zeros(LARGE), auto.Packer()
    packer.pack(array)
    assert len(segment._segments) == 1
    del array
    assert not auto._cache._entries
    del packer
    gc.collect()
    assert not segment._segments


def test_cache_is_bounded(monkeypatch):
    """Of living arrays only the latest are kept for a next call."""
    monkeypatch.setattr(cache, "_cache_limit", lambda: 5_000_000)
    arrays = [np.full(LARGE, i) for i in range(10)]
    for array in arrays:
        auto.Packer().pack(array)
    gc.collect()
    assert sum(s.n_bytes for s in segment._segments.values()) <= 5_000_000
    assert segment._segments


def test_views_of_one_array_are_told_apart():
    """Slices of one array are shared by what they show, not by who owns them."""
    base, packer = np.arange(4.0 * LARGE), auto.Packer()
    views = [base[:LARGE], base[LARGE : 2 * LARGE], base[1 : LARGE + 1]]
    for view in views:
        np.testing.assert_array_equal(auto.unpack(packer.pack(view)), view)


def test_frames_are_recognised_across_calls():
    """Numeric and, with pyarrow, text columns are shared once while the frame lives."""
    frame = pd.DataFrame({"x": np.arange(LARGE), "s": ["some text"] * LARGE})
    first, second = (auto.Packer().pack(frame) for _ in range(2))
    shared = first.segments() & second.segments()
    assert shared
    pd.testing.assert_frame_equal(auto.unpack(second), frame)


# Failures.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM, errno.EDQUOT])
def test_full_memory_names_object_and_size(monkeypatch, number):
    """A write that fails for want of room says what was to be written; nothing stays."""

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoRoomError, match=r"shape \(200000,\).*\(1.53 MiB\)") as caught:
        auto.pack(np.zeros(LARGE))
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value.__cause__, OSError)


def test_object_larger_than_free_memory_is_refused(monkeypatch):
    """What can't fit is refused before anything is written, and nobody is killed."""
    monkeypatch.setattr(files, "_free_memory", lambda: 1e6)
    monkeypatch.setattr(os, "pwrite", None)
    with pytest.raises(NoRoomError, match=r"38.1 MiB.*977 KiB are free"):
        auto.pack(np.zeros(5_000_000))


@needs_memfd
def test_file_size_limit_is_reported():
    """A real limit on file sizes ends in the same error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(NoRoomError, match=r"ndarray of shape \(200000,\)"):
            auto.pack(np.zeros(LARGE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_names_object_and_leaves_no_file(monkeypatch, tmp_path):
    """With temporary files a full disk is reported, and the partial file is removed."""
    full = tmp_path / "full"
    full.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {full} 2>/dev/null"):
        pytest.skip("mounting a small file system needs root")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(full))
        with (
            dask.config.set({"daskkit.transport.route": "file"}),
            pytest.raises(NoRoomError, match=r"1.53 MiB.*No space left"),
        ):
            auto.pack(np.zeros(LARGE))
        assert not list(full.rglob("*"))
    finally:
        os.system(f"umount {full}")


def test_too_many_open_files_is_no_failure(monkeypatch):
    """Beyond its share of descriptors a process sends the bytes themselves."""
    monkeypatch.setattr(segment, "_max_open", lambda: 0)
    packed = auto.pack([np.full(LARGE, 5.0)])
    assert not packed.segments()
    assert auto.unpack(_send(packed))[0][0] == 5


def test_exhausted_descriptors_are_no_failure(monkeypatch):
    """The same when the system itself refuses another file."""

    def refuse():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(files, "make_memory_file", refuse)
    monkeypatch.setattr(files, "make_named_file", refuse)
    assert auto.unpack(auto.pack(np.full(LARGE, 5.0)))[0] == 5


def test_receiver_with_too_many_files_maps_and_closes(monkeypatch):
    """A receiver at its limit keeps the memory without the descriptor."""
    packed = auto.pack(np.full(LARGE, 5.0))
    stream = pickle.dumps(packed)
    known = dict(segment._segments)
    segment._segments.clear()
    monkeypatch.setattr(segment, "_max_open", lambda: 0)
    received = pickle.loads(stream)
    (held,) = received.segments()
    assert held.fd == -1
    assert held.is_open
    auto.unpack(received)[:] = 1
    assert auto.unpack(received)[0] == 5
    again = pickle.loads(pickle.dumps(received, protocol=5))
    assert auto.unpack(again)[0] == 5
    segment._segments.clear()
    segment._segments.update(known)


def test_too_many_mappings_become_copies(monkeypatch):
    """Where the kernel refuses another mapping the content is read instead."""

    def refuse(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    packed = auto.pack(np.arange(LARGE))
    monkeypatch.setattr(mapping, "map_private", refuse)
    np.testing.assert_array_equal(auto.unpack(packed), np.arange(LARGE))


def test_no_memory_for_a_copy_is_reported(monkeypatch):
    """A receiver without memory says what it was that didn't fit."""
    packed = auto.pack([np.zeros(100)] + [np.zeros(1000 + i) for i in range(200)])
    (held,) = packed.segments()
    held.n_bytes = 2**62
    with pytest.raises(NoRoomError, match="list of length 201"):
        held.read(0, held.n_bytes)


def test_unknown_route_is_refused():
    """A misspelt configuration is an error that lists what there is."""
    with (
        dask.config.set({"daskkit.transport.route": "pigeon"}),
        pytest.raises(TransportError, match="'pigeon'; available: auto, file"),
    ):
        auto.pack(np.zeros(LARGE))


def test_released_memory_is_a_clear_error():
    """Unpacking after the owner has let go says so; nothing hangs."""
    packed = auto.pack(np.zeros(LARGE))
    stream = pickle.dumps(packed)
    del packed
    gc.collect()
    received = pickle.loads(stream)
    with pytest.raises(TransportError, match="released it or has ended"):
        auto.unpack(received)


@needs_memfd
@pytest.mark.parametrize("other", ["pipe", "device", "segment"])
def test_recycled_descriptor_is_never_taken_for_the_segment(other):
    """Another file under the same process and number is not opened, not even a pipe."""
    # In a process of its own: here other threads may take the number meanwhile.
    code = f"from tests.test_transport_auto import recycle; recycle({other!r})"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def recycle(other):
    """Put another file under the descriptor of a segment, and try to open that."""
    packed = auto.pack(np.zeros(LARGE))
    (held,) = packed.segments()
    stream, number = pickle.dumps(packed), held.fd
    del packed, held
    auto.forget_cached()
    gc.collect()
    opened = set(os.pipe())
    if other == "device":
        opened.add(os.open("/dev/null", os.O_RDONLY))
    elif other == "segment":
        opened.add(_other_segment(np.ones(LARGE)))
    os.dup2(max(opened), number)
    try:
        with pytest.raises(TransportError):
            auto.unpack(pickle.loads(stream))
    finally:
        for fd in opened | {number}:
            os.close(fd)


def _other_segment(array):
    """Return the descriptor of a complete segment of the same size."""
    fd, _ = tickets.open_new(array.nbytes, "other", named=False)
    pieces = [(tickets.HEADER, memoryview(array).cast("B"))]
    files.write_all(fd, pieces, what="other", n_bytes=array.nbytes)
    tickets.finish(fd, b"?" * 16, array.nbytes, None, "other")
    return fd


@pytest.mark.parametrize("damage", ["short", "no header", "another's", "missing"])
def test_damaged_files_are_never_read(damage):
    """A file that is cut, incomplete or not the one meant is a clear error."""
    with dask.config.set({"daskkit.transport.route": "file"}):
        packed = auto.pack(np.arange(LARGE))
    (held,) = packed.segments()
    stream, path = pickle.dumps(packed), Path(held.path)
    if damage == "short":
        os.truncate(path, 1000)
    elif damage == "no header":
        with path.open("r+b") as file:
            file.write(bytes(tickets.HEADER))
    elif damage == "another's":
        with path.open("r+b") as file:
            file.seek(18)
            file.write(b"another token...")
    else:
        path.unlink()
    known = dict(segment._segments)
    segment._segments.clear()
    received = pickle.loads(stream)
    with pytest.raises(TransportError):
        auto.unpack(received)
    segment._segments.clear()
    segment._segments.update(known)


def test_file_cut_while_it_is_held_is_an_error():
    """A copy from a file that was cut meanwhile is an error, not zeros."""
    with dask.config.set({"daskkit.transport.route": "file"}):
        packed = auto.pack([np.full(100, i) for i in range(2000)])
    (held,) = packed.segments()
    os.truncate(held.path, 1000)
    with pytest.raises(TransportError, match="cut short"):
        auto.unpack(packed)


# Temporary files.


def test_temporary_files_are_private_and_go_with_the_object():
    """Files have mode 0600, folders 0700; both go, and so does the guardian."""
    with dask.config.set({"daskkit.transport.route": "file"}):
        packed = auto.pack(np.arange(LARGE))
    (held,) = packed.segments()
    path = Path(held.path)
    guardian = files._folder.guardian
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    back = auto.unpack(_send(packed))
    del packed, held
    gc.collect()
    assert not path.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(guardian, 0)
    np.testing.assert_array_equal(back, np.arange(LARGE))


def test_forked_child_leaves_its_parents_files_alone():
    """A child that ends after a fork doesn't remove what the parent still shares."""
    with dask.config.set({"daskkit.transport.route": "file"}):
        packed = auto.pack(np.arange(LARGE))
    (held,) = packed.segments()
    path = Path(held.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads may be running
        pid = os.fork()
    if pid == 0:
        files.remove_named_file(str(path))
        os._exit(0)
    os.waitpid(pid, 0)
    assert path.exists()


def test_wire_route_shares_nothing():
    """Told to share nothing, all bytes are in the pickle."""
    with dask.config.set({"daskkit.transport.route": "wire"}):
        packed = auto.pack(np.arange(LARGE))
    assert not packed.segments()
    np.testing.assert_array_equal(auto.unpack(_send(packed)), np.arange(LARGE))


# Dask.


def test_spilled_objects_carry_their_bytes(tmp_path):
    """What Dask spills to its disk is complete: the memory it referred to goes."""
    from distributed.spill import SpillBuffer

    buffer = SpillBuffer(str(tmp_path), target=100)
    buffer["x"] = auto.pack(np.arange(LARGE))
    assert "x" in buffer.slow
    gc.collect()
    assert not segment._segments
    back = buffer["x"]
    np.testing.assert_array_equal(auto.unpack(back), np.arange(LARGE))
    again = pickle.loads(pickle.dumps(back, protocol=5))
    np.testing.assert_array_equal(auto.unpack(again), np.arange(LARGE))
    buffer.clear()


def test_place_tells_machines_namespaces_and_users_apart():
    """A ticket from elsewhere is not even tried."""
    packed = auto.pack(np.arange(LARGE))
    (held,) = packed.segments()
    _, (ticket,) = held.__reduce__()
    here = contact.find_place()
    assert ticket.place == here
    elsewhere = ticket._replace(token=b"0" * 16, place=here._replace(machine="another"))
    assert not segment.attach(elsewhere).is_open


def test_request_for_what_is_gone_is_answered():
    """A holder that is asked for a released segment says that it hasn't got it."""
    assert remote.serve_bytes(b"unknown", 0, 1) is None
    assert remote.serve_path(b"unknown") is None
    remote.receive("unknown request", chunk=b"x")


def test_holder_serves_parts_and_a_file():
    """A holder hands out any part of a segment, and a complete file of it."""
    packed = auto.pack(np.arange(LARGE))
    (held,) = packed.segments()
    raw = np.arange(LARGE).tobytes()
    assert remote.serve_bytes(held.token, 8, 800) == raw[8:800]
    path = remote.serve_path(held.token)
    assert remote.serve_path(held.token) == path
    _, (ticket,) = held.__reduce__()
    fd = tickets.open_checked(path, ticket)
    assert os.pread(fd, 64, tickets.HEADER) == raw[:64]
    os.close(fd)


def test_packing_in_many_threads():
    """Threads that pack at the same time don't get each other's objects."""
    wrong = []

    def work(i):
        for _ in range(10):
            packer = auto.Packer()
            array = np.full(LARGE, float(i))
            back = auto.unpack(packer.pack([array, i]))
            if back[1] != i or (back[0] != i).any():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_unpicklable_objects_share_nothing():
    """A failure in pickling leaves no memory behind."""
    with pytest.raises(UnpicklableError):
        auto.pack([np.zeros(LARGE), threading.Lock()])


def test_packed_shows_what_it_is():
    """The text form names object and size."""
    assert repr(auto.pack(np.zeros(LARGE))) == (
        "<Packed ndarray of shape (200000,) and dtype float64, 1.53 MiB>"
    )


def test_close_frees_memory_that_others_refer_to():
    """Closing ends the memory, though a scheduler still refers to the object."""
    packed = auto.pack(np.arange(LARGE))
    copy = pickle.loads(pickle.dumps(packed))  # as a scheduler in this process has it
    (held,) = copy.segments()
    with packed:
        np.testing.assert_array_equal(auto.unpack(copy), np.arange(LARGE))
    packed.close()
    assert not held.is_open
    with pytest.raises(TransportError, match="released by this process"):
        auto.unpack(copy)
    with pytest.raises(TransportError, match="released it"):
        auto.unpack(pickle.loads(pickle.dumps(copy)))


def test_close_leaves_other_users_alone():
    """Closing one object doesn't take from another what both share."""
    array, packer = np.arange(LARGE), auto.Packer()
    one, other = packer.pack([array, 1]), packer.pack([array, 2])
    one.close()
    np.testing.assert_array_equal(auto.unpack(other)[0], array)
    other.close()
    third = auto.Packer().pack(array)  # still cached for the next call
    np.testing.assert_array_equal(auto.unpack(third), array)
    third.close()
    (held,) = third.segments()
    del array
    assert not held.is_open


@needs_memfd
def test_untouched_mappings_are_used_again():
    """The next user gets the last one's mapping, but only if nobody wrote to it."""
    packed = auto.pack(np.zeros(1_000_000))

    def address(array):
        return array.__array_interface__["data"][0]

    first = auto.unpack(packed)
    second = auto.unpack(packed)
    assert address(first) != address(second)  # never two users at a time
    where = address(first)
    assert not first.any()
    del first
    third = auto.unpack(packed)
    assert address(third) == where
    third[500_000] = 1
    del third
    fourth = auto.unpack(packed)
    assert not fourth.any()
    view = fourth[10:20]
    del fourth
    fifth = auto.unpack(packed)
    fifth[:] = 2
    assert not view.any()


@needs_memfd
def test_spare_mappings_end_with_the_memory():
    """No mapping stays when the object is gone, whichever goes first."""

    def count_mappings():
        return Path("/proc/self/maps").read_text().count("/memfd:daskkit")

    before = count_mappings()
    for order in range(2):
        packed = auto.pack(np.zeros(1_000_000))
        array = auto.unpack(packed)
        if order:
            del array
            assert count_mappings() == before + 1
            del packed
        else:
            del packed
            assert count_mappings() == before + 1
            del array
        gc.collect()
        assert count_mappings() == before


def test_mappings_are_not_reused_where_pages_can_not_be_seen(monkeypatch):
    """Without the kernel's page map every mapping is a fresh one."""

    def refuse(*_):
        raise PermissionError

    packed = auto.pack(np.zeros(1_000_000))
    array = auto.unpack(packed)
    monkeypatch.setattr(mapping.os, "open", refuse)
    del array
    gc.collect()
    assert packed.segments().pop().spares.take() is None


def test_unpack_once_is_shared_by_copies():
    """All copies in a process give the same object, as long as there is one."""
    packed = auto.pack([np.zeros(LARGE)])
    copy = pickle.loads(pickle.dumps(packed))
    value = auto.unpack_once(copy)
    assert auto.unpack_once(packed) is value
    assert auto.unpack(packed) is not value
    token = packed.token
    assert token in parcel._loaded
    del copy, packed
    gc.collect()
    assert token not in parcel._loaded
    assert not value[0].any()
