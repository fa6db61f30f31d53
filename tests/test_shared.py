"""`share`: one copy for all workers, wherever the handle is used."""

from __future__ import annotations

import gc
import os
import pickle
import time

import numpy as np
import pandas as pd
import pytest

from daskkit.transport import auto, segment
from daskkit.transport.errors import TransportError, UnpicklableError
from daskkit.transport.shared import Shared, share

LARGE = 300_000


def _wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        gc.collect()
        time.sleep(0.02)


def _count_memory_files(client=None):
    """Return how many shared memory files this process or each worker has open."""

    def count():
        import contextlib
        import gc
        from pathlib import Path

        gc.collect()
        n = 0
        for path in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                n += str(path.readlink()).startswith("/memfd:daskkit")
        return n

    return count() if client is None else sum(client.run(count).values())


def test_handle_gives_the_object():
    """In the owner's process `get` returns an equal, independent, writable object."""
    array = np.arange(LARGE)
    handle = share(array)
    back = handle.get()
    np.testing.assert_array_equal(back, array)
    back[0] = -1
    assert array[0] == 0
    assert handle.get() is back


@pytest.mark.parametrize(
    "value",
    [
        5,
        "text",
        [1, {"a": np.zeros(LARGE)}],
        pd.DataFrame({"x": np.arange(LARGE), "c": pd.Categorical(["a"] * LARGE)}),
        np.ma.masked_greater(np.arange(LARGE), 5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_object_can_be_shared(value):
    """Scalars, containers, frames and masked arrays come out of a pickled handle."""
    handle = share(value)
    back = pickle.loads(pickle.dumps(handle)).get()
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_with_block_frees_the_memory():
    """After the block the handle is closed and nothing is held."""
    before = len(segment._segments)
    with share(np.zeros(LARGE)) as handle:
        kept = handle.get()
        assert len(segment._segments) == before + 1
    assert len(segment._segments) == before
    assert not kept.any()  # what was got stays valid
    with pytest.raises(TransportError, match="closed; use it before the end"):
        handle.get()
    with pytest.raises(TransportError, match="is closed"):
        pickle.dumps(handle)
    handle.close()


def test_memory_goes_with_the_last_handle():
    """Without `close` the memory goes when nothing refers to the handle."""
    before = len(segment._segments)
    handle = share(np.zeros(LARGE))
    other = pickle.loads(pickle.dumps(handle))
    del handle
    gc.collect()
    assert len(segment._segments) == before + 1
    assert other.get().shape == (LARGE,)
    del other
    gc.collect()
    assert len(segment._segments) == before


def test_nested_handles_are_kept_alive():
    """A handle inside a shared object lives as long as that object."""
    outer = share({"inner": share(np.full(LARGE, 3.0)), "n": 1})
    gc.collect()
    inner = pickle.loads(pickle.dumps(outer)).get()["inner"]
    assert inner.get()[0] == 3


def test_unpicklable_object_is_refused():
    """The error comes at once, and names the object."""
    with pytest.raises(UnpicklableError, match="generator"):
        share(i for i in range(3))


def test_handle_shows_what_it_is():
    """The text form names the object and its size, or that it is closed."""
    handle = share(np.zeros(LARGE))
    expected = f"<Shared ndarray of shape ({LARGE},) and dtype float64, 2.29 MiB>"
    assert repr(handle) == expected
    handle.close()
    assert repr(handle).endswith("closed>")


def test_handle_has_a_token():
    """Dask names tasks by handles without pickling what they stand for."""
    from dask.tokenize import tokenize

    one, other = share(np.zeros(LARGE)), share(np.zeros(LARGE))
    assert tokenize(one) == tokenize(one)
    assert tokenize(one) != tokenize(other)
    assert tokenize(pickle.loads(pickle.dumps(one))) == tokenize(one)


# In workers.


def test_workers_use_the_owners_memory(shared_client):
    """All workers map the same file: same inode as in this process."""
    handle = share(np.arange(LARGE))
    (held,) = handle._packed.segments()

    def look(handle):
        (held,) = handle._packed.segments()
        return os.fstat(held.fd).st_ino, int(handle.get().sum())

    futures = [
        shared_client.submit(look, handle, pure=False, workers=[address])
        for address in shared_client.nthreads()
    ]
    expected = (os.fstat(held.fd).st_ino, LARGE * (LARGE - 1) // 2)
    assert [future.result() for future in futures] == [expected, expected]


def test_handle_in_arguments_closures_and_containers(shared_client):
    """A handle works wherever Dask takes an object to a worker."""
    handle = share(np.full(LARGE, 2.0))
    futures = [
        shared_client.submit(lambda h: h.get()[0], handle, pure=False),
        shared_client.submit(lambda: handle.get()[0], pure=False),
        shared_client.submit(lambda d: d["x"][0].get()[0], {"x": [handle]}, pure=False),
        shared_client.submit(lambda *, h: h.get()[0], h=handle, pure=False),
        shared_client.submit(
            lambda h: h.get()[0], shared_client.scatter(handle), pure=False
        ),
    ]
    assert shared_client.gather(futures) == [2.0] * 5


def test_handle_that_is_dropped_at_once(shared_client):
    """`submit(func, share(x))` works, though nobody keeps the handle."""
    futures = [
        shared_client.submit(lambda h: h.get()[0], share(np.full(LARGE, i)), pure=False)
        for i in range(10)
    ]
    assert shared_client.gather(futures) == list(range(10))


def test_tasks_have_private_copies(shared_client):
    """What a task writes is seen by no other task and not by the owner."""
    handle = share(np.zeros(LARGE))

    def write(handle, i):
        array = handle.get()
        seen = float(array.max())
        array[:] = i + 1
        return seen

    futures = [shared_client.submit(write, handle, i, pure=False) for i in range(10)]
    assert shared_client.gather(futures) == [0.0] * 10
    assert not handle.get().any()


def test_workers_free_their_hold(shared_client):
    """When the tasks are done and the handle closed, no process holds the memory."""
    mine, theirs = _count_memory_files(), _count_memory_files(shared_client)
    with share(np.zeros(LARGE)) as handle:
        futures = [
            shared_client.submit(lambda h, i: h.get()[i], handle, i, pure=False)
            for i in range(10)
        ]
        assert shared_client.gather(futures) == [0.0] * 10
        del futures
    _wait_until(lambda: _count_memory_files(shared_client) == theirs)
    _wait_until(lambda: _count_memory_files() == mine)


def test_closed_handle_fails_in_the_task(shared_client):
    """A task that starts after the owner closed the handle says so."""
    handle = share(np.zeros(LARGE))

    def wait_and_get(stream):
        import pickle

        return pickle.loads(stream).get()

    stream = pickle.dumps(handle)
    handle.close()
    future = shared_client.submit(wait_and_get, stream, pure=False)
    with pytest.raises(TransportError, match="released it or has ended"):
        future.result()


def test_worker_can_share_with_its_caller(shared_client):
    """A handle that a task returns gives the caller the worker's object."""

    def make():
        import numpy as np

        from daskkit.transport.shared import share

        return share(np.full(300_000, 4.0))

    future = shared_client.submit(make, pure=False)
    handle = future.result()
    assert isinstance(handle, Shared)
    del future
    assert handle.get()[0] == 4


# Results and arguments.

OBJECTS = {
    "C order": np.arange(240_000.0).reshape(600, 400),
    "Fortran order": np.asfortranarray(np.arange(240_000.0).reshape(600, 400)),
    "strided": np.arange(400_000)[::-2],
    "big endian": np.arange(240_000, dtype=">i8"),
    "datetimes": np.arange(240_000).astype("M8[s]"),
    "records": np.zeros(50_000, dtype=[("a", "i4"), ("b", "M8[ns]"), ("c", "U3")]),
    "masked": np.ma.masked_less(np.arange(240_000.0), 100),
    "frame": pd.DataFrame(
        {
            "n": np.arange(60_000),
            "text": [f"row {i % 50}" for i in range(60_000)],
            "kind": pd.Categorical(["a", "b", None] * 20_000, ordered=True),
            "time": pd.date_range("2024", periods=60_000, freq="s", tz="Asia/Tokyo"),
            "maybe": pd.array([1, None] * 30_000, dtype="Int32"),
        },
        index=pd.MultiIndex.from_product([range(600), range(100)], names=["i", "j"]),
    ),
    "nested": {"a": [np.ones(200_000), (np.zeros(3), "text")], 7: {1, 2}},
    "text": "long " * 300_000,
}


@pytest.mark.parametrize("way", ["mapped", "sent"])
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_survive_both_directions(shared_client, name, way):
    """To a worker and back again: values, dtypes, order, index and column types."""
    from daskkit import checks

    value, here = OBJECTS[name], auto.pack(0).place
    home = here if way == "mapped" else here._replace(machine="elsewhere")

    def echo(packed, home):
        from daskkit.transport import auto

        return auto.pack(auto.unpack(packed), home=home)

    with auto.pack(value, home=home) as packed:
        assert bool(packed.segments()) == (way == "mapped")
        future = shared_client.submit(echo, packed, home, pure=False)
        answer = future.result()
    back = auto.unpack(answer, last=True)
    checks.check_equal(back, value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(back, value)
        back.iloc[0, 0] = -1
    elif isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        assert back.flags.f_contiguous == value.flags.f_contiguous or name == "strided"
        back[:1] = back[1:2]


def test_large_results_are_mapped(shared_client):
    """A packed result comes back writable, and outlives its future and its worker."""

    def make(i):
        import numpy as np

        from daskkit.transport import auto

        return auto.pack([np.full(300_000, float(i)), i])

    future = shared_client.submit(make, 3, pure=False)
    packed = future.result()
    assert packed.n_sent < 1000
    del future
    array, number = auto.unpack(packed, last=True)
    del packed
    assert number == 3
    assert array.flags.writeable
    array += 1
    assert (array == 4).all()


def test_functions_with_large_captures(shared_client):
    """A packed function carries its array by reference; writing to it is harmless."""
    array = np.zeros(LARGE)

    def bump(i):
        array[i] += 1
        return float(array.sum())

    packed = auto.pack(bump)

    def run(packed, i):
        from daskkit.transport import auto

        return auto.unpack(packed)(i)

    futures = [shared_client.submit(run, packed, i, pure=False) for i in range(8)]
    assert shared_client.gather(futures) == [1.0] * 8
    assert not array.any()


def test_results_are_freed(shared_client):
    """Two hundred 1 MB results, one after the other, leave nothing behind."""

    def make(i):
        import numpy as np

        from daskkit.transport import auto

        return auto.pack(np.full(131_072, float(i)))

    mine, theirs = _count_memory_files(), _count_memory_files(shared_client)
    for i in range(200):
        packed = shared_client.submit(make, i, pure=False).result()
        assert auto.unpack(packed, last=True)[0] == i
    del packed
    _wait_until(lambda: _count_memory_files(shared_client) <= theirs + 1)
    assert _count_memory_files() <= mine


def test_failed_tasks_free_their_arguments(shared_client):
    """Ten failing tasks with 50 MB arguments leave no copy behind."""

    def fail(packed):
        from daskkit.transport import auto

        raise ValueError(auto.unpack(packed).shape)

    mine, theirs = _count_memory_files(), _count_memory_files(shared_client)
    for _ in range(10):
        array = np.zeros(6_250_000)
        with auto.Packer().pack(array) as packed:
            future = shared_client.submit(fail, packed, pure=False)
            with pytest.raises(ValueError, match="6250000"):
                future.result()
        # The client keeps a failed future: its traceback has the frame of `result`,
        # and that has the future.
        future.cancel()
        del future, array, packed
        assert _count_memory_files() <= mine
    gc.collect()
    _wait_until(lambda: _count_memory_files(shared_client) <= theirs)
