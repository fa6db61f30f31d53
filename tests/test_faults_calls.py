"""Calls whose answer could differ from the loop's without anything having failed."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

import daskkit as dk


def _append(item):
    item.append(os.getpid())
    return len(item)


def _fill(array):
    array[:] = -1
    return float(array[0])


def _draw(_):
    return random.random(), float(np.random.random())  # noqa: NPY002 - the global one


def _generate(x):
    return (i for i in range(x))


def _note(item):
    folder, x = item
    (folder / f"{os.getpid()}-{os.urandom(8).hex()}").touch()
    return x


def test_arguments_are_private_to_the_call(shared_client):
    """What items change on workers does not change in the caller, small or large."""
    small = [[] for _ in range(20)]
    assert dk.map(_append, small, where="cluster") == [1] * 20
    assert dk.map(_append, small, where="cluster") == [1] * 20
    assert small == [[] for _ in range(20)]
    large = [np.full(400_000, float(i)) for i in range(4)]
    assert dk.map(_fill, large, where="cluster") == [-1.0] * 4
    assert [array[-1] for array in large] == [0.0, 1.0, 2.0, 3.0]


def test_equal_calls_are_not_merged(shared_client, tmp_path):
    """Each of two calls, and each of equal items, is executed."""
    items = [(tmp_path, 1)] * 10
    for _ in range(2):
        assert dk.map(_note, items, where="cluster") == [1] * 10
    assert len(list(tmp_path.iterdir())) == 20


def test_no_two_items_share_random_numbers(shared_client):
    """Those of Python and NumPy that are global, on all workers."""
    drawn = dk.map(_draw, range(200), where="cluster", batch_size=5)
    for numbers in zip(*drawn, strict=True):
        assert len(set(numbers)) == 200


@pytest.mark.parametrize("verb", [dk.map, dk.imap, dk.imap_unordered])
def test_generator_as_a_result_is_named(shared_client, verb):
    """It can't be sent; the error says so, and of which item."""
    with pytest.raises(dk.DaskkitError, match=r"result of item \d+ can't be sent back"):
        list(verb(_generate, range(1, 4), where="cluster"))
    with pytest.raises(dk.DaskkitError, match="generator"):
        list(verb(_generate, range(1, 4), where="cluster"))
