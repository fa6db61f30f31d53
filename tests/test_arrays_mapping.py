"""`map_blocks` and `reduce_blocks`: NumPy's answer, wherever blocks are computed."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest

import daskkit as dk
from daskkit.arrays.mapping import make_map_work
from daskkit.transport import auto, output

RNG = np.random.default_rng(5)
BIG = RNG.random((512, 640))  # 2.6 MB, so that results go into shared memory
PLACES = ["auto", "inline", "threads", "cluster"]


@pytest.fixture(autouse=True)
def _forget_cached():
    """Let go of the shared copies of arrays that outlive a test."""
    yield
    auto.forget_cached()


def spread(block):
    """Return each cell plus its neighbours along all axes, as far as there are any."""
    total = block.astype(float)
    for axis in range(block.ndim):
        ahead = [slice(None)] * block.ndim
        behind = [slice(None)] * block.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        total[tuple(behind)] += block[tuple(ahead)]
        total[tuple(ahead)] += 2 * block[tuple(behind)]
    return total


def slow_root(block):
    """Take 5 ms that no other thread can use."""
    until = time.thread_time() + 0.005
    while time.thread_time() < until:
        pass
    return np.sqrt(block)


def widen(block):
    return np.zeros((len(block), 2500))


def own_pid(block):
    return np.full_like(block, os.getpid())


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("axis", [0, 1, -1, (0, 1), (2, 0), (0, 1, 2)])
def test_elementwise_equals_numpy(shared_client, where, axis):
    """Whatever is cut, the answer is that of the whole array, dtype included."""
    array = RNG.integers(0, 100, (7, 9, 5))
    for blocks in (None, 1, 3, 5, 100):
        result = dk.map_blocks(np.sqrt, array, axis, blocks=blocks, where=where)
        dk.check_equal(result, np.sqrt(array))


@pytest.mark.parametrize(
    "boundary", [None, "none", "reflect", "periodic", "nearest", 3]
)
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_stencil_equals_map_overlap(axis, boundary):
    """Halos, what is beyond the edges and trimming are those of dask.array."""
    array = RNG.random((12, 10))
    chunks = (4, 10) if axis == 0 else (12, 5) if axis == 1 else (4, 5)
    axes = axis if isinstance(axis, tuple) else (axis,)
    overlap = dict.fromkeys(axes, 2)
    beyond = "none" if boundary is None else boundary
    with dask.config.set(scheduler="synchronous"):
        expected = da.map_overlap(
            spread,
            da.from_array(array, chunks=chunks),
            depth={i: overlap.get(i, 0) for i in range(2)},
            boundary={i: beyond if i in axes else "none" for i in range(2)},
            trim=True,
            meta=array,
        ).compute()
    blocks = {i: array.shape[i] // chunks[i] for i in axes}
    result = dk.map_blocks(
        spread, array, axis, overlap, boundary=boundary, blocks=blocks
    )
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("boundary", [None, "reflect", "periodic", "nearest", 0])
@pytest.mark.parametrize(("axis", "blocks"), [(0, 7), (1, 3), ((0, 1), (5, 4))])
def test_stencil_does_not_depend_on_blocks(
    shared_client, where, boundary, axis, blocks
):
    """With enough overlap the answer is that of a single block."""
    whole = dk.map_blocks(spread, BIG, axis, 2, boundary=boundary, blocks=1)
    result = dk.map_blocks(
        spread, BIG, axis, 2, boundary=boundary, blocks=blocks, where=where
    )
    np.testing.assert_array_equal(result, whole)


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [1, 3])
def test_any_number_of_workers(n_workers):
    """One worker and three give NumPy's answer, contiguous blocks or not."""
    with dk.cluster(n_workers=n_workers):
        for axis in (0, 1, (0, 1)):
            for where in ("auto", "cluster"):
                result = dk.map_blocks(slow_root, BIG, axis, blocks=6, where=where)
                np.testing.assert_array_equal(result, np.sqrt(BIG))


def test_children_write_into_the_answer(tmp_path):
    """Without a cluster, children of a script fill one array; nothing is left behind."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, numpy as np, daskkit as dk\n"
        "def pids(block): return np.full_like(block, os.getpid())\n"
        "for axis in (0, 1):\n"
        # A time-out keeps all blocks out of this process.
        "    out = dk.map_blocks(pids, np.zeros((600, 600), int), axis, blocks=60,\n"
        "                        timeout=60)\n"
        "    assert os.getpid() not in out and 0 not in out\n"
        "    assert len(np.unique(out.swapaxes(0, axis)[:10])) == 1\n"
        "out[0] = -1\n"
        "links = [os.path.realpath(f'/proc/self/fd/{n}')\n"
        "         for n in os.listdir('/proc/self/fd')]\n"
        "print([link for link in links if 'memfd' in link])\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_where_cluster_keeps_blocks_out_of_this_process(shared_client):
    """No block is executed by the caller, the first one included."""
    result = dk.map_blocks(own_pid, np.zeros((600, 600)), blocks=12, where="cluster")
    pids = set(result[:, 0].astype(int).tolist())
    assert pids <= set(shared_client.run(os.getpid).values())


@pytest.mark.parametrize("route", ["wire", "file"])
def test_results_travel_where_nothing_is_shared(shared_client, route):
    """Without shared memory the answer is the same."""
    with dask.config.set({"daskkit.transport.route": route}):
        result = dk.map_blocks(slow_root, BIG, blocks=9, where="cluster")
    np.testing.assert_array_equal(result, np.sqrt(BIG))


def test_results_travel_from_workers_that_cannot_open_the_answer(shared_client):
    """A worker without access to the caller's memory sends its blocks."""

    def block(*, value):
        output._blocked = value

    workers = list(shared_client.scheduler_info()["workers"])
    shared_client.run(block, value=True, workers=workers[:1])
    try:
        result = dk.map_blocks(slow_root, BIG, (0, 1), blocks=4, where="cluster")
    finally:
        shared_client.run(block, value=False)
    np.testing.assert_array_equal(result, np.sqrt(BIG))


def test_memory_goes_with_the_array(shared_client):
    """The answer is the caller's: writable, private, and freed with the last reference."""
    pids = [os.getpid(), *shared_client.run(os.getpid).values()]
    for _ in range(3):
        result = dk.map_blocks(widen, np.zeros((4000, 1)), blocks=8, where="cluster")
        result += 1  # 80 MB
        assert _maps(os.getpid())
        del result
        gc.collect()
        assert not _maps(os.getpid())
    deadline = time.monotonic() + 10
    while any(_maps(pid) for pid in pids):
        assert time.monotonic() < deadline, "memory is still mapped"
        # A worker's lane lets go of the last call when the next one comes.
        dk.map_blocks(own_pid, np.zeros(2), where="cluster")
        time.sleep(0.1)


def _maps(pid):
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "memfd:daskkit (" in line]


@pytest.mark.parametrize("where", ["auto", "cluster"])
def test_failing_block_is_named(shared_client, where):
    """The error is func's own, with the block's position and place in a note."""

    def fail(block):
        if 57 in block:
            raise FloatingPointError
        return block

    with pytest.raises(FloatingPointError) as caught:
        dk.map_blocks(fail, np.arange(100.0), blocks=10, where=where)
    assert caught.value.__notes__[0].startswith("raised by block (5,) [50:60] in ")


@pytest.mark.parametrize("where", PLACES)
def test_dtype_of_the_first_block_decides(shared_client, where):
    """Other dtypes of its kind are cast; others are an error that names the block."""

    def make(dtypes):
        return lambda block: block.astype(dtypes[int(block[0] > 49)])

    array = np.arange(100)
    result = dk.map_blocks(make(["f8", "f4"]), array, blocks=4, where=where)
    dk.check_equal(result, array.astype("f8"))
    dk.check_equal(
        dk.map_blocks(make(["f8", "i4"]), array, blocks=4, where=where),
        array.astype("f8"),
    )
    message = (
        r"dtype float64 for block \(2,\) \[50:75\], which can't be put into the int32"
    )
    with pytest.raises(dk.ArgumentError, match=message):
        dk.map_blocks(make(["i4", "f8"]), array, blocks=4, where=where)


@pytest.mark.parametrize("where", PLACES)
def test_texts_are_not_cut_off(shared_client, where):
    """Longer ones than the first block's are an error, shorter ones are fine."""
    texts = lambda block: np.array([str(number) for number in block])
    array = np.array([10, 2, 30])
    result = dk.map_blocks(texts, array, blocks=3, where=where)
    dk.check_equal(result, np.array(["10", "2", "30"]))
    with pytest.raises(dk.ArgumentError, match=r"dtype <U3 for block \(1,\) \[1:2\]"):
        dk.map_blocks(texts, [10, 200], blocks=2, where=where)


@pytest.mark.parametrize("where", PLACES)
def test_axes_that_are_not_cut_may_change(shared_client, where):
    """Their length is that of the first block; another is an error."""
    array = np.arange(80).reshape(8, 10)
    result = dk.map_blocks(lambda b: b[:, ::3] * 2, array, blocks=3, where=where)
    dk.check_equal(result, array[:, ::3] * 2)
    with pytest.raises(
        dk.ArgumentError, match=r"for block \(1,\) \[2:5, :\].*\(3, 2\)"
    ):
        dk.map_blocks(lambda b: b[:, : len(b)], array, blocks=3, where=where)


@pytest.mark.parametrize(
    ("func", "message"),
    [
        (
            lambda b: b.sum(axis=0),
            r"ndarray of shape \(10,\).*2 axes and length 2 along axis 0",
        ),
        (np.sum, "reduce_blocks"),
        (lambda b: b[1:], "the halo included"),
        (lambda b: b[None], "has to return an array of 2 axes"),
        (lambda b: None, "func returned NoneType for block"),
        (lambda b: np.ma.masked_array(b, b > 3), "mask would be lost"),
    ],
)
def test_results_that_are_no_blocks_are_refused(func, message):
    """Fewer axes, other lengths or no array at all: the message says what is wanted."""
    with pytest.raises(dk.ArgumentError, match=message):
        dk.map_blocks(func, np.zeros((4, 10)), blocks=2)


@pytest.mark.parametrize("where", ["auto", "cluster"])
@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(BIG),
        BIG[::2, ::-3],
        np.array([(1, 2.0), (3, 4.0)] * 50, dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["a", 1, None, (2,)] * 10, dtype=object),
        np.arange(40).astype("M8[D]"),
        np.array(["x", "yz"] * 20),
        np.arange(200_000, dtype=">i8"),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.array([[7]]),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_any_kind_of_array(shared_client, array, where):
    """Order, gaps, records, objects, dates, texts, bytes swapped, empty, one cell."""
    for axis in range(array.ndim):
        result = dk.map_blocks(
            np.array, array, axis, 1, boundary="nearest", where=where
        )
        dk.check_equal(result, np.array(array))


def test_fortran_order_is_kept():
    """Results in Fortran order are put into an array of that order."""
    result = dk.map_blocks(np.asfortranarray, BIG, 1, blocks=4)
    assert result.flags.f_contiguous
    np.testing.assert_array_equal(result, BIG)


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, 4]],
        da.ones((6, 4), chunks=3),
        pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}),
        pd.Series([1, 2, 3]),
        np.matrix([[1, 2], [3, 4]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_array_likes_are_converted(value):
    """Whatever numpy.asarray takes gives a plain array."""
    result = dk.map_blocks(np.sqrt, value, blocks=2)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, np.sqrt(np.asarray(value)))


@pytest.mark.parametrize("where", PLACES)
def test_result_is_no_view_of_the_input(shared_client, where):
    """Even of the identity, the answer is a writable array of its own."""
    array = np.arange(10)
    for blocks in (1, 3):
        result = dk.map_blocks(lambda block: block, array, blocks=blocks, where=where)
        result[:] = 0
    np.testing.assert_array_equal(array, np.arange(10))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("blocks", [1, 4])
def test_reduction(shared_client, where, blocks):
    """Parts of any kind are combined in the order of the blocks."""
    array = np.arange(24).reshape(8, 3)
    result = dk.reduce_blocks(
        lambda block: [block[0, 0]],
        array,
        lambda parts: list(itertools.chain(*parts)),
        blocks=blocks,
        where=where,
    )
    assert result == list(array[:: 8 // blocks, 0])


def test_sum_does_not_depend_on_workers(shared_client):
    """Floating-point sums are the same, to the last bit, wherever they are computed."""
    sums = {
        dk.reduce_blocks(np.sum, BIG, sum, blocks=50, where=where, batch_size=size)
        for where in PLACES
        for size in (None, 1, 7)
    }
    assert len(sums) == 1


def test_retries_progress_and_options(shared_client, tmp_path):
    """The options are those of map: a block that raises once is tried again."""
    marker = tmp_path / "tried"

    def fail_once(block):
        if 3 in block and not marker.exists():
            marker.touch()
            raise OSError
        return block

    for where in ("inline", "cluster"):
        marker.unlink(missing_ok=True)
        result = dk.map_blocks(
            fail_once, np.arange(9), blocks=3, retries=1, where=where, name="again"
        )
        np.testing.assert_array_equal(result, np.arange(9))


@pytest.mark.slow
def test_timeout_names_the_block():
    """A block that takes too long is ended and named."""

    def sleep(block):
        time.sleep(60 * (4 in block))
        return block

    message = r"block \(2,\) \[4:6\]"
    with dk.cluster(n_workers=1), pytest.raises(dk.ItemTimeoutError, match=message):
        dk.map_blocks(sleep, np.arange(8), blocks=4, timeout=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dk.map_blocks(3, [1]), "func must be callable as func"),
        (lambda: dk.map_blocks(abs, 1), "at least one axis"),
        (lambda: dk.map_blocks(abs, [1], where="gpu"), "where must be one of"),
        (lambda: dk.reduce_blocks(abs, [1], None), "combine must be callable"),
    ],
)
def test_wrong_calls_are_refused(call, message):
    """An argument that can't be used is an error before anything is computed."""
    with pytest.raises(dk.ArgumentError, match=message):
        call()


def test_unknown_option_is_refused():
    """A slip in the name of an option is no silent default; on_error is none of these."""
    with pytest.raises(
        TypeError, match="'on_error'; the options are where, batch_size"
    ):
        dk.map_blocks(abs, [1], on_error="collect")


@pytest.mark.parametrize("axis", [0, 1])
def test_workers_that_are_threads_of_this_process(axis):
    """Tasks of an in-process cluster write into the same file."""
    with dk.cluster(n_workers=2, processes=False):
        result = dk.map_blocks(slow_root, BIG, axis, blocks=7, where="cluster")
    np.testing.assert_array_equal(result, np.sqrt(BIG))


def test_described_work_needs_no_array_of_the_caller():
    """The lazy form returns blocks and joins them; nothing is executed before."""
    work = make_map_work(spread, BIG, 1, 1, boundary=0, blocks=5)
    results = [work.func(i) for i in work.items]
    expected = dk.map_blocks(spread, BIG, 1, 1, boundary=0, blocks=5)
    np.testing.assert_array_equal(work.finish(results), expected)
    assert work.describe(2, 2) == "block (2,) [:, 256:384]"
