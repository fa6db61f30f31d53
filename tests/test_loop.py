"""The inner loop names the item that fails."""

from __future__ import annotations

import pytest

from daskkit.loop import run_items, short_repr
from daskkit.transport.partition import Partition


def _reciprocal(x):
    return 1 / x


def test_results_are_a_partition_in_order():
    """The results are those of a list comprehension, in the type that travels."""
    results = run_items(_reciprocal, [1, 2, 4])
    assert results == [1.0, 0.5, 0.25]
    assert type(results) is Partition


@pytest.mark.parametrize("kind", [list, tuple, Partition])
def test_error_names_index_and_value(kind):
    """A note gives the index in the whole input and the item's repr."""
    with pytest.raises(ZeroDivisionError) as caught:
        run_items(_reciprocal, kind([1, 2, 0, 3]), start=100)
    assert caught.value.__notes__ == ["raised by item 102 (value 0)"]


class _Unspeakable:
    def __repr__(self):
        raise RuntimeError


def test_short_repr_survives_a_broken_repr():
    """An item whose repr raises is called by its type."""
    assert short_repr(_Unspeakable()) == "<_Unspeakable>"


def test_short_repr_is_one_short_line():
    """Line breaks and length don't spoil a message."""
    text = short_repr("a\nb" * 100)
    assert len(text) == 80
    assert "\n" not in text
