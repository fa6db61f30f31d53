"""Failures and results are records that show, pickle and tabulate themselves."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from daskkit import loop
from daskkit.run.failures import Failure, Results, format_note
from tests.raisers import (
    ARRIVES,
    BadText,
    caught,
    printed,
    raise_builtin,
    raise_lock,
    raise_two_arguments,
    run_script,
)


def make_failure(index=37, error=None):
    error = caught(raise_builtin) if error is None else error
    return Failure(index, loop.short_repr(index), error, "this process", 2)


def test_failure_shows_item_and_error():
    """The repr has index, item, type and the first line of the text."""
    failure = make_failure()
    expected = "<Failure of item 37 (value 37): ZeroDivisionError: division by zero>"
    assert repr(failure) == expected
    assert "ValueError: a>" in repr(make_failure(error=ValueError("a\nb")))
    assert "ValueError>" in repr(make_failure(error=ValueError()))
    assert "BadText: text>" in repr(make_failure(error=BadText("text")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        failure.index = 5


@pytest.mark.parametrize("raiser", [raise_builtin, raise_two_arguments, raise_lock])
def test_failure_can_be_pickled(raiser):
    """A copy has all fields and the traceback, whatever the exception is."""
    failure = make_failure(error=caught(raiser))
    copy = pickle.loads(pickle.dumps(failure))
    assert (copy.index, copy.item, copy.where, copy.attempts) == (
        37,
        "37",
        "this process",
        2,
    )
    assert type(copy.error) is ARRIVES[raiser][0]
    assert raiser.__name__ in printed(copy.error)


def test_results_tell_failures_from_results():
    """Failures are listed in order, and only they are."""
    first, second = make_failure(1), make_failure(3)
    results = Results([0, first, KeyError("a result"), second])
    assert results.failures == [first, second]
    assert not results.ok
    assert Results([0, KeyError("a result")]).ok
    assert results == [0, first, results[2], second]
    copy = pickle.loads(pickle.dumps(results))
    assert type(copy) is Results
    assert repr(copy.failures) == repr([first, second])


def test_table_has_one_row_for_each_failure():
    """Columns and values are those of the failures."""
    results = Results(
        [
            make_failure(1),
            5,
            make_failure(2, ValueError("a\nb")),
            make_failure(3, BadText("c")),
        ]
    )
    table = results.table()
    assert table.to_dict("list") == {
        "index": [1, 2, 3],
        "item": ["1", "2", "3"],
        "error": ["ZeroDivisionError", "ValueError", "BadText"],
        "message": ["division by zero", "a", "c"],
        "where": ["this process"] * 3,
        "attempts": [2, 2, 2],
    }


def test_empty_table_has_the_same_columns_and_types():
    """Without a failure the table is empty, and can be joined to one that isn't."""
    empty, full = Results([1]).table(), Results([make_failure()]).table()
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert [empty.dtypes[name] for name in ("index", "attempts")] == ["int64"] * 2


@pytest.mark.parametrize(
    ("n_done", "n_items", "expected"),
    [
        (36, 400, "36 of 400 items had finished"),
        (0, 1, "0 of 1 item had finished"),
        (36, None, "36 items had finished"),
        (1, None, "1 item had finished"),
    ],
)
def test_note_counts_items(n_done, n_items, expected):
    """The note names item, place and how many items had finished."""
    where = "worker 127.0.0.1:43411 (pid 77)"
    note = format_note("item 37 (value 'x')", where, n_done, n_items)
    assert note == f"raised by item 37 (value 'x') in {where}; {expected}"


def test_import_is_quick():
    """The module loads none of the heavy packages."""
    heavy = ["distributed", "dask", "pandas", "numpy", "tblib", "cloudpickle"]
    script = (
        f"import sys, daskkit.run.failures; print([m for m in {heavy} "
        "if m in sys.modules])"
    )
    assert run_script(script).strip() == b"[]"
