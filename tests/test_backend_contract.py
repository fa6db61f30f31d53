"""Every registered back end keeps one contract; the plain loop is the oracle."""

from __future__ import annotations

import pytest

import daskkit as dk
from daskkit.backends.chunks import chunksize_for
from daskkit.backends.pickling import make_portable
from daskkit.backends.registry import (
    DEFAULT_SPECS,
    BackendSpec,
    load_backend,
    names,
    parse_spec,
)

SPECS = [
    *dict.fromkeys([*DEFAULT_SPECS, *names()]),
    "multiprocessing:start_method=spawn",
    "dask-bag:processes=no",
]


def _square(x):
    return x * x


def _square_all(items):
    return [x * x for x in items]


def _reciprocal(x):
    return 1 / x


def _join(results):
    return "".join(results)


WORKLOADS = {
    "nothing": dk.Workload("nothing", _square, [], vectorized=_square_all),
    "one item": dk.Workload("one", _square, [3], vectorized=_square_all),
    "order": dk.Workload("order", _square, range(101), vectorized=_square_all),
    "combine": dk.Workload(
        "combine",
        str,
        range(40),
        combine=_join,
        vectorized=lambda xs: "".join(map(str, xs)),
    ),
    "combine nothing": dk.Workload(
        "none", str, [], combine=_join, vectorized=lambda xs: ""
    ),
    "lambda": dk.Workload(
        "lambda", lambda x: x + 1, range(9), vectorized=lambda xs: [x + 1 for x in xs]
    ),
}
FAILING = dk.Workload(
    "division", _reciprocal, [1, 2, 0, 4], vectorized=lambda xs: [1 / x for x in xs]
)


@pytest.fixture(scope="module", params=SPECS)
def spec(request):
    """Return the specification of each back end in turn."""
    return request.param


def _start(spec, workload):
    backend = parse_spec(spec).make(2)
    assert backend.unavailable(workload) is None
    backend.start(workload)
    return backend


@pytest.mark.timeout(180)
def test_results_equal_the_loop(spec):
    """Empty input, one item, fewer items than workers, order, combine: as the loop."""
    for name, workload in WORKLOADS.items():
        backend = _start(spec, workload)
        try:
            for _ in range(2):  # a back end that is warm gives the same again
                dk.check_equal(backend.run(), workload.loop())
            assert isinstance(backend.setting, str), name
        finally:
            backend.stop()


def test_failing_item_raises_its_own_error(spec):
    """An item's exception arrives with its own type, and stopping still works."""
    backend = _start(spec, FAILING)
    try:
        with pytest.raises(ZeroDivisionError):
            backend.run()
    finally:
        backend.stop()


def test_stop_twice_and_stop_before_start(spec):
    """stop() ends everything, and a second or an early call does nothing."""
    parse_spec(spec).make(2).stop()
    backend = _start(spec, WORKLOADS["one item"])
    backend.stop()
    backend.stop()


def test_single_back_ends_take_one_worker():
    """The loop and NumPy use one worker, whatever is asked for; others what is asked."""
    workers = {name: parse_spec(name).make(3).n_workers for name in names()}
    assert workers.pop("serial") == workers.pop("numpy") == 1
    assert set(workers.values()) == {3}
    assert parse_spec("dask-bag@1").make(3).n_workers == 1


def test_numpy_needs_a_vectorised_form():
    """Without one the row says so, and what to pass."""
    reason = load_backend("numpy").unavailable(dk.Workload("w", _square, [1]))
    assert reason == (
        "workload 'w' has no vectorised form; pass vectorized=function_of_all_items"
    )


def test_missing_library_names_its_package(monkeypatch):
    """A back end whose module is not installed says what to install."""
    monkeypatch.setattr(
        load_backend("threads"), "requires", {"no_such_module": "nosuch"}
    )
    reason = load_backend("threads").unavailable(WORKLOADS["order"])
    assert reason == "no_such_module is not installed; pip install nosuch"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("serial", BackendSpec("serial")),
        ("dask-bag@4", BackendSpec("dask-bag", 4)),
        (
            "multiprocessing@2:start_method=spawn",
            BackendSpec("multiprocessing", 2, (("start_method", "spawn"),)),
        ),
    ],
)
def test_specifications_round_trip(text, spec):
    """A text is parsed to a record, and the record prints as the text."""
    assert parse_spec(text) == spec
    assert str(spec) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rey", "unknown back end 'rey'; available: serial, numpy"),
        ("multiprocesing", r"did you mean 'multiprocessing'\?"),
        ("dask-bag@0", "at least 1, received '0'"),
        ("dask-bag@x", "received 'x'"),
        ("threads:speed=high", "has no option 'speed'; it has: none"),
        ("futures:start_method=spoon", "can't be 'spoon'; allowed: default"),
        ("", "unknown back end ''"),
        (3, "chosen by its name, received 3 of type int"),
    ],
)
def test_wrong_specifications_say_what_is_allowed(text, words):
    """Unknown names, options, values and worker counts are refused with the choice."""
    with pytest.raises(dk.BackendError, match=words):
        parse_spec(text)


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("n_items", [0, 1, 7, 100, 1000])
def test_chunksize_is_that_of_pool(n_items, n_workers):
    """The formula gives what multiprocessing.Pool computes in _map_async."""
    chunksize, extra = divmod(n_items, n_workers * 4)
    assert chunksize_for(n_items, n_workers) == max(1, chunksize + bool(extra))


def test_portable_functions_work_after_pickling():
    """What plain pickle can't send goes by value, what it can send goes by name."""
    import pickle

    assert make_portable(_square) is _square
    portable = pickle.loads(pickle.dumps(make_portable(lambda x: x + 1)))
    assert portable(1) == 2
    assert pickle.loads(pickle.dumps(portable))(2) == 3
