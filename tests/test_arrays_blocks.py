"""Cutting arrays: blocks tile the array, halos are what dask.array makes of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.arrays.arguments import make_cut, to_array
from daskkit.arrays.blocks import AxisCut, Cut, choose_blocks
from daskkit.arrays.halo import read_block, trim
from daskkit.errors import ArgumentError

MODES = ["reflect", "periodic", "nearest"]
# numpy.pad's names for the same things.
PAD_NAMES = {"reflect": "symmetric", "periodic": "wrap", "nearest": "edge"}


@st.composite
def axis_cuts(draw, axis=0, beyond=None):
    length = draw(st.integers(1, 30))
    return AxisCut(
        axis,
        length,
        n_blocks=draw(st.integers(1, length)),
        overlap=draw(st.integers(0, 40)),
        beyond=draw(st.sampled_from([None, 7, *MODES])) if beyond is None else beyond,
    )


@given(axis_cuts())
def test_cores_tile_an_axis(axis):
    """Blocks follow each other without gap, none is empty, lengths differ by one at most."""
    cores = [axis.core(k) for k in range(axis.n_blocks)]
    assert cores[0][0] == 0
    assert cores[-1][1] == axis.length
    assert all(a[1] == b[0] for a, b in itertools.pairwise(cores))
    lengths = {stop - start for start, stop in cores}
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


@given(length=st.integers(1, 100), size=st.integers(1, 120))
def test_cores_of_a_given_size_tile_an_axis(length, size):
    """With a size all blocks have it, but the last one, which has what is left."""
    axis = AxisCut(0, length, n_blocks=-(-length // size), size=size)
    lengths = [stop - start for start, stop in map(axis.core, range(axis.n_blocks))]
    assert sum(lengths) == length
    assert set(lengths[:-1]) <= {size}
    assert 1 <= lengths[-1] <= size


@given(axis_cuts())
def test_block_with_halo_is_a_piece_of_the_padded_axis(axis):
    """Whatever the overlap, larger than blocks or than the array included."""
    array = np.arange(1, axis.length + 1)
    if axis.beyond is None:
        padded, shift = array, 0
    elif isinstance(axis.beyond, str):
        padded = np.pad(array, axis.overlap, mode=PAD_NAMES[axis.beyond])
        shift = axis.overlap
    else:
        padded = np.pad(array, axis.overlap, constant_values=axis.beyond)
        shift = axis.overlap
    cut = Cut(1, (axis,))
    for k in range(axis.n_blocks):
        start, stop = axis.core(k)
        first = max(0, start - axis.overlap + shift)
        expected = padded[first : stop + axis.overlap + shift]
        block = read_block(array, cut, k)
        np.testing.assert_array_equal(block, expected)
        np.testing.assert_array_equal(trim(block, block, cut, k), array[start:stop])


@given(axes=st.tuples(axis_cuts(axis=0), axis_cuts(axis=2)), width=st.integers(0, 3))
def test_cut_of_several_axes_covers_each_cell_once(axes, width):
    """The cores of all blocks cover the array, and trimming gives the core back."""
    array = np.arange(axes[0].length * width * axes[1].length)
    array = array.reshape(axes[0].length, width, axes[1].length)
    cut = Cut(3, axes)
    whole = np.zeros_like(array)
    for i in range(cut.n_blocks):
        block = read_block(array, cut, i)
        whole[cut.core(i)] += trim(block, block, cut, i)
    np.testing.assert_array_equal(whole, array)


@given(
    lengths=st.lists(st.integers(1, 10_000), min_size=1, max_size=3),
    overlap=st.integers(0, 50),
    itemsize=st.integers(1, 16),
)
def test_default_blocks_depend_on_sizes_and_have_room_for_their_halo(
    lengths, overlap, itemsize
):
    """No more blocks than rows; halos are at most a quarter of a block."""
    n_bytes = itemsize * int(np.prod(lengths))
    chosen = choose_blocks(lengths, [overlap] * len(lengths), n_bytes)
    for length, n_blocks in zip(lengths, chosen, strict=True):
        assert 1 <= n_blocks <= length
        assert n_blocks == 1 or 2 * overlap * n_blocks <= length / 4


@pytest.mark.parametrize(
    ("n_bytes", "n_blocks"),
    [(0, 1), (2**16, 1), (2**20, 16), (2**24, 64), (2**28, 64), (2**30, 256)],
)
def test_default_number_of_blocks(n_bytes, n_blocks):
    """Blocks of 64 KiB to 4 MiB, and 64 where that leaves the choice."""
    assert choose_blocks([10**6], [0], n_bytes) == (n_blocks,)


def test_block_is_a_view_that_cannot_be_written_to():
    """Inside the array nothing is copied; a function can't change its neighbours' halo."""
    array = np.arange(9.0)
    block = read_block(array, make_cut(array, 0, 1, 0, 3), 1)
    assert np.shares_memory(block, array)
    assert array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        block += 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_corner_takes_the_constant_of_the_later_axis(order):
    """Constants win over what the array holds, later axes over earlier ones."""
    array = np.asarray(np.ones((2, 2), int), order=order)
    block = read_block(array, make_cut(array, (0, 1), 1, (8, 9), 1), 0)
    expected = [[9, 8, 8, 9], [9, 1, 1, 9], [9, 1, 1, 9], [9, 8, 8, 9]]
    np.testing.assert_array_equal(block, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": 2}, "axis must be a whole number from -2 to 1, or a tuple of these"),
        ({"axis": True}, "axis must be a whole number"),
        ({"axis": 1.0}, "axis must be a whole number"),
        ({"axis": ()}, "axis must name one axis or several different ones"),
        ({"axis": (0, -2)}, "axis must name one axis or several different ones"),
        ({"overlap": -1}, "overlap must be a whole number of at least 0, received -1"),
        ({"overlap": 0.5}, "overlap must be a whole number"),
        ({"overlap": (1, 1)}, "a tuple of one for each axis that is cut, 1; received"),
        ({"overlap": {1: 1}}, "overlap names axis 1, which isn't cut"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1"),
        ({"boundary": "wrap"}, "'reflect', 'periodic', 'nearest' or a number"),
        ({"boundary": [0]}, "boundary must be None"),
        ({"boundary": 0.5}, "boundary is 0.5, which an array of dtype int64 can't"),
        ({"boundary": np.nan}, "boundary is nan, which an array of dtype int64 can't"),
        ({"boundary": 1j}, "can't hold"),
        ({"boundary": 2**70}, "can't hold"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    """The message says what is wrong and what is allowed."""
    told = {"axis": 0, "overlap": 0, "boundary": None, "blocks": None, **arguments}
    with pytest.raises(ArgumentError, match=message):
        make_cut(np.zeros((4, 4), np.int64), **told)


def test_options_by_axis():
    """A number holds for all axes, a tuple goes with axis, a dict names axes."""
    array = np.zeros((40, 50))
    cut = make_cut(array, (-1, 0), (2, 1), {1: "nearest"}, {-2: 4, 1: 99})
    assert cut.axes == (
        AxisCut(0, 40, 4, overlap=1, beyond=None),
        AxisCut(1, 50, 50, overlap=2, beyond="nearest"),
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "at least one axis to be cut, received 3"),
        (np.ma.masked_array([1, 2], [0, 1]), "must not be masked"),
        ([[1], [1, 2]], "array must be an array"),
    ],
)
def test_what_is_no_array_is_refused(value, message):
    """Neither scalars, nor masks, nor lists of unequal lengths."""
    with pytest.raises(ArgumentError, match=message):
        to_array(value)
