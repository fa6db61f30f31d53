"""Lists of numbers and short texts, which travel as bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.transport.auto import pack
from daskkit.transport.partition import Partition
from daskkit.transport.plain import count_bytes, dump_plain, open_sent

ELEMENTS = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
)


@given(st.one_of(st.lists(ELEMENTS), st.lists(st.lists(ELEMENTS).map(tuple))))
def test_arrives_as_it_was(value):
    """Equal values of the same types, in the same order."""
    sent = dump_plain(value)
    assert type(sent) is bytes
    found = open_sent(sent)
    assert found == value
    assert list(map(type, found)) == list(map(type, value))
    assert count_bytes(sent) == len(sent)


def test_partition_arrives_as_a_list():
    """What a lane collects is a list for whoever gets it."""
    found = open_sent(dump_plain(Partition([1, 2])))
    assert (type(found), found) == (list, [1, 2])


def test_range_stays_a_range():
    """It is sent as three numbers."""
    sent = dump_plain(range(10**9))
    assert len(sent) < 100
    assert open_sent(sent) == range(10**9)


def test_mentions_of_main_are_no_matter():
    """A text is a text; `auto.pack` would fall back to cloudpickle."""
    assert open_sent(dump_plain(["__main__"])) == ["__main__"]


class Number(int):
    """An int that is more than one."""


class Pair(NamedTuple):
    """A tuple that is more than one."""

    first: int
    second: int


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        [[1]],
        [(1, [2])],
        [((1, 2), 3)],
        [(1, 2), 3],
        [(1, Number(2))],
        [Pair(1, 2)],
        [(0,) * 5_001] * 2,
        [("x" * 2**19, 1), ("y", "x" * 2**19)],
        [Number(1)],
        [1, len],
        [np.float64(0.5)],
        np.arange(3),
        "text",
        [0] * 10_001,
        ["x" * 2**20, "y"],
        [1, "x" * 2**20, b"y"],
    ],
)
def test_anything_else_is_left_to_others(value):
    """Also what is long or large: that is better shared, or measured."""
    assert dump_plain(value) is None


def test_packed_objects_are_opened_too():
    """Whoever receives need not know which of both it is."""
    packed = pack([[1], {"a": 2}])
    assert open_sent(packed) == [[1], {"a": 2}]
    assert count_bytes(packed) == packed.n_bytes
