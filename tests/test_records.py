"""`Workload`: what it accepts, and the plain loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import daskkit as dk


def _square(x):
    return x * x


def test_loop_without_combine_is_the_list_in_order():
    """The answer is what the list comprehension over the items gives."""
    assert dk.Workload("squares", _square, range(5)).loop() == [0, 1, 4, 9, 16]


def test_loop_with_combine():
    """combine() gets the list of all results."""
    assert dk.Workload("squares", _square, [1, 2, 3], combine=sum).loop() == 14


@pytest.mark.parametrize("combine", [None, sum])
def test_loop_over_nothing(combine):
    """No items: combine([]), or the empty list."""
    expected = [] if combine is None else 0
    assert dk.Workload("nothing", _square, [], combine=combine).loop() == expected


@pytest.mark.parametrize(
    "items",
    [
        [1, 2],
        (1, 2),
        range(2),
        {1, 2},
        {1: 2}.keys(),
        {1: 2}.values(),
        np.arange(2),
        np.ones((2, 3)),
        pd.Series([1, 2]),
        "ab",
    ],
    ids=lambda items: type(items).__name__,
)
def test_collections_are_accepted(items):
    """Whatever can be read twice is accepted, with its length, values and slices."""
    workload = dk.Workload("any", _square, items)
    assert len(workload.items) == len(items)
    assert [str(a) for a in workload.items] == [str(b) for b in items]
    assert len(workload.items[0:1]) == 1


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (iter([1, 2]), "iterator.*only once.*pass a list"),
        ((x for x in [1]), "generator.*only once"),
        (map(abs, [1]), "only once"),
        (None, "finite collection.*None of type NoneType"),
        (7, "finite collection.*7 of type int"),
        (np.float64(1.0), "0-dimensional|finite collection"),
        (np.array(1.0), "0-dimensional"),
        (pd.DataFrame({"a": [1]}), "DataFrame.*column names"),
    ],
)
def test_unusable_items_say_what_to_pass(items, words):
    """Iterators, scalars and frames are refused with what to pass instead."""
    with pytest.raises(dk.WorkloadError, match=words):
        dk.Workload("bad", _square, items)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_name_must_be_text(name):
    """A workload needs a name for tables and the dashboard."""
    with pytest.raises(dk.WorkloadError, match="non-empty string"):
        dk.Workload(name, _square, [1])


@pytest.mark.parametrize("field", ["func", "combine", "vectorized", "check"])
def test_functions_must_be_callable(field):
    """A value in the place of a function is refused, by name, value and type."""
    arguments = {"func": _square, field: 5}
    with pytest.raises(
        dk.WorkloadError, match=f"{field} of workload 'w'.*5 of type int"
    ):
        dk.Workload("w", items=[1], **arguments)


def test_failing_item_is_named():
    """The error keeps its type, and a note says which item raised it."""
    workload = dk.Workload("division", lambda x: 1 / x, [2, 1, 0, 1])
    with pytest.raises(ZeroDivisionError) as caught:
        workload.loop()
    assert caught.value.__notes__ == ["raised by item 2"]


def test_workload_is_frozen():
    """A record can't be changed after it was checked."""
    workload = dk.Workload("w", _square, [1])
    with pytest.raises(AttributeError):
        workload.items = []
