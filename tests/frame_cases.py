"""The table of calls that `dk.apply` has to answer as pandas does: objects and functions.

Functions are at module level and deterministic; a case is an object, a function and the
arguments of `apply`. pandas itself is the oracle: its answer, or the type of its error.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd


class Case(NamedTuple):
    """One call; `make` returns the object anew each time."""

    name: str
    make: object
    func: object
    kwargs: dict


def _numbers(n=23):
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "i": rng.integers(-5, 5, n),
            "f": rng.normal(size=n).round(3),
            "g": np.where(np.arange(n) % 7 == 0, np.nan, np.arange(n) / 2),
        }
    )


def _mixed(n=11):
    return pd.DataFrame(
        {
            "i": range(n),
            "f": np.linspace(0, 1, n),
            "s": [f"text {i % 3}" for i in range(n)],
            "b": [i % 2 == 0 for i in range(n)],
            "t": pd.date_range("2024-01-01", periods=n, freq="h"),
        }
    )


FRAMES = {
    "numbers": _numbers,
    "integers": lambda: pd.DataFrame(np.arange(12).reshape(4, 3), columns=list("abc")),
    "mixed": _mixed,
    "texts": lambda: pd.DataFrame({"x": list("abcd"), "y": list("efgh")}),
    "one row": lambda: _numbers(1),
    "one column": lambda: _numbers()[["f"]],
    "no rows": lambda: _numbers().iloc[:0],
    "no columns": lambda: _numbers()[[]],
    "duplicate index": lambda: _numbers(6).set_axis([1, 1, 2, 2, 2, 0]),
    "duplicate columns": lambda: _numbers(6).set_axis(["a", "a", "b"], axis=1),
    "many-level index": lambda: _numbers(6).set_index(
        pd.MultiIndex.from_product([["x", "y"], [1, 2, 3]], names=["k", "n"])
    ),
    "many-level columns": lambda: _numbers(5).set_axis(
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]), axis=1
    ),
    "times": lambda: _mixed()[["t"]].assign(u=lambda d: d.t + pd.Timedelta("1D")),
    "nullable": lambda: pd.DataFrame(
        {"a": pd.array([1, None, 3], "Int64"), "b": pd.array([4, 5, None], "Int64")}
    ),
    "categories": lambda: pd.DataFrame(
        {"c": pd.Categorical(list("aba")), "n": [1, 2, 3]}
    ),
    "time index": lambda: _numbers(8).set_axis(
        pd.date_range("2024", periods=8), axis=0
    ),
}


def first(x):
    return x.iloc[0]


def total(x):
    return x.sum()


def n_missing(x):
    return int(x.isna().sum())


def nothing(x):
    return None


def name_of(x):
    return str(x.name)


def several_types(x):
    return [len(x), 0.5, "text", None][len(str(x.name)) % 4]


def itself(x):
    return x


def doubled(x):
    return x + x


def head(x):
    return x.iloc[:2]


def two_figures(x):
    return pd.Series({"size": len(x), "missing": x.isna().sum()}, name=x.name)


def uneven(x):
    return x.iloc[: 1 + len(str(x.name)) % 2]


def as_list(x):
    return [len(x), str(x.name)]


def as_long_list(x):
    return list(x)


def as_tuple(x):
    return (len(x), 0.5)


def as_dict(x):
    return {"n": len(x), "name": str(x.name)}


def as_array(x):
    return np.arange(3.0)


def with_arguments(x, factor, offset=0):
    return len(x) * factor + offset


def raises(x):
    msg = f"no {x.name}"
    raise KeyError(msg)


def raises_late(x):
    if str(x.name) in {"3", "c", "y"}:
        raise ZeroDivisionError(str(x.name))
    return len(x)


def narrow(x):
    return np.float32(len(x) / 3)


def short(x):
    return np.int8(len(x))


def two_floats(x):
    return np.float64(0.5) if len(str(x.name)) % 2 else 1.5


def two_integers(x):
    return np.int64(7) if len(str(x.name)) % 2 else 8


def two_truths(x):
    return np.bool_(1) if len(str(x.name)) % 2 else False


def floats_and_text(x):
    return str(x.name) if str(x.name) in {"5", "b"} else two_floats(x)


def huge(x):
    return 2**70 if len(str(x.name)) % 2 else 8


def when(x):
    return np.datetime64("2024-01-01", "s") + len(x)


ROW_FUNCTIONS = [
    narrow, short, two_floats, two_integers, two_truths, floats_and_text, huge, when,
    first, total, n_missing, nothing, name_of, several_types, itself, doubled, head,
    two_figures, uneven, as_list, as_long_list, as_tuple, as_dict, as_array, raises_late,
]  # fmt: skip


def _frame_cases():
    for (name, make), func, axis in itertools.product(
        FRAMES.items(), ROW_FUNCTIONS, (0, 1)
    ):
        yield Case(f"{name}, {func.__name__}, axis={axis}", make, func, {"axis": axis})
    for name, func, axis, kind in itertools.product(
        ("numbers", "mixed", "duplicate index"),
        (total, itself, as_list, as_long_list, two_figures, as_array),
        (0, 1),
        ("expand", "reduce", "broadcast"),
    ):
        yield Case(
            f"{name}, {func.__name__}, axis={axis}, {kind}",
            FRAMES[name],
            func,
            {"axis": axis, "result_type": kind},
        )
    raw = [np.sum, lambda v: v[:2], lambda v: str(v[0]), len,
           lambda v: float(len(v)) if v[0] > 0 else 1, lambda v: v[0] > 0,
           lambda v: [1, 2], lambda v: None, lambda v: 1 / 0,
           lambda v: 2**70 if v[0] > 1 else 8, lambda v: np.float32(v[0])]  # fmt: skip
    for name, (i, func), axis in itertools.product(
        ("numbers", "integers", "mixed", "no rows", "duplicate columns"),
        enumerate(raw),
        (0, 1),
    ):
        if name == "mixed" and i in {0, 10}:
            continue  # NumPy can't store a text before another column raises
        yield Case(
            f"{name}, raw {i}, axis={axis}",
            FRAMES[name],
            func,
            {"axis": axis, "raw": True},
        )
    for axis in (0, 1, "index", "columns"):
        kwargs = {"axis": axis, "args": (2,), "offset": 1}
        yield Case(f"arguments, axis={axis}", _numbers, with_arguments, kwargs)
    for func in (
        "sum",
        ["sum", "max"],
        {"i": "sum"},
        np.sqrt,
        len,
        functools.partial(first),
    ):
        yield Case(f"numbers, {func}", _numbers, func, {})
    yield Case("numbers, axis=2", _numbers, total, {"axis": 2})
    yield Case("numbers, result_type=x", _numbers, total, {"result_type": "x"})
    yield Case("numbers, not callable", _numbers, 3, {})


SERIES = {
    "integers": lambda: pd.Series([3, 1, 2], index=list("xyz"), name="n"),
    "floats": lambda: pd.Series([0.5, np.nan, -1.0, 2.0]),
    "flags": lambda: pd.Series([True, False]),
    "texts": lambda: pd.Series(["a", "bb", None, "ccc"], name="t"),
    "objects": lambda: pd.Series([1, "a", None, 2.5, (1, 2)], dtype=object),
    "times": lambda: pd.Series(pd.date_range("2024", periods=4, tz="UTC")),
    "spans": lambda: pd.Series(pd.to_timedelta([1, 2, None], "h")),
    "categories": lambda: pd.Series(pd.Categorical(["a", "b", "a", None])),
    "nullable": lambda: pd.Series([1, None, 3], dtype="Int64"),
    "empty": lambda: pd.Series([], dtype="float64"),
    "duplicate index": lambda: pd.Series([1.5, 2.5], index=["a", "a"]),
    "many-level index": lambda: pd.Series(
        [1, 2], index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    ),
}


def text_of(x):
    return f"<{x}>"


def number_of(x):
    return len(str(x))


def half(x):
    return len(str(x)) / 2


def to_array(x):
    return np.array(len(str(x)))


def to_series(x):
    return pd.Series({"text": str(x), "n": len(str(x))})


def to_list(x):
    return [1, 2]


def to_time(x):
    return pd.Timestamp("2024-01-01")


def varied(x):
    return [None, 1, 2.5, "x"][len(str(x)) % 4]


def to_scalar(x):
    return np.float32(len(str(x)))


def is_long(x):
    return len(str(x)) > 2


def refuses_b(x):
    if "b" in str(x):
        raise LookupError(x)
    return x


ELEMENT_FUNCTIONS = [
    str, text_of, number_of, half, to_array, to_list, to_time, varied, to_scalar,
    is_long, nothing, refuses_b,
]  # fmt: skip


def _series_cases():
    for (name, make), func in itertools.product(
        SERIES.items(), [*ELEMENT_FUNCTIONS, to_series]
    ):
        yield Case(f"{name}, {func.__name__}", make, func, {})
    yield Case("whole", SERIES["integers"], lambda s: s.sum(), {"by_row": False})
    yield Case("arguments", SERIES["integers"], pow, {"args": (2,)})
    yield Case("keyword", SERIES["integers"], lambda x, *, y: x + y, {"y": 2})
    for func in ("sum", ["min", "max"], np.sqrt):
        yield Case(f"integers, {func}", SERIES["integers"], func, {})


def _elementwise_cases():
    for (name, make), func, action in itertools.product(
        SERIES.items(), ELEMENT_FUNCTIONS, (None, "ignore")
    ):
        kwargs = {"na_action": action, "elementwise": True}
        yield Case(f"{name}, {func.__name__}, {action}", make, func, kwargs)
    frames = ("numbers", "mixed", "texts", "no rows", "duplicate columns", "nullable",
              "categories", "times")  # fmt: skip
    for name, func, action in itertools.product(
        frames, ELEMENT_FUNCTIONS, (None, "ignore")
    ):
        kwargs = {"na_action": action, "elementwise": True}
        yield Case(
            f"frame of {name}, {func.__name__}, {action}", FRAMES[name], func, kwargs
        )
    yield Case("a dict", SERIES["integers"], {1: "a", 2: "b"}, {"elementwise": True})


def _keyed(n=24):
    return pd.DataFrame({
        "k": ["x", "y", "z", None][: 4] * (n // 4),
        "c": pd.Categorical(["p", "q"] * (n // 2), categories=["p", "q", "r"]),
        "n": [5, 1, 3] * (n // 3),
        "v": np.arange(n) / 4,
        "w": [f"w{i % 5}" for i in range(n)],
    })  # fmt: skip


def size_of(g):
    return len(g)


def spread(g):
    return g["v"].max() - g["v"].min()


def summary(g):
    return pd.Series({"n": len(g), "mean": g["v"].mean()})


def top(g):
    return g.nlargest(2, "v")


def centred(g):
    return g.assign(v=g["v"] - g["v"].mean())


def centred_column(g):
    return g["v"] - g["v"].mean()


def some_none(g):
    return None if len(g) % 2 == 0 else len(g)


def by_name(g):
    return str(g.name)


def record(g):
    return {"n": len(g)}


def mutating(g):
    g["v"] = 0.0
    return g


def sorted_group(g):
    return g.sort_values("v", ascending=False)


def failing(g):
    if g["v"].min() > 0.3:
        raise ArithmeticError(str(g.name))
    return len(g)


GROUP_FUNCTIONS = [
    size_of, spread, summary, top, centred, centred_column, some_none, by_name, record,
    mutating, sorted_group, failing, itself, nothing,
]  # fmt: skip
GROUPINGS = {
    "k": lambda d: d.groupby("k"),
    "k with missing": lambda d: d.groupby("k", dropna=False),
    "k unsorted": lambda d: d.groupby("k", sort=False),
    "k bare": lambda d: d.groupby("k", group_keys=False),
    "k as column": lambda d: d.groupby("k", as_index=False),
    "k and n": lambda d: d.groupby(["k", "n"]),
    "categories seen": lambda d: d.groupby("c", observed=True),
    "categories all": lambda d: d.groupby("c", observed=False),
    "array": lambda d: d.groupby(np.arange(len(d)) % 3),
    "function": lambda d: d.groupby(lambda i: i % 2),
    "columns": lambda d: d.groupby("n")[["v", "w"]],
    "level": lambda d: d.set_index("n").groupby(level=0),
    "no rows": lambda d: d.iloc[:0].groupby("k"),
    "one group": lambda d: d.iloc[:1].groupby("k"),
    "giant": lambda d: d.groupby(
        np.where(np.arange(len(d)) < 20, 9, np.arange(len(d)))
    ),
}


def _group_cases():
    for (name, group), func in itertools.product(GROUPINGS.items(), GROUP_FUNCTIONS):

        def make(group=group):
            return group(_keyed())

        yield Case(f"{name}, {func.__name__}", make, func, {})
    of_column = [size_of, total, head, doubled, nothing, two_figures, as_list, by_name]
    for (name, group), func in itertools.product(GROUPINGS.items(), of_column):
        if name == "columns":
            continue

        def make(group=group):
            return group(_keyed())["v"]

        yield Case(f"column by {name}, {func.__name__}", make, func, {})

    def make():
        return _keyed().groupby("n")

    yield Case("arguments", make, with_arguments, {"factor": 2, "offset": 1})
    yield Case("a name", make, "size", {})
    yield Case("not callable", make, 3, {})


def middle(values):
    return float(np.median(values))


def last_less_first(values):
    values = np.asarray(values)
    return values[-1] - values[0] if len(values) else -1.0


def as_text(values):
    return "3"


WINDOWS = {
    "3": lambda d: d.rolling(3),
    "3 from 1": lambda d: d.rolling(3, min_periods=1),
    "3 from 0": lambda d: d.rolling(3, min_periods=0),
    "centred": lambda d: d.rolling(4, center=True),
    "closed both": lambda d: d.rolling(3, closed="both"),
    "step": lambda d: d.rolling(3, step=2),
    "expanding": lambda d: d.expanding(),
    "expanding from 4": lambda d: d.expanding(4),
    "two days": lambda d: d.rolling("2D"),
}


def _window_cases():
    frame = FRAMES["time index"]
    tables = {
        "frame": frame,
        "series": lambda: frame()["g"],
        "no rows": lambda: frame().iloc[:0],
        "texts": lambda: frame().assign(f=list("abcdefgh")),
    }
    for (table, make_table), (name, window), func, raw in itertools.product(
        tables.items(),
        WINDOWS.items(),
        (middle, last_less_first, as_text),
        (True, False),
    ):

        def make(window=window, make_table=make_table):
            return window(make_table())

        yield Case(
            f"{table}, {name}, {func.__name__}, raw={raw}", make, func, {"raw": raw}
        )
    for name, func, raw in itertools.product(
        ("rolling", "expanding"), (middle, last_less_first), (True, False)
    ):

        def make(name=name):
            grouped = _keyed().groupby("n")[["v"]]
            return grouped.rolling(2) if name == "rolling" else grouped.expanding()

        yield Case(
            f"groups, {name}, {func.__name__}, raw={raw}", make, func, {"raw": raw}
        )


CASES = {
    "frame": list(_frame_cases()),
    "series": list(_series_cases()),
    "elements": list(_elementwise_cases()),
    "groups": list(_group_cases()),
    "windows": list(_window_cases()),
}
