"""`check_equal` and `check_close`: equal is equal, and the first difference is named."""

from __future__ import annotations

import datetime as dt
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import daskkit as dk

NAN = float("nan")
FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index([5, 6], name="i"))

SAME = [
    (None, None),
    (1, 1),
    (NAN, NAN),
    (math.inf, math.inf),
    ("a", "a"),
    ([1, [2, (NAN,)]], [1, [2, (NAN,)]]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({1, 2}, {2, 1}),
    (np.array([1.0, NAN]), np.array([1.0, NAN])),
    (np.array(["a", None], object), np.array(["a", None], object)),
    (np.float32(NAN), np.float32(NAN)),
    (np.array(["2020", "NaT"], "M8[D]"), np.array(["2020", "NaT"], "M8[D]")),
    (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 3], mask=[0, 1], fill_value=2)),
    (np.zeros((0, 3)), np.zeros((0, 3))),
    (FRAME, FRAME.copy()),
    (pd.NaT, pd.NaT),
    (dt.date(2020, 1, 1), dt.date(2020, 1, 1)),
]
DIFFERENT = [
    (1, 2, r"result is 1, the plain loop's is 2"),
    (1, 1.0, "of type int, the plain loop's of type float"),
    (True, 1, "of type bool"),
    ([1, 2], (1, 2), "of type list, .* of type tuple"),
    ([1, 2], [1, 2, 3], "length 2, the plain loop's 3"),
    ([1, [2, 3]], [1, [2, 4]], r"result\[1\]\[1\] is 3, the plain loop's is 4"),
    ({"a": 1}, {"b": 1}, "lacks the key 'b'"),
    ({"a": 1, "c": 1}, {"a": 1}, "has the key 'c'"),
    (NAN, 1.0, "result is nan"),
    (np.zeros(2), np.zeros(3), r"shape \(2,\), the plain loop's \(3,\)"),
    (np.zeros(2, "f4"), np.zeros(2), "dtype float32, the plain loop's float64"),
    (
        np.array([[1, 2], [3, 4]]),
        np.array([[1, 2], [5, 9]]),
        r"result\[1, 0\] is 3, the plain loop's is 5 \(2 of 4 elements differ\)",
    ),
    (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[0, 0]), "mask"),
    (FRAME, FRAME.assign(a=[1, 3]), "result.*a"),
    (FRAME, FRAME.rename_axis("j"), "index"),
    (FRAME["a"], FRAME["a"].astype("int8"), "dtype"),
    (pd.Index([1, 2]), pd.Index([1, 3]), "result"),
    ({1, 2}, {1, 3}, "result is {1, 2}"),
]


@pytest.mark.parametrize(("result", "expected"), SAME, ids=lambda v: type(v).__name__)
def test_same_results_pass(result, expected):
    """Equal in type, values and order; NaN equals NaN."""
    dk.check_equal(result, expected)


@pytest.mark.parametrize(("result", "expected", "words"), DIFFERENT)
def test_first_difference_is_named(result, expected, words):
    """The message says where the difference is, and both values."""
    with pytest.raises(dk.CheckError, match=words):
        dk.check_equal(result, expected)


@given(hnp.arrays(hnp.array_dtypes() | hnp.scalar_dtypes(), hnp.array_shapes()))
def test_every_array_equals_its_copy(array):
    """Whatever the dtype, shape and values."""
    dk.check_equal(array.copy(), array)


@given(
    hnp.arrays("f8", st.integers(1, 20), elements=st.floats(-1e6, 1e6)), st.integers(0)
)
def test_one_changed_element_is_found(array, position):
    """A change of one element is never overlooked."""
    changed = array.copy()
    changed[position % len(array)] += 1 + abs(changed[position % len(array)])
    with pytest.raises(dk.CheckError):
        dk.check_equal(changed, array)


def test_tolerance_is_for_floats_only():
    """Floats may differ by the tolerance, integers may not."""
    check = dk.check_close(rtol=1e-3)
    check([1.0005, np.array([1.0005])], [1.0, np.array([1.0])])
    check(pd.Series([1.0005]), pd.Series([1.0]))
    for result, expected in [(1.01, 1.0), (1001, 1000), (math.inf, 1e300)]:
        with pytest.raises(dk.CheckError):
            check(result, expected)


def test_infinities_of_one_sign_are_close():
    """An infinity is close to itself and to nothing else."""
    check = dk.check_close(rtol=0.5)
    check(math.inf, math.inf)
    with pytest.raises(dk.CheckError):
        check(-math.inf, math.inf)


def test_check_close_can_be_pickled():
    """It travels with its workload."""
    check = pickle.loads(pickle.dumps(dk.check_close(rtol=0.25)))
    check(1.2, 1.0)


@pytest.mark.parametrize("options", [{"rtol": -1}, {"atol": NAN}])
def test_tolerances_are_checked(options):
    """A negative tolerance or NaN is refused."""
    with pytest.raises(ValueError, match="must be at least 0"):
        dk.check_close(**options)


class _Grumpy:
    def __eq__(self, other):
        return np.array([True, False])

    __hash__ = None


def test_incomparable_results_ask_for_a_check():
    """Where == has no truth value, the message says to give the workload a check."""
    with pytest.raises(dk.CheckError, match="give the workload a check"):
        dk.check_equal(_Grumpy(), _Grumpy())
