"""The lazy verbs on arrays: NumPy's answer on each scheduler, a seed's own numbers."""

from __future__ import annotations

import dask
import dask.array
import numpy as np
import pytest
from dask.delayed import Delayed
from dask.utils import key_split

import daskkit as dk
from daskkit import lazy


@pytest.fixture(params=["synchronous", "threads", "processes", "distributed"])
def compute(request, shared_client, process_pool):
    """Return a function that computes Dask objects on one of Dask's schedulers."""
    scheduler = shared_client if request.param == "distributed" else request.param
    options = {"pool": process_pool} if scheduler == "processes" else {}
    return lambda graph: dask.compute(graph, scheduler=scheduler, **options)[0]


def smooth(block):
    """Return the mean of each cell and its two neighbours along the first axis."""
    padded = np.pad(block, [(1, 1), (0, 0)], mode="edge")
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def draw(rng, size):
    return rng.normal(size=size)


def count(block):
    return np.bincount(block.ravel(), minlength=5)


def fail(block):
    if block[0, 0] >= 20:
        msg = "too large"
        raise ValueError(msg)
    return block


def test_blocks_with_a_halo(compute):
    """The answer is that of the eager verb and of NumPy, an array that is writable."""
    array = np.arange(60.0).reshape(20, 3) ** 2
    graph = lazy.map_blocks(smooth, array, overlap=1, blocks=7, npartitions=3)
    assert isinstance(graph, Delayed)
    found = compute(graph)
    np.testing.assert_array_equal(found, smooth(array))
    np.testing.assert_array_equal(
        found, dk.map_blocks(smooth, array, overlap=1, blocks=7)
    )
    found += 1


def test_blocks_of_both_axes_and_another_dtype(compute):
    """Axes, boundary and dtype mean what they do in the eager verb."""
    array = np.arange(30).reshape(5, 6)
    options = {"axis": (0, 1), "overlap": 1, "boundary": "periodic", "blocks": 2}
    found = compute(lazy.map_blocks(np.float32, array, **options))
    expected = dk.map_blocks(np.float32, array, **options)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_reductions_of_blocks(compute):
    """Parts are combined in the order of the blocks."""
    array = np.arange(100).reshape(50, 2) % 5
    graph = lazy.reduce_blocks(count, array, sum, blocks=9)
    np.testing.assert_array_equal(compute(graph), np.full(5, 20))
    order = lazy.reduce_blocks(np.min, np.arange(40), list, blocks=4, batch_size=1)
    assert compute(order) == [0, 10, 20, 30]


def test_a_seed_has_its_numbers_everywhere(compute):
    """However the blocks are cut into tasks, the draws are those of the eager verb."""
    expected = dk.monte_carlo(draw, 1000, seed=5)
    for cut in ({}, {"npartitions": 1}, {"batch_size": 3}):
        found = compute(lazy.monte_carlo(draw, 1000, seed=5, **cut))
        np.testing.assert_array_equal(found, expected)
    total = compute(lazy.monte_carlo(draw, 1000, seed=5, combine=len, block_size=10))
    assert total == 100


def test_without_a_seed_each_object_has_numbers_of_its_own():
    """The same object twice is the same draw, another one another."""
    one, other = (lazy.monte_carlo(draw, 10) for _ in "ab")
    first = one.compute(scheduler="synchronous")
    np.testing.assert_array_equal(first, one.compute(scheduler="synchronous"))
    assert (first != other.compute(scheduler="synchronous")).any()


def test_an_error_names_the_block(compute):
    """The note says which block, and which rows are in it."""
    array = np.arange(50).reshape(25, 2)
    with pytest.raises(ValueError, match="too large") as caught:
        compute(lazy.map_blocks(fail, array, blocks=5, npartitions=1))
    note = caught.value.__notes__[-1]
    assert note.startswith("raised by block")
    assert "10:15" in note


def test_large_arrays_arrive_whole_and_writable(shared_client):
    """A large answer comes by shared memory, and is the caller's own."""
    array = np.arange(2_000_000.0).reshape(1000, 2000)
    graph = lazy.map_blocks(np.negative, array)
    for _ in range(2):
        found = graph.compute()
        np.testing.assert_array_equal(found, -array)
        found += 1


def test_arrays_compose_with_dask(shared_client):
    """An answer is an argument of delayed functions, and a Dask array if one likes."""
    array = np.arange(1000.0)
    graph = lazy.map_blocks(np.sqrt, array)
    assert dask.delayed(np.sum)(graph).compute() == np.sqrt(array).sum()
    as_array = dask.array.from_delayed(graph, shape=(1000,), dtype=float)
    assert (as_array**2).sum().compute() == pytest.approx(array.sum())
    futures = graph.persist()
    np.testing.assert_array_equal(futures.compute(), np.sqrt(array))


@pytest.mark.parametrize("n_workers", [1, 3])
def test_one_and_three_workers(n_workers):
    """The number of workers changes no value."""
    array = np.random.default_rng(0).random((300, 40))
    with dk.cluster(n_workers=n_workers):
        found = lazy.map_blocks(smooth, array, overlap=1).compute()
        np.testing.assert_array_equal(found, smooth(array))
        draws = lazy.monte_carlo(draw, 500, seed=2).compute()
    np.testing.assert_array_equal(draws, dk.monte_carlo(draw, 500, seed=2))


def test_workers_in_this_process():
    """Workers that are threads hand their results over as they are."""
    array = np.arange(300_000.0)
    with dk.cluster(n_workers=2, processes=False):
        found = lazy.map_blocks(np.sqrt, array).compute()
        assert lazy.map(abs, [-1, 2]).compute() == [1, 2]
    np.testing.assert_array_equal(found, np.sqrt(array))


def test_layers_are_named_after_the_function():
    """Blocks are one layer, and what puts them together another."""
    graph = lazy.map_blocks(smooth, np.ones((9, 2)), name="blur")
    assert [key_split(layer) for layer in graph.dask.layers] == [
        "blur-map",
        "blur-finish",
    ]
    graph = lazy.monte_carlo(draw, 10)
    assert [key_split(layer) for layer in graph.dask.layers] == [
        "draw-map",
        "draw-finish",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lazy.map_blocks(3, [1]), "func must be callable"),
        (lambda: lazy.map_blocks(abs, [1], blocks=0), "blocks"),
        (
            lambda: lazy.map_blocks(abs, [1], where="inline"),
            "map_blocks has no option wh",
        ),
        (lambda: lazy.map_blocks(abs, [1], npartitions=0), "npartitions must be"),
        (lambda: lazy.reduce_blocks(abs, [1], 3), "combine must be callable"),
        (lambda: lazy.reduce_blocks(abs, [1], sum, retries=1), "no option retries"),
        (lambda: lazy.monte_carlo(draw, 0), "n must be"),
        (lambda: lazy.monte_carlo(draw, 9, seed="x"), "seed must be"),
        (lambda: lazy.monte_carlo(draw, 9, progress=True), "no option progress"),
    ],
)
def test_wrong_arguments(call, message):
    """What can't be used is refused when the graph is built."""
    with pytest.raises(dk.ArgumentError, match=message):
        call()
