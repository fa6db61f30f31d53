"""`dk.apply` answers as pandas does: values, types, index, names, order and errors."""

from __future__ import annotations

import functools
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskkit as dk
from tests.frame_cases import CASES, FRAMES, _keyed, refuses_b

ALL = [case for cases in CASES.values() for case in cases]


def _answer(call):
    """Return what a call returns, or the type of what it raises."""
    with warnings.catch_warnings():
        # pandas' own, about its future; both sides are the same pandas.
        warnings.simplefilter("ignore")
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - of any type, to be compared
            return type(error)


def _with_pandas(case):
    kwargs = dict(case.kwargs)
    obj = case.make()
    method = "map" if kwargs.pop("elementwise", False) else "apply"
    return _answer(lambda: getattr(obj, method)(case.func, **kwargs))


def _with_ours(case, where):
    return _answer(lambda: dk.apply(case.make(), case.func, where=where, **case.kwargs))


def check_same(found, expected):
    """Raise AssertionError unless two answers are the same in every respect."""
    assert type(found) is type(expected), (found, expected)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_index_equal(found.index, expected.index, exact=True)
        pd.testing.assert_index_equal(found.columns, expected.columns, exact=True)
        for i in range(expected.shape[1]):
            check_same(found.iloc[:, i], expected.iloc[:, i])
    elif isinstance(expected, pd.Series):
        pd.testing.assert_index_equal(found.index, expected.index, exact=True)
        assert (found.name, found.dtype) == (expected.name, expected.dtype)
        if expected.dtype == object:  # may hold lists, with NaN among their elements
            check_same(list(found), list(expected))
        else:
            pd.testing.assert_series_equal(found, expected, check_exact=True)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_equal(found, expected)
    elif pd.api.types.is_scalar(expected) and pd.isna(expected):
        assert pd.isna(found)
    else:
        assert found is expected or found == expected


def _check_all(cases, where):
    """Compare the answers of many calls; fail with the names of all that differ."""
    wrong = []
    for case in cases:
        try:
            check_same(_with_ours(case, where), _with_pandas(case))
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
    assert not wrong, f"{len(wrong)} of {len(cases)} differ: " + "\n".join(wrong)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", CASES)
def test_inline(kind, part):
    """In this process a call returns, or raises, what pandas does."""
    _check_all(CASES[kind][part::4], "inline")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", CASES)
def test_two_workers(shared_client, kind):
    """So it does on two workers."""
    _check_all(CASES[kind], "cluster")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("n_workers", [1, 3])
def test_other_numbers_of_workers(n_workers):
    """So it does on one worker and on three."""
    with dk.cluster(n_workers=n_workers):
        _check_all([case for cases in CASES.values() for case in cases[::6]], "cluster")


def test_table_is_large():
    """The table has at least 150 combinations of each kind that matters."""
    assert len(ALL) > 1000
    assert min(len(cases) for cases in CASES.values()) >= 150


_NUMBERS = st.floats(-1e6, 1e6) | st.just(float("nan"))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(-9, 9), _NUMBERS, st.text(max_size=3)), max_size=30
    ),
    axis=st.sampled_from([0, 1]),
    is_mixed=st.booleans(),
)
def test_any_rows(rows, axis, is_mixed):
    """Rows of any values are cut as pandas cuts them, whatever the chunks."""
    frame = pd.DataFrame(rows, columns=["i", "f", "s"])
    frame = frame if is_mixed else frame[["i", "f"]]

    def func(x):
        return [x.dtype.str if hasattr(x.dtype, "str") else str(x.dtype), list(x)]

    expected = _answer(lambda: frame.apply(func, axis=axis))
    options = {"batch_size": 3, "where": "inline"}
    check_same(_answer(lambda: dk.apply(frame, func, axis=axis, **options)), expected)


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40),
    dropna=st.booleans(),
    sort=st.booleans(),
)
def test_any_groups(keys, dropna, sort):
    """Groups of any sizes, missing keys too, in any order of the rows."""
    frame = pd.DataFrame({"k": pd.Series(keys, dtype=object), "v": range(len(keys))})
    grouped = frame.groupby("k", dropna=dropna, sort=sort)["v"]

    def func(group):
        return (*tuple(group.index), group.sum())

    check_same(dk.apply(grouped, func, where="inline"), grouped.apply(func))


def test_an_error_names_the_row(shared_client):
    """The error is that of the function; a note says which row, and where it ran."""
    frame = pd.DataFrame({"a": [1, 0, 2]}, index=["x", "y", "z"])
    with pytest.raises(ZeroDivisionError) as caught:
        dk.apply(frame, lambda row: 1 // int(row.a), axis=1, where="cluster")
    (note,) = caught.value.__notes__
    assert re.match(r"raised by row 1 \(label 'y'\) in worker .*; \d of 3 items", note)


def test_an_error_names_column_element_group_and_window():
    """So do the notes about other items."""
    frame = pd.DataFrame({"k": ["p", "b"], "v": [1.0, 2.0]}, index=["x", "y"])

    def note_of(obj, func, **kwargs):
        with pytest.raises((ValueError, LookupError)) as caught:
            dk.apply(obj, func, where="inline", **kwargs)
        return caught.value.__notes__[0].split(" in this process")[0]

    def fails(x):
        raise ValueError(x)

    assert note_of(frame, fails) == "raised by column 0 (label 'k')"
    assert note_of(frame["k"], refuses_b) == "raised by element 1 (label 'y')"
    assert note_of(frame, refuses_b, elementwise=True) == (
        "raised by row 1 (label 'y') of column 0 (label 'k')"
    )
    assert note_of(frame.groupby("k"), fails) == "raised by group 0 (key 'b')"
    assert note_of(frame["v"].rolling(1), fails) == "raised by window 0 (ending at 'x')"
    assert note_of(frame, fails, raw=True, axis=1) == "raised by row 0 (label 'x')"


def test_the_callers_frame_stays_as_it_is(shared_client):
    """A function that changes its group or row changes no object of the caller."""
    frame = _keyed()
    before = frame.copy()

    def spoil(group):
        group.loc[:, "v"] = -1.0
        return len(group)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dk.apply(frame.groupby("n"), spoil, where="cluster")
    pd.testing.assert_frame_equal(frame, before)


def test_the_object_of_pandas_is_not_changed():
    """What is replaced in pandas' loops is replaced in copies."""
    series, frame = pd.Series([1, 2]), FRAMES["numbers"]()
    grouped, rolling = frame.groupby("i"), frame.rolling(2)
    objects = (series, frame, grouped, rolling)
    before = [set(vars(obj)) for obj in objects]
    for obj in objects:
        dk.apply(obj, len if obj is not series else str, where="inline")
    assert [set(vars(obj)) - old for obj, old in zip(objects, before, strict=True)] in (
        [set(), set(), set(), set()],
        [set(), set(), {"_cache"}, set()],
        [set(), set(), {"_cache"}, {"_cache"}],
    )


def test_unknown_pandas_goes_by_itself():
    """Where pandas has changed inside, it does the whole and a warning says so."""

    class NoSeam(pd.Series):
        _map_values = property()  # AttributeError

        @property
        def _constructor(self):
            return NoSeam

        def apply(self, func, *args, **kwargs):
            return "by pandas"

    with pytest.warns(RuntimeWarning, match="has no NoSeam._map_values"):
        assert dk.apply(NoSeam([1]), str) == "by pandas"


@pytest.mark.parametrize(
    ("obj", "kwargs", "message"),
    [
        (
            [1, 2],
            {},
            r"received \[1, 2\] of type list; for other sequences use daskkit.map",
        ),
        (len, {}, "the object of pandas comes first"),
        (np.arange(3), {}, "for arrays daskkit.map_blocks"),
        (
            _keyed().groupby("n"),
            {"elementwise": True},
            "is for a DataFrame or a Series",
        ),
        (pd.Series([1]), {"where": "moon"}, "where must be one of"),
    ],
)
def test_bad_arguments(obj, kwargs, message):
    """What can't be used is named, with what is allowed."""
    with pytest.raises(dk.ArgumentError, match=message):
        dk.apply(obj, str, **kwargs)


def test_partitions_make_the_frame_again(shared_client):
    """Parts are consecutive rows; their results are put together in order."""
    frame = FRAMES["mixed"]()
    for n in (None, 1, 3, 100):
        same = dk.map_partitions(frame, lambda part: part, npartitions=n)
        pd.testing.assert_frame_equal(same, frame)
    parts = dk.map_partitions(frame, len, npartitions=3, where="cluster")
    assert parts == [3, 4, 4]
    assert dk.map_partitions(frame["i"], lambda part: part * 2).tolist() == list(
        range(0, 22, 2)
    )
    empty = dk.map_partitions(frame.iloc[:0], lambda part: part)
    pd.testing.assert_frame_equal(empty, frame.iloc[:0])


def test_partitions_name_the_rows_and_refuse_nonsense():
    """An error says which rows; what is no frame is refused."""
    with pytest.raises(ZeroDivisionError) as caught:
        dk.map_partitions(pd.Series(range(4)), lambda part: 1 / 0, npartitions=2)
    assert "partition 0 (rows 0 to 1)" in caught.value.__notes__[0]
    with pytest.raises(dk.ArgumentError, match=r"for arrays use daskkit\.map_blocks"):
        dk.map_partitions([1], len)
    with pytest.raises(dk.ArgumentError, match="npartitions must be a whole number"):
        dk.map_partitions(pd.Series([1]), len, npartitions=0)
    with pytest.raises(dk.ArgumentError, match="func must be callable"):
        dk.map_partitions(pd.Series([1]), 3)


@pytest.mark.parametrize(
    "ending", ["csv", "csv.gz", "tsv", "json", "jsonl", "parquet", "pkl"]
)
def test_files_are_read_in_order(tmp_path, shared_client, ending):
    """Many files become one frame, in the order of their names."""
    kind = ending.split(".")[0]
    for n in range(4):
        frame = pd.DataFrame({"n": [n, n], "s": ["a", "b"]})
        path = tmp_path / f"part-{n}.{ending}"
        if kind in {"csv", "tsv"}:
            frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
        elif kind in {"json", "jsonl"}:
            path.write_text(
                frame.to_json(orient="records", lines=kind == "jsonl"), encoding="utf-8"
            )
        elif kind == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_pickle(path)
    found = dk.read_files(tmp_path / "*", where="cluster")
    assert found["n"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.index.tolist() == list(range(8))
    some = dk.read_files([tmp_path / f"part-2.{ending}", tmp_path / f"part-0.{ending}"])
    assert some["n"].tolist() == [2, 2, 0, 0]


def test_files_with_reader_and_combine(tmp_path):
    """A reader of one's own may return anything; combine gets all of it."""
    for n in range(3):
        (tmp_path / f"{n}.txt").write_text(json.dumps(n), encoding="utf-8")
    reader = functools.partial(_read_text, suffix="!")
    assert dk.read_files(str(tmp_path / "*.txt"), reader, "".join) == "0!1!2!"


def _read_text(path, suffix):
    return Path(path).read_text(encoding="utf-8") + suffix


def test_files_that_cannot_be_read(tmp_path):
    """A missing file, an unknown ending and a broken file are named."""
    with pytest.raises(dk.ArgumentError, match=r"no file matches .*\.csv"):
        dk.read_files(tmp_path / "*.csv")
    with pytest.raises(dk.ArgumentError, match="there is no file"):
        dk.read_files([tmp_path / "a.csv"])
    with pytest.raises(dk.ArgumentError, match="paths are empty"):
        dk.read_files([])
    with pytest.raises(dk.ArgumentError, match="paths must be a pattern"):
        dk.read_files(3)
    (tmp_path / "a.xyz").write_text("", encoding="utf-8")
    with pytest.raises(dk.ArgumentError, match=r"nobody knows how to read .*a\.xyz"):
        dk.read_files(tmp_path / "a.xyz")
    (tmp_path / "b.csv").write_text("", encoding="utf-8")
    with pytest.raises(pd.errors.EmptyDataError) as caught:
        dk.read_files(tmp_path / "b.csv")
    assert "raised by file 0" in caught.value.__notes__[0]
