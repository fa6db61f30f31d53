"""The lazy verbs on frames: pandas' answer, of the table of tests/frame_cases.py."""

from __future__ import annotations

import functools
import warnings

import dask
import numpy as np
import pandas as pd
import pytest
from dask.delayed import Delayed
from dask.utils import key_split

import daskkit as dk
from daskkit import lazy
from tests.frame_cases import CASES
from tests.test_frames import check_same


def _answer(call):
    """Return what a call returns, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' own, about its future
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - of any type, to be compared
            return type(error)


def _with_pandas(case):
    kwargs = dict(case.kwargs)
    method = "map" if kwargs.pop("elementwise", False) else "apply"
    return _answer(lambda: getattr(case.make(), method)(case.func, **kwargs))


@pytest.fixture(params=["threads", "processes", "distributed"])
def where(request, shared_client, process_pool):
    """Return the arguments of ``compute`` that choose a scheduler."""
    if request.param == "distributed":
        return {"scheduler": shared_client}
    options = {"pool": process_pool} if request.param == "processes" else {}
    return {"scheduler": request.param, **options}


def _lazily(case, **where):
    graph = lazy.apply(case.make(), case.func, **case.kwargs, npartitions=3)
    assert isinstance(graph, Delayed)
    return graph.compute(**where)


def _check_all(cases, **where):
    wrong = []
    for case in cases:
        lazily = functools.partial(_lazily, case, **where)
        try:
            check_same(_answer(lazily), _with_pandas(case))
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
    assert not wrong, f"{len(wrong)} of {len(cases)} differ: " + "\n".join(wrong)


@pytest.mark.parametrize("kind", CASES)
def test_every_case_as_pandas(kind):
    """An answer that is computed later is what pandas returns, or raises, at once."""
    _check_all(CASES[kind], scheduler="synchronous")


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_some_cases_on_other_schedulers(where, kind):
    """So it is wherever it is computed."""
    _check_all(CASES[kind][::20], **where)


def _fail(*_args):
    raise _CalledError


class _CalledError(Exception):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda frame: lazy.apply(frame, _fail, axis=1),
        lambda frame: lazy.apply(frame, _fail, result_type="broadcast"),
        lambda frame: lazy.apply(frame["a"], _fail),
        lambda frame: lazy.apply(frame, _fail, elementwise=True),
        lambda frame: lazy.apply(frame.groupby("k"), _fail),
        lambda frame: lazy.apply(frame[["a", "b"]].rolling(2), _fail),
        lambda frame: lazy.map_partitions(frame, _fail),
    ],
)
def test_building_calls_no_function(make):
    """Not even where pandas does the whole by itself; that is done in a task."""
    frame = pd.DataFrame({"k": list("xyx"), "a": [1, 2, 3], "b": [4, 5, 6]})
    graph = make(frame)
    with pytest.raises(_CalledError):
        graph.compute(scheduler="synchronous")


def test_an_empty_frame_is_left_to_pandas():
    """The function is called to see what it returns; in a task, not before."""
    calls = []
    graph = lazy.apply(pd.DataFrame({"a": []}), calls.append)
    assert calls == []
    graph.compute(scheduler="synchronous")
    assert calls


def test_tasks_are_named_after_the_function():
    """The parts and what is made of them; one task where pandas does the whole."""
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    for graph, names in [
        (lazy.apply(frame, np.linalg.norm, axis=1), ["norm-map", "norm-finish"]),
        (lazy.apply(frame, len, name="rows"), ["rows-map", "rows-finish"]),
        (lazy.apply(frame, "sum"), ["sum-finish"]),
        (lazy.apply(frame, ["sum"]), ["apply-finish"]),
    ]:
        assert [key_split(layer) for layer in graph.dask.layers] == names


def test_several_columns_of_windows_are_finished_together():
    """Each column is cut into parts; the last task gets those of all."""
    frame = pd.DataFrame({"a": range(50), "b": range(50)}, dtype=float)
    graph = lazy.apply(frame.rolling(3), np.ptp, raw=True, npartitions=5)
    names = [key_split(key) for key in dict(graph.dask)]
    assert names.count("ptp-map") == 10
    expected = frame.rolling(3).apply(np.ptp, raw=True)
    pd.testing.assert_frame_equal(graph.compute(scheduler="threads"), expected)


def test_an_error_names_the_row(where):
    """The row's number and label go along to where it fails."""
    frame = pd.DataFrame({"a": [3, 1, 0]}, index=list("xyz"))
    graph = lazy.apply(frame, lambda row: 1 // int(row.a), axis=1)
    with pytest.raises(ZeroDivisionError) as caught:
        graph.compute(**where)
    assert caught.value.__notes__[-1] == "raised by row 2 (label 'z')"


def test_answers_compose_with_dask(shared_client):
    """They are arguments of delayed functions, and are computed together."""
    frame = pd.DataFrame({"k": list("xyxy") * 50, "a": range(200)})
    spread = lazy.apply(frame.groupby("k")["a"], np.ptp)
    evens = lazy.map_partitions(frame, lambda part: part[part.a % 2 == 0])
    result = dask.compute(dask.delayed(sum)(spread), dask.delayed(len)(evens))
    assert result == (2 * 198, 100)


def test_map_partitions_and_read_files(tmp_path):
    """They return what the eager verbs do, a part or a file a task by default."""
    frame = pd.DataFrame({"a": np.arange(100.0)})
    parts = lazy.map_partitions(frame, lambda part: part.cumsum(), npartitions=7)
    assert len(dict(parts.dask)) == 7 + 1
    expected = dk.map_partitions(frame, lambda part: part.cumsum(), npartitions=7)
    pd.testing.assert_frame_equal(parts.compute(scheduler="synchronous"), expected)
    for i in range(3):
        frame[i::3].to_csv(tmp_path / f"{i}.csv", index=False)
    read = lazy.read_files(tmp_path / "*.csv", combine=len)
    assert read.compute(scheduler="threads") == 3
    pd.testing.assert_frame_equal(
        lazy.read_files(tmp_path / "*.csv").compute(scheduler="synchronous"),
        dk.read_files(tmp_path / "*.csv"),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda frame: lazy.apply([1], len), "apply takes a DataFrame"),
        (lambda frame: lazy.apply(frame, len, where="auto"), "apply has no option wh"),
        (lambda frame: lazy.apply(frame, len, batch_size=0), "batch_size must be"),
        (lambda frame: lazy.map_partitions([1], len), "map_partitions takes a"),
        (
            lambda frame: lazy.map_partitions(frame, len, retries=1),
            "has no option retr",
        ),
        (lambda frame: lazy.map_partitions(frame, len, npartitions=0), "npartitions"),
        (lambda frame: lazy.read_files("/nowhere/*.csv"), "/nowhere"),
        (lambda frame: lazy.read_files("x", timeout=1), "has no option timeout"),
    ],
)
def test_wrong_arguments(call, message):
    """What can't be used is refused when the graph is built."""
    with pytest.raises(dk.ArgumentError, match=message):
        call(pd.DataFrame({"a": [1]}))
