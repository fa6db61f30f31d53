"""`monte_carlo`: the same numbers for the same seed, wherever they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

import daskkit as dk
from daskkit.arrays.assembly import ArrayWork
from daskkit.arrays.streams import make_monte_carlo_work


def draw(rng, size):
    return rng.random(size)


def draw_pairs(rng, size):
    return rng.normal(size=(size, 2))


def count(rng, size):
    return int((rng.random(size) < 0.5).sum())


EXPECTED = dk.monte_carlo(draw_pairs, 100_000, seed=42, where="inline")


@pytest.mark.parametrize("where", ["auto", "inline", "threads", "cluster"])
@pytest.mark.parametrize("batch_size", [None, 1, 30, 1000])
def test_same_seed_gives_the_same_numbers(shared_client, where, batch_size):
    """Wherever they are drawn, and however many blocks are handed over at a time."""
    result = dk.monte_carlo(
        draw_pairs, 100_000, seed=42, where=where, batch_size=batch_size
    )
    np.testing.assert_array_equal(result, EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [1, 3])
def test_same_numbers_for_any_number_of_workers(n_workers):
    """One worker and three draw what none does."""
    with dk.cluster(n_workers=n_workers):
        for where in ("auto", "cluster"):
            result = dk.monte_carlo(draw_pairs, 100_000, seed=42, where=where)
            np.testing.assert_array_equal(result, EXPECTED)


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 1000])
def test_streams_are_spawned_from_the_seed(n):
    """Block i draws from the i-th child of the seed; sizes differ by one at most."""
    m = min(n, 256)
    sizes = [n * (i + 1) // m - n * i // m for i in range(m)]
    children = np.random.SeedSequence(7).spawn(m)
    expected = [
        np.random.default_rng(child).random(size)
        for child, size in zip(children, sizes, strict=True)
    ]
    result = dk.monte_carlo(draw, n, seed=7)
    np.testing.assert_array_equal(result, np.concatenate(expected))


def test_block_size_makes_blocks_of_that_size():
    """All but the last block have it; combine gets one result a block, in order."""
    sizes = dk.monte_carlo(lambda _, size: size, 25, block_size=10, combine=list)
    assert sizes == [10, 10, 5]


def test_seeds_of_all_kinds():
    """A number, a sequence and a SeedSequence of the same entropy; None is fresh."""
    same = [
        dk.monte_carlo(draw, 10, seed=seed)
        for seed in (
            3,
            np.int64(3),
            [3],
            (3,),
            np.array([3]),
            np.random.SeedSequence(3),
        )
    ]
    for result in same:
        np.testing.assert_array_equal(result, same[0])
    fresh = [dk.monte_carlo(draw, 10).tolist() for _ in range(2)]
    assert fresh[0] != fresh[1]


def test_seed_sequence_is_not_changed_but_its_children_are_respected():
    """The next children are used and not counted; those spawned before are others'."""
    seed = np.random.SeedSequence(3)
    first = dk.monte_carlo(draw, 4, seed=seed)
    assert seed.n_children_spawned == 0
    np.testing.assert_array_equal(first, dk.monte_carlo(draw, 4, seed=seed))
    seed.spawn(1)
    after = dk.monte_carlo(draw, 4, seed=seed)
    np.testing.assert_array_equal(after[:3], first[1:])
    (child,) = seed.spawn(1)
    assert not set(dk.monte_carlo(draw, 4, seed=child)) & set(first)


def test_combine_makes_the_answer(shared_client):
    """Without arrays to be joined, the results are combined."""
    answers = {
        dk.monte_carlo(count, 10_000, seed=1, combine=sum, where=where)
        for where in ("inline", "threads", "cluster")
    }
    (answer,) = answers
    assert abs(answer - 5000) < 500


@pytest.mark.parametrize("where", ["inline", "cluster"])
@pytest.mark.parametrize(
    ("func", "message"),
    [
        (count, r"returned int for block 0 \[draws 0:2\]; without combine.*here 2"),
        (lambda rng, size: rng.random(size + 1), r"ndarray of shape \(3,\)"),
        (lambda rng, size: rng.random((1, size)), "whose first axis has length size"),
    ],
)
def test_results_that_cannot_be_joined(shared_client, func, message, where):
    """The message says what is wanted, and names combine."""
    with pytest.raises(dk.ArgumentError, match=message):
        dk.monte_carlo(func, 512, where=where)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be a whole number of at least 1, received 0"),
        ({"n": 1.5}, "n must be a whole number"),
        ({"seed": -1}, "seed must be None, a whole number of at least 0"),
        ({"seed": True}, "seed must be None"),
        ({"seed": "abc"}, "seed must be None"),
        ({"seed": []}, "seed must be None"),
        ({"seed": np.random.default_rng()}, "seed must be None"),
        ({"block_size": 0}, "block_size must be a whole number of at least 1"),
        ({"combine": 3}, "combine must be callable"),
        ({"func": None}, "func must be callable as func"),
        ({"retries": -1}, "retries must be"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    """The message says what is allowed."""
    told = {"func": draw, "n": 10, **arguments}
    with pytest.raises(dk.ArgumentError, match=message):
        dk.monte_carlo(told.pop("func"), told.pop("n"), **told)


def test_described_work_draws_the_same_each_time():
    """Fresh entropy is drawn once, when the work is described."""
    work = make_monte_carlo_work(draw, 20)
    assert isinstance(work, ArrayWork)
    results = [[work.func(i) for i in work.items] for _ in range(2)]
    np.testing.assert_array_equal(work.finish(results[0]), work.finish(results[1]))
    assert not isinstance(make_monte_carlo_work(draw, 20, combine=len), ArrayWork)
