"""The types that Dask sends as one object."""

from __future__ import annotations

import pickle
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest
from dask.sizeof import sizeof
from distributed.protocol import deserialize, serialize

from daskkit.transport import partition
from daskkit.transport.broken import Broken
from daskkit.transport.errors import TransportError, UnpicklableError
from daskkit.transport.partition import Partition, as_made, measure_bytes, send_whole

CONTAINERS = [[1, "a", None], (1, 2), {1, 2, 3}, {"a": 1, (2, 3): [4]}, [], (), {}]


def _through_dask(value):
    """Return what a peer gets, by the way on which Dask sends a task's result."""
    header, frames = serialize(value, on_error="raise", iterate_collection=True)
    return deserialize(header, [bytearray(frame) for frame in frames]), frames


def test_import_is_cheap():
    """Importing the module imports neither NumPy, pandas, Dask nor distributed."""
    code = (
        "import sys, daskkit.transport.partition as p; p.Partition([1]);"
        "heavy = {'numpy', 'pandas', 'dask', 'distributed', 'cloudpickle'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_partition_is_a_list():
    """It compares, slices and prints as a list of its elements."""
    part = Partition(range(3))
    assert part == [0, 1, 2]
    assert part[1:] == [1, 2]
    assert repr(part) == "[0, 1, 2]"
    assert Partition() == []


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_partition_survives_pickling(protocol):
    """A pickled Partition comes back as a Partition, by any protocol."""
    part = Partition([1, [2], {"a": np.arange(10_000)}])
    back = pickle.loads(pickle.dumps(part, protocol=protocol))
    assert type(back) is Partition
    assert back[:2] == part[:2]
    np.testing.assert_array_equal(back[2]["a"], part[2]["a"])


@pytest.mark.parametrize("n", [1, 10, 5000])
def test_partition_is_sent_as_one_object(n):
    """Dask makes the same number of frames of it, however many elements it has."""
    back, frames = _through_dask(Partition(range(n)))
    assert back == list(range(n))
    assert len(frames) == 2


def test_buffers_go_out_of_band():
    """An array's memory is a frame of its own; the stream doesn't hold a copy."""
    array = np.arange(100_000)
    _, frames = _through_dask(Partition([array]))
    assert max(memoryview(frame).nbytes for frame in frames) == array.nbytes
    assert np.shares_memory(np.frombuffer(frames[-1], array.dtype), array)


def test_functions_of_main_are_pickled_by_value():
    """What `__main__` defines is carried along: another process has another main."""
    namespace = {"__name__": "__main__"}
    exec("def triple(x):\n    return 3 * x", namespace)
    back, frames = _through_dask(Partition([namespace["triple"]]))
    assert back[0](2) == 6
    # In the stream, out of band; distributed would pickle everything again otherwise.
    assert b"__main__" not in bytes(frames[0])


def test_functions_of_modules_are_pickled_by_reference():
    """A function that a worker can import travels as its name."""
    _, frames = _through_dask(Partition([pytest.importorskip]))
    assert b"importorskip" in bytes(frames[1])
    assert len(bytes(frames[1])) < 100


def test_modules_registered_by_value_are_respected():
    """Cloudpickle's registry counts, though plain pickle would manage."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        _, frames = _through_dask(Partition([_through_dask]))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert len(bytes(frames[1])) > 500


def test_unpicklable_element_is_named():
    """The error says which element can't be pickled, and why."""
    import threading

    part = Partition([1, {"lock": threading.Lock()}])
    with pytest.raises(UnpicklableError, match=r"\[1\]\['lock'\] \(lock\).*_thread"):
        pickle.dumps(part)


def test_result_that_cannot_be_pickled_is_named():
    """By its index in the whole, if that is known."""
    part = Partition([1, (x for x in "ab")])
    part.start = 40
    with pytest.raises(UnpicklableError, match="the result of item 41 can't be sent"):
        pickle.dumps(part)


def test_each_use_of_what_is_broken_raises():
    """Nobody takes it for an empty list."""
    broken = Broken(TransportError, "lost")
    uses = [
        as_made,
        list,
        len,
        bool,
        reversed,
        *(lambda x: [*x], lambda x: x[0], lambda x: x[:]),
    ]
    for use in [*uses, lambda x: 1 in x, lambda x: x == [], lambda x: [*x, 1]]:
        with pytest.raises(TransportError, match="lost"):
            use(broken)
    assert sizeof(broken) < 1000
    sent = pickle.dumps([broken])
    with pytest.raises(TransportError, match="lost"):
        pickle.loads(sent)


@pytest.mark.parametrize("value", CONTAINERS, ids=repr)
def test_send_whole_arrives_as_the_exact_type(value):
    """The receiver can't tell the container from one that was sent bare."""
    outgoing = send_whole(value)
    assert outgoing == value
    back, frames = _through_dask(outgoing)
    assert back == value
    assert type(back) is type(value)
    assert len(frames) == 2


def test_send_whole_leaves_others_alone():
    """Subclasses of containers, arrays and scalars are not touched."""
    from collections import OrderedDict, namedtuple

    point = namedtuple("point", "x y")(1, 2)  # noqa: PYI024 - an ordinary one is meant
    for value in (point, OrderedDict(a=1), np.arange(3), 4, "text", None):
        assert send_whole(value) is value


def test_sizeof_counts_nested_arrays():
    """Dask is told of arrays inside containers, one among many small things."""
    array = np.zeros(1_000_000)
    small = list(range(2000))
    for value in (
        Partition([array]),
        Partition([*small[:500], array, *small[:400]]),
        Partition([{"a": array}]),
        Partition([[1, (array,)]]),
        send_whole({"x": array}),
        send_whole((1, array)),
    ):
        assert array.nbytes <= sizeof(value) <= 1.1 * array.nbytes


def test_sizeof_samples_long_lists():
    """A long list is estimated by elements from all over it, within a few per cent."""
    part = Partition([b"x" * 1000] * 50_000 + [bytes(i % 50) for i in range(50_000)])
    exact = sys.getsizeof(part) + 50_000 * 1025 // 50_000 + 50_000 * 58
    assert sizeof(part) < 2 * exact
    distinct = Partition([b"x" * (1000 + i % 7) for i in range(20_000)])
    assert sizeof(distinct) == pytest.approx(20_000 * 1011, rel=0.02)


def test_sizeof_counts_a_repeated_object_once():
    """The same array ten times is one array of memory."""
    array = np.zeros(100_000)
    assert measure_bytes([array] * 10) < 1.1 * array.nbytes


def test_sizeof_is_registered_late(monkeypatch):
    """Registering happens with the first Partition after Dask was imported."""
    monkeypatch.setattr(partition, "_registered", False)
    monkeypatch.delitem(sys.modules, "dask.sizeof")
    Partition([1])
    assert not partition._registered
    monkeypatch.undo()
    Partition([1])
    assert partition._registered
