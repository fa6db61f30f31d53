"""Every registered back end keeps one contract; the plain loop is the oracle."""

from __future__ import annotations

import numpy as np
import pytest

import daskkit as dk
from daskkit.backends.base import explain_missing
from daskkit.backends.chunks import chunksize_for
from daskkit.backends.pickling import make_portable
from daskkit.backends.registry import (
    DEFAULT_SPECS,
    GROUPS,
    BackendSpec,
    load_backend,
    names,
    parse_spec,
    parse_specs,
)
from tests.contract import (
    FAILING,
    SLOW_STARTERS,
    WORKLOADS,
    hand_over,
    mix,
    square,
)

# Other libraries are tested where they run in comparisons, in processes of their own:
# tests/test_everywhere.py.
HOSTED = [name for name in names() if load_backend(name).requires]
OURS = [s for s in dict.fromkeys([*DEFAULT_SPECS, *names()]) if s not in HOSTED]
# Clusters and fresh interpreters.
SLOW_SPECS = [s for s in OURS if parse_spec(s).name in SLOW_STARTERS]
SPECS = [
    *(s for s in OURS if s not in SLOW_SPECS),
    "multiprocessing:start_method=spawn",
    "dask-bag:processes=no",
    "dask-threads:chunksize=3",
]


@pytest.fixture(scope="module", params=SPECS)
def spec(request):
    """Return the specification of each back end in turn."""
    return request.param


def _start(spec, workload):
    backend = parse_spec(spec).make(2)
    reason = backend.unavailable(workload)
    if reason is not None:
        pytest.skip(f"{spec}: {reason}")
    backend.start(workload)
    return backend


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


@pytest.mark.parametrize("spec", SLOW_SPECS)
def test_the_contract_in_one_start(spec):
    """Those that take seconds to start keep all of that, too, started once."""
    backend = parse_spec(spec).make(2)
    backend.stop()
    workloads = [*WORKLOADS.values(), FAILING]
    backend.start(mix(workloads))
    try:
        for workload in WORKLOADS.values():
            hand_over(backend, workload)
            for _ in range(2):
                dk.check_equal(backend.run(), workload.loop())
            assert isinstance(backend.setting, str)
        hand_over(backend, FAILING)
        with pytest.raises(ZeroDivisionError):
            backend.run()
    finally:
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
    reason = load_backend("numpy").unavailable(dk.Workload("w", square, [1]))
    assert reason == (
        "workload 'w' has no vectorised form; pass vectorized=function_of_all_items"
    )


def test_numba_needs_a_compiled_form():
    """Without one the row says so, and what to pass."""
    reason = load_backend("numba").unavailable(dk.Workload("w", square, [1]))
    assert reason == (
        "workload 'w' has no compiled form; pass compiled=function_that_compiles"
    )


def test_chunksize_can_be_chosen_and_changed():
    """What is given is used and shown; it changes between runs, back to the default."""
    backend = _start("futures:chunksize=7", WORKLOADS["order"])
    try:
        assert backend.setting == "chunksize=7"
        backend.set_chunksize("20")
        assert backend.setting == "chunksize=20"
        dk.check_equal(backend.run(), WORKLOADS["order"].loop())
        backend.set_chunksize("default")
        assert backend.setting == "chunksize=13"
        with pytest.raises(dk.BackendError, match="can't be '0'; allowed: default, a"):
            backend.set_chunksize("0")
    finally:
        backend.stop()


def test_back_ends_without_chunks_refuse_a_chunksize():
    """The plain loop has none, and says so."""
    with pytest.raises(dk.BackendError, match="has no option 'chunksize'"):
        parse_spec("serial").make(1).set_chunksize("3")


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("numpy>=1.0", None),
        ("numpy", None),
        (
            "numpy>=1000.0",
            f"numpy {np.__version__} is installed, >=1000.0 is needed; pip install 'numpy>=1000.0'",
        ),
    ],
)
def test_an_old_library_says_what_to_install(requirement, reason):
    """A version below the one that is needed is named, with the command to mend it."""
    assert explain_missing("numpy", requirement) == reason


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
        ("cuda", "unknown back end 'cuda'; available: serial, numpy"),
        ("multiprocesing", r"did you mean 'multiprocessing'\?"),
        ("dask-bag@0", "at least 1, received '0'"),
        ("dask-bag@x", "received 'x'"),
        ("threads:speed=high", "has no option 'speed'; it has: none"),
        ("futures:start_method=spoon", "can't be 'spoon'; allowed: default"),
        ("mpire:chunksize=0", "can't be '0'; allowed: default, a whole number of at"),
        ("mpire:chunksize=N", "can't be 'N'"),
        ("all", "'all' is a group of back ends, where one is needed; it holds: serial"),
        ("", "unknown back end ''"),
        (3, "chosen by its name, received 3 of type int"),
    ],
)
def test_wrong_specifications_say_what_is_allowed(text, words):
    """Unknown names, options, values and worker counts are refused with the choice."""
    with pytest.raises(dk.BackendError, match=words):
        parse_spec(text)


@pytest.mark.parametrize("group", GROUPS)
def test_groups_hold_back_ends(group):
    """Each group is a list of back ends in the order of tables, the loop first."""
    specs = parse_specs(group)
    assert [str(spec) for spec in specs] == list(GROUPS[group])
    assert specs[0].name == "serial"
    order = [names().index(spec.name) for spec in specs]
    assert order == sorted(order)


def test_the_group_of_all_is_all():
    """Every back end is in it, and so is every row of the other groups."""
    assert {spec.name for spec in parse_specs("all")} == set(names())
    assert {member for group in GROUPS.values() for member in group} == set(
        GROUPS["all"]
    )
    assert not set(GROUPS) & set(names())


def test_groups_take_a_number_of_workers():
    """It goes to those that don't have their own, and makes no row twice."""
    assert [str(spec) for spec in parse_specs("dask@3")][:5] == [
        "serial",
        "dask-threads@3",
        "dask-processes@3",
        "dask-bag@1",
        "dask-bag@3",
    ]
    specs = parse_specs("dask@1")
    assert len(specs) == len(set(specs)) == len(GROUPS["dask"]) - 2


def test_groups_have_no_options():
    """Not all of their back ends would have them; the message names these."""
    with pytest.raises(dk.BackendError, match=r"no options.*numpy-threads, numba"):
        parse_specs("threading:chunksize=3")


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("n_items", [0, 1, 7, 100, 1000])
def test_chunksize_is_that_of_pool(n_items, n_workers):
    """The formula gives what multiprocessing.Pool computes in _map_async."""
    chunksize, extra = divmod(n_items, n_workers * 4)
    assert chunksize_for(n_items, n_workers) == max(1, chunksize + bool(extra))


def test_portable_functions_work_after_pickling():
    """What plain pickle can't send goes by value, what it can send goes by name."""
    import pickle

    assert make_portable(square) is square
    portable = pickle.loads(pickle.dumps(make_portable(lambda x: x + 1)))
    assert portable(1) == 2
    assert pickle.loads(pickle.dumps(portable))(2) == 3
