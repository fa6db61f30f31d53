"""NumPy scalars travel as arrays and arrive as they were."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.transport.partition import Partition, send_whole
from daskkit.transport.scalars import find_scalars, join_scalars, split_scalars

KINDS = {
    "float64": lambda i: np.float64(i / 3),
    "float32": lambda i: np.float32(i / 3),
    "int8": lambda i: np.int8(i % 100),
    "uint64": lambda i: np.uint64(2**63 + i),
    "bool": lambda i: np.bool_(i % 2),
    "complex": lambda i: np.complex64(1j * i),
    "day": lambda i: np.datetime64("2024-01-01", "D") + i,
    "second": lambda i: np.timedelta64(i, "s"),
    "python float": lambda i: i / 3,
    "none": lambda i: None,
    "text": lambda i: f"text {i}",
    "numpy text": lambda i: np.str_(f"padded \0 {i} "),
    "array": lambda i: np.arange(3.0),
    "zero-dimensional": np.array,
}


def _check(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        np.testing.assert_equal(one, other)


@given(
    names=st.lists(st.sampled_from(sorted(KINDS)), max_size=80), seed=st.integers(0, 9)
)
def test_any_mixture_arrives(names, seed):
    """Whatever the mixture: same order, values and types, in a partition and a list."""
    values = [KINDS[name](i + seed) for i, name in enumerate(names)]
    _check(pickle.loads(pickle.dumps(Partition(values))), values)
    _check(pickle.loads(pickle.dumps(send_whole(values), 5)), values)
    split = split_scalars(values)
    if split is not None:
        _check(join_scalars(split), values)


@pytest.mark.parametrize("name", KINDS)
def test_one_kind(name):
    """A list of one kind is an array only if that gives the same scalars back."""
    values = [KINDS[name](i) for i in range(40)]
    split = split_scalars(values)
    is_number = name in list(KINDS)[:8]
    assert (split is not None) == is_number
    assert (find_scalars(values) is not None) == is_number
    if split is not None:
        _check(join_scalars(split), values)
        assert len(pickle.dumps(Partition(values), 5)) < 1000


def test_units_of_time_are_kept():
    """Times of several units are no array, which has one."""
    values = [np.timedelta64(i, "s" if i % 2 else "ms") for i in range(40)]
    _check(pickle.loads(pickle.dumps(Partition(values))), values)


def test_a_set_that_holds_columns_arrives():
    """A container of one element is not mistaken for one that was split."""
    for value in ([[1]], ((1,),), {(1,)}, {1: 2}, [None]):
        found = pickle.loads(pickle.dumps(send_whole(value)))
        assert (type(found), found) == (type(value), value)
