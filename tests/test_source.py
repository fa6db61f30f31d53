"""Items in parts: each once, in order, and again if they come back."""

from __future__ import annotations

import itertools
import pickle
import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.run.source import Source, Window


@given(
    n_items=st.integers(0, 200),
    is_stream=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_item_is_handed_out(n_items, is_stream, seed):
    """Whatever sizes are taken and parts given back, each item is executed once."""
    rng = random.Random(seed)
    source = Source(iter(range(n_items)), is_stream=is_stream)
    done = {}
    while (part := source.take(rng.randrange(1, 20))) is not None:
        assert len(part.items) >= 1
        cut = rng.randrange(part.start, part.stop + 1) if rng.random() < 0.4 else None
        if cut is not None:
            source.give_back(part.between(cut, part.stop))
            part = part.between(part.start, cut)
        for index, item in zip(range(part.start, part.stop), part.items, strict=True):
            assert index not in done
            done[index] = item
    assert done == {i: i for i in range(n_items)}
    assert source.is_empty
    assert source.n_items == n_items


@pytest.mark.parametrize(
    "items", [[1, 2, 3], (1, 2, 3), range(1, 4), np.array([1, 2, 3])]
)
def test_what_can_be_sliced_is_not_copied(items):
    """Lists, tuples, ranges and arrays are cut where they are."""
    source = Source(items)
    assert source.sequence is items
    assert type(source.take(2).items) is type(items[:2])
    assert source.n_left == 1


def test_returned_items_come_first():
    """In the order of the input, before what nobody has had."""
    source = Source(range(10))
    first, second = source.take(3), source.take(3)
    source.give_back(second)
    source.give_back(first)
    assert [source.take(4).start for _ in range(3)] == [0, 3, 6]


def test_suspects_are_left_to_others():
    """Items that a worker has died with are not for the caller, and not cut."""
    source = Source(range(6))
    part = source.take(6)
    source.give_back(part.between(0, 3).marked(is_suspect=True))
    source.give_back(part.between(3, 6))
    assert source.take(2, here=True).items == range(3, 5)
    assert source.take(2, here=True).items == range(5, 6)
    assert source.take(2, here=True) is None
    assert source.is_empty_here
    assert not source.is_empty
    assert source.has_suspects
    part = source.take(1)
    assert (part.start, part.items, part.is_suspect) == (0, range(3), True)


def test_without_fresh_items_only_returned_ones():
    """As after an error in a stream."""
    source = Source(range(10))
    source.give_back(source.take(4))
    assert source.take(9, fresh=False).items == range(4)
    assert source.take(9, fresh=False) is None


def test_slow_input_is_read_item_by_item():
    """Nobody waits for many inputs that take their time."""

    def slow():
        for i in itertools.count():
            time.sleep(0.02)
            yield i

    source = Source(slow(), is_stream=True)
    sizes = [len(source.take(4).items) for _ in range(3)]
    assert sizes[0] == 4
    assert sizes[1:] == [1, 1]


def test_items_before_an_error_are_kept():
    """What was read before the input raised is handed out; then its error, each time."""

    def numbers():
        yield from range(5)
        msg = "broken"
        raise ValueError(msg)

    source = Source(numbers(), is_stream=True)
    assert source.take(8).items == [0, 1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            source.take(8)
    assert source.n_read == 5


@given(
    n=st.integers(0, 30),
    first=st.integers(0, 30),
    end=st.integers(0, 30),
    index=st.slices(12),
)
def test_window_is_the_slice(n, first, end, index):
    """A window reads, is sliced, indexed and pickled as the slice that it stands for."""
    for kind in (list, tuple):
        items = kind(range(n))
        start = min(first, n)
        stop = max(start, min(end, n))
        window, expected = Window(items, start, stop), items[start:stop]
        assert list(window) == list(expected)
        assert len(window) == len(expected)
        assert window[index] == expected[index]
        assert pickle.loads(pickle.dumps(window)) == list(expected)
        assert [window[i] for i in range(-len(window), len(window))] == [
            expected[i] for i in range(-len(expected), len(expected))
        ]
