"""The verbs on a real cluster: the loop's results, each item once, errors with a name."""

from __future__ import annotations

import functools
import gc
import itertools
import operator
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections import OrderedDict
from pathlib import Path

import dask.bag
import numpy as np
import pytest

import daskkit as dk
from daskkit.run import dispatch, feeder, grip, known, workers
from daskkit.run.lanes import ProcessLane
from daskkit.run.parking import count_parked, take_parked
from daskkit.run.plan import Means
from daskkit.run.scout import Scout
from daskkit.transport.errors import UnpicklableError

CALLER = os.getpid()
WHERE = ["auto", "inline", "threads", "cluster"]


def _busy(x, n=8_000):
    """Take half a millisecond of pure Python."""
    total = 0
    for i in range(n):
        total += i
    return x


def _pid(x):
    _busy(x)
    return os.getpid()


class _Scale:
    """A callable object with a method."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * _busy(x)

    def method(self, x):
        return self(x) + 1


class _OwnError(Exception):
    """Takes other arguments than it passes on, which plain pickle can't rebuild."""

    def __init__(self, code, detail):
        super().__init__(f"code {code}")
        self.detail = detail


def _record(folder, x):
    """Leave a trace of each execution."""
    _busy(x)
    with Path(folder, str(os.getpid())).open("a") as file:
        file.write(f"{x}\n")
    return x


def _executions(folder):
    lines = itertools.chain.from_iterable(
        path.read_text().split() for path in Path(folder).iterdir()
    )
    return sorted(map(int, lines))


# Same values, order and types.


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 300])
def test_map_is_the_loop(shared_client, where, n):
    """The list of the loop, wherever it is computed and however long the input."""
    items = [f"item {i}" for i in range(n)]
    result = dk.map(_busy, items, where=where)
    dk.check_equal(result, [_busy(item) for item in items])


@pytest.mark.parametrize("where", WHERE)
def test_several_iterables_end_with_the_shortest(shared_client, where):
    """As with the built-in map."""
    result = dk.map(operator.sub, range(200), itertools.count(5), where=where)
    assert result == [-5] * 200


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(
    "items",
    [
        tuple(range(50)),
        range(50),
        dict.fromkeys(range(50)),
        dict.fromkeys(range(50)).keys(),
        (i for i in range(50)),
        np.arange(50),
        np.arange(100.0).reshape(50, 2),
        np.array(["a", None, 3] * 10, dtype=object),
    ],
    ids=lambda items: type(items).__name__,
)
def test_any_iterable_yields_the_loops_items(shared_client, where, items):
    """What func gets has the type and value that it has in the loop."""
    items = list(items) if not hasattr(items, "shape") else items
    expected = [(type(item), item) for item in items]
    result = dk.map(lambda item: (type(item), item), items, where=where)
    dk.check_equal(result, expected)


@pytest.mark.parametrize("where", WHERE)
def test_array_items_keep_their_types(shared_client, where):
    """An array is cut, and its elements are NumPy scalars as in the loop."""
    array = np.arange(1_000, dtype="float32")
    assert set(dk.map(type, array, where=where)) == {np.float32}


@pytest.mark.parametrize("where", WHERE)
def test_starmap_unpacks(shared_client, where):
    """Each tuple is the arguments of one call."""
    tuples = [(i, 3) for i in range(100)]
    assert dk.starmap(pow, tuples, where=where) == [i**3 for i in range(100)]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("n", [0, 1, 500])
def test_map_reduce_keeps_the_order(shared_client, where, n):
    """An associative combination that does not commute comes out as the loop's."""

    def text(x):
        _busy(x)
        return f"{x},"

    result = dk.map_reduce(text, range(n), "".join, where=where)
    assert result == "".join(text(x) for x in range(n))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("verb", [dk.imap, dk.imap_unordered])
def test_streams_yield_every_result(shared_client, where, verb):
    """From a generator, in order where that is promised."""
    results = list(verb(_busy, (i for i in range(500)), where=where))
    if verb is dk.imap_unordered:
        results.sort()
    assert results == list(range(500))


@pytest.mark.parametrize("batch_size", [1, 7, 1_000])
def test_batch_size_changes_nothing(shared_client, batch_size):
    """Any size gives the same list."""
    result = dk.map(_busy, range(100), where="cluster", batch_size=batch_size)
    assert result == list(range(100))


@pytest.mark.parametrize(
    "func",
    [
        lambda x: 2 * x,
        functools.partial(operator.mul, 2),
        _Scale(2),
        _Scale(2).method,
        int.bit_length,
        np.sqrt,
    ],
    ids=["lambda", "partial", "object", "method", "builtin", "ufunc"],
)
def test_any_callable(shared_client, func):
    """Whatever can be called can be sent."""
    dk.check_equal(
        dk.map(func, range(20), where="cluster"), [func(x) for x in range(20)]
    )


def test_redefined_function_runs_its_new_body(shared_client):
    """A function of the same name is not mistaken for the one before."""
    results = []
    for factor in (1, 10):
        namespace = {}
        exec(f"def f(x):\n    return {factor} * x", namespace)
        results.append(dk.map(namespace["f"], [1, 2], where="cluster"))
    assert results == [[1, 2], [10, 20]]


@pytest.mark.parametrize("batch_size", [1_000, 60_000, 150_000, 300_000])
def test_large_batches_cross_both_ways(shared_client, batch_size):
    """By socket and by shared memory, with both ends sending at the same time."""
    items = list(range(10**6, 10**6 + 600_000))
    result = dk.map(operator.neg, items, where="cluster", batch_size=batch_size)
    assert result == [-item for item in items]


def test_large_arrays_cross_both_ways(shared_client):
    """Each task gets its own copy, and what it returns arrives whole."""

    def double(array):
        array *= 2
        return array

    items = [np.full(500_000, i) for i in range(12)]
    results = dk.map(double, items, where="cluster")
    assert [int(result[-1]) for result in results] == [2 * i for i in range(12)]
    assert [int(item[0]) for item in items] == list(range(12))


# Once each, and where.


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("verb", [dk.map, dk.imap, dk.imap_unordered])
def test_each_item_is_executed_once(shared_client, tmp_path, where, verb):
    """The pilot's items are not repeated, nothing is executed twice or dropped."""
    func = functools.partial(_record, str(tmp_path))
    assert sorted(verb(func, range(600), where=where)) == list(range(600))
    assert _executions(tmp_path) == list(range(600))


def test_each_item_is_executed_once_where_costs_differ(shared_client, tmp_path):
    """Also where idle lanes take over what waits behind slow items."""

    def func(x):
        _busy(x, 200_000 if x % 50 == 49 else 1_000)
        return _record(str(tmp_path), x)

    assert dk.map(func, range(400), where="cluster") == list(range(400))
    assert _executions(tmp_path) == list(range(400))


def test_pilot_runs_here_and_the_rest_on_workers(shared_client):
    """Long pure Python work is begun by the caller and done by the workers."""
    pids = dk.map(_pid, range(2_000))
    assert pids[0] == CALLER
    assert set(pids) > {CALLER}


def test_cluster_keeps_items_out_of_this_process(shared_client):
    """where="cluster" has no pilot in the caller."""
    pids = set(dk.map(_pid, range(200), where="cluster"))
    assert CALLER not in pids
    assert pids <= set(shared_client.run(os.getpid).values())


def test_trivial_work_stays_here(shared_client):
    """What would take longer to hand over than to do is done in the caller."""
    assert set(dk.map(lambda _: os.getpid(), range(1_000))) == {CALLER}


def _timed(x):
    """Compute for a quarter of a second or so and return when that was."""
    began = time.time()
    _busy(x, 6_000_000)
    return began, time.time()


@pytest.mark.skipif(dk.usable_cores() != 2, reason="the cluster has two workers")
def test_long_items_never_share_a_core(shared_client, monkeypatch):
    """While the caller is amid a long item, one worker fewer than there are gets one."""
    # However much of a core this test gets.
    monkeypatch.setattr(dispatch, "_COMPUTES", 0.0)
    spans = dk.map(_timed, range(7))
    most = max(sum(one <= began < end for one, end in spans) for began, _ in spans)
    assert most == 2


class _Held:
    """What a weak reference can be made to."""

    def __init__(self, x):
        self.x = x


def _spend(held):
    """Take a while with an argument, and return something as large."""
    return _Held(_busy(held.x))


@pytest.mark.parametrize("n_items", [3, 1_500], ids=["quick", "long"])
@pytest.mark.parametrize("where", WHERE)
def test_a_call_lets_go_of_arguments_and_results(shared_client, where, n_items):
    """They go with the last reference of the user's, not with the next collection."""
    items = [_Held(x) for x in range(n_items)]
    gc.collect()
    gc.disable()
    try:
        results = dk.map(_spend, items, where=where)
        assert [one.x for one in results] == list(range(n_items))
        watched = [weakref.ref(one) for one in (*items, *results)]
        del items, results
        # A thread that has nothing to do any more may take a moment to end.
        deadline = time.monotonic() + 5
        while any(ref() for ref in watched) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert sum(ref() is not None for ref in watched) == 0
    finally:
        gc.enable()


def test_lanes_of_a_worker_take_turns(shared_client, monkeypatch):
    """A new lane waits for what the one that it replaces is amid."""
    dk.map(_pid, range(2_000))  # leaves lanes behind
    monkeypatch.setattr(workers, "_EARLIER_S", 0.3)
    found = dk.map(lambda x: (*_timed(x), os.getpid()), range(9), where="cluster")
    by_pid = itertools.groupby(
        sorted(found, key=operator.itemgetter(2)), lambda x: x[2]
    )
    for _, spans in by_pid:
        ordered = sorted(spans)
        for (_, end, _), (began, _, _) in itertools.pairwise(ordered):
            assert end <= began


def test_caller_is_watched_at_work(shared_client, monkeypatch):
    """Whether items hold the GIL is measured while one runs, not while all wait for it.

    Else a call that threads would be best for goes another way.
    """
    seen = []

    def measure(*_):
        frame = sys._current_frames()[threading.main_thread().ident]
        names = [entry.name for entry in traceback.extract_stack(frame)]
        seen.append("_execute" in names)
        return 1.0

    monkeypatch.setattr(grip, "measure_gil_share", measure)
    # The caller waits for each decision, as on a machine that is short of time.
    monkeypatch.setattr(feeder, "_STARVED_S", 0.0)
    array = np.arange(4_000_000)
    for width in range(400_000, 400_020):
        monkeypatch.setattr(known, "_known", OrderedDict())
        dk.map(lambda i, n=width: int((array[i : i + n] % 1021).sum()), range(100))
    assert len(seen) >= 10
    assert all(seen)


def test_waiting_work_goes_to_threads(shared_client):
    """Items that only wait do so at the same time, more of them than there are cores."""
    names = dk.map(lambda _: (time.sleep(0.02), threading.get_ident())[1], range(200))
    assert len(set(names)) > dk.usable_cores()


def test_nested_verbs_are_loops(shared_client):
    """A verb within an item computes, and waits for nobody."""
    result = dk.map(lambda x: sum(dk.map(_busy, range(x))), range(40), where="cluster")
    assert result == [sum(range(x)) for x in range(40)]


def test_verb_within_a_task_of_dask(shared_client):
    """Also where the outer one is not a verb."""
    future = shared_client.submit(lambda: dk.map(_busy, range(50)), pure=False)
    assert future.result() == list(range(50))


def test_several_threads_share_the_cluster(shared_client):
    """Calls at the same time don't mix."""
    results = {}

    def call(k):
        results[k] = dk.map(lambda x: _busy(x) * k, range(300))

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [x * k for x in range(300)] for k in range(4)}


def test_in_process_cluster():
    """Workers that are threads of this process get their batches as tasks."""
    with dk.cluster(n_workers=2, processes=False):
        assert dk.map(_busy, range(100), where="cluster") == list(range(100))
        with pytest.raises(ZeroDivisionError) as caught:
            dk.map(lambda x: 1 / (x - 7), range(20), where="cluster")
        assert "item 7 (value 7)" in caught.value.__notes__[-1]


def test_single_worker_works_beside_the_caller(shared_client):
    """One lane brings less than a core, and is a gain all the same."""
    with dk.cluster(n_workers=1) as client:
        (worker,) = client.run(os.getpid).values()
        pids = dk.map(_pid, range(3_000))
    assert set(pids) == {CALLER, worker}
    assert pids.count(worker) > 500


def test_dashboard_shows_the_name(shared_client, monkeypatch):
    """A call's lanes are tasks that are called as the caller says."""
    # A short call uses lanes of earlier ones and may be over before it is seen.
    monkeypatch.setattr(workers, "_EARLIER_S", 0.001)
    scheduler = shared_client.cluster.scheduler
    seen = set()

    def look():
        seen.update(scheduler.task_prefixes)

    results = dk.imap(_busy, range(1_000), where="cluster", name="my-study")
    for i, _ in enumerate(results):
        if i % 100 == 99:
            look()
    assert "my-study" in seen


# Streams.


def test_endless_input_is_read_as_needed(shared_client):
    """A bounded number of inputs is ahead of the consumer, and breaking off ends all."""
    n_read = 0

    def numbers():
        nonlocal n_read
        while True:
            yield n_read
            n_read += 1

    results = dk.imap(_busy, numbers(), where="cluster", batch_size=10)
    assert list(itertools.islice(results, 100)) == list(range(100))
    time.sleep(0.2)  # whoever reads without bounds would have read thousands
    assert n_read < 100 + 10 * 12
    results.close()


def test_stream_that_waits_leaves_the_workers_to_others():
    """Whoever looks at its results may compute something else with Dask meanwhile."""
    with dk.cluster(n_workers=2):
        # New workers: their first lanes are tasks, which would keep their threads.
        streams = [dk.imap(_busy, itertools.count(), where="cluster") for _ in range(2)]
        for i, pair in zip(range(3), zip(*streams, strict=True), strict=False):
            assert pair == (i, i)
            many = dask.bag.from_sequence(range(8), npartitions=8)
            assert many.sum().compute() == 28
            results = dk.map(abs, range(-4, 0), where="cluster")
            assert results == [4, 3, 2, 1]
        for stream in streams:
            stream.close()


def test_breaking_off_drops_what_is_pending(shared_client, tmp_path):
    """Items that nobody waits for are not executed."""
    func = functools.partial(_record, str(tmp_path))
    for result in dk.imap(func, range(100_000), where="cluster"):
        if result == 50:
            break
    del result
    assert len(_executions(tmp_path)) < 10_000


def test_stream_raises_in_its_place(shared_client):
    """All results before the item that raises are yielded first."""
    seen = []

    def fail(x):
        _busy(x)
        return 1 / (x - 150)

    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        seen.extend(dk.imap(fail, range(400), where="cluster"))
    assert len(seen) == 150
    assert "item 150 (value 150)" in caught.value.__notes__[-1]


def test_input_that_raises_ends_the_stream(shared_client):
    """The error of a generator arrives after the results of its items."""

    def numbers():
        yield from range(100)
        msg = "no more"
        raise RuntimeError(msg)

    seen = []
    with pytest.raises(RuntimeError, match="no more") as caught:
        seen.extend(dk.imap(_busy, numbers(), where="cluster"))
    assert "raised by the input, after 100 items" in caught.value.__notes__


# Errors.


@pytest.mark.parametrize("where", WHERE)
def test_error_is_the_loops_and_names_its_item(shared_client, where):
    """Type, message, traceback and cause are the function's own."""

    def fail(x):
        _busy(x)
        try:
            return {}[x] if x == 137 else x
        except KeyError as error:
            msg = "not there"
            raise LookupError(msg) from error

    with pytest.raises(LookupError, match="not there") as caught:
        dk.map(fail, range(400), where=where)
    error = caught.value
    assert type(error) is LookupError
    assert type(error.__cause__) is KeyError
    text = "".join(traceback.format_exception(error))
    assert "raise LookupError(msg) from error" in text
    assert "{}[x] if x == 137 else x" in text
    (note,) = error.__notes__
    assert note.startswith("raised by item 137 (value 137) in ")
    assert note.endswith(" of 400 items had finished")
    expected = {"cluster": "worker daskkit://127.0.0.1", "inline": "this process"}
    assert expected.get(where, "") in note


def test_error_cancels_the_others(shared_client, tmp_path):
    """What has not begun when an item raises is not executed."""

    def fail(x):
        if x == 5:
            msg = "five"
            raise ValueError(msg)
        return _record(str(tmp_path), x)

    with pytest.raises(ValueError, match="five"):
        dk.map(fail, range(20_000), where="cluster")
    assert len(_executions(tmp_path)) < 5_000


@pytest.mark.parametrize("where", WHERE)
def test_collect_keeps_the_others(shared_client, where):
    """Failures stand in their places, with a table of them."""
    results = dk.map(
        lambda x: 1 / (_busy(x) % 100), range(400), where=where, on_error="collect"
    )
    assert isinstance(results, dk.Results)
    failed = [0, 100, 200, 300]
    assert [failure.index for failure in results.failures] == failed
    assert all(isinstance(results[i], dk.Failure) for i in failed)
    assert [r for r in results if not isinstance(r, dk.Failure)] == [
        1 / (x % 100) for x in range(400) if x % 100
    ]
    table = results.table()
    assert list(table["index"]) == failed
    assert set(table["error"]) == {"ZeroDivisionError"}


def test_collect_with_map_reduce(shared_client):
    """What went well is combined; the failures come beside it."""
    total, failures = dk.map_reduce(
        lambda x: x if x % 100 else 1 / 0,
        range(400),
        sum,
        where="cluster",
        on_error="collect",
    )
    assert total == sum(x for x in range(400) if x % 100)
    assert [failure.index for failure in failures] == [0, 100, 200, 300]


@pytest.mark.parametrize("where", WHERE)
def test_retries(shared_client, tmp_path, where):
    """An item that raises is tried again, as often as allowed."""

    def sometimes(x):
        path = tmp_path / f"{x}"
        n = int(path.read_text()) if path.exists() else 0
        path.write_text(str(n + 1))
        if n < 2 and x == 30:
            raise OSError
        return x

    assert dk.map(sometimes, range(60), where=where, retries=2) == list(range(60))
    assert (tmp_path / "30").read_text() == "3"
    (tmp_path / "30").unlink()
    (failure,) = dk.map(
        sometimes, range(60), where=where, retries=1, on_error="collect"
    ).failures
    assert (failure.index, failure.attempts) == (30, 2)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_exit_within_an_item_is_its_error(shared_client, kind):
    """A worker is not ended by what an item raises."""

    def leave(x):
        if x == 20:
            raise kind
        return x

    before = shared_client.run(os.getpid)
    with pytest.raises(kind) as caught:
        dk.map(leave, range(50), where="cluster")
    assert "item 20 (value 20)" in caught.value.__notes__[-1]
    assert shared_client.run(os.getpid) == before


@pytest.mark.parametrize("where", WHERE)
def test_stop_iteration_is_an_error(shared_client, where):
    """It does not end the input, as it would if it went through map()."""
    with pytest.raises(StopIteration) as caught:
        dk.map(lambda x: next(iter([])) if x == 20 else x, range(50), where=where)
    assert "item 20 (value 20)" in caught.value.__notes__[-1]


def test_error_that_pickle_cannot_rebuild(shared_client):
    """A class with arguments of its own arrives as itself."""

    def fail(x):
        raise _OwnError(x, "detail")

    with pytest.raises(_OwnError, match=r"code \d") as caught:
        dk.map(fail, range(20), where="cluster")
    assert caught.value.detail == "detail"


def test_error_that_cannot_travel_arrives_as_text(shared_client):
    """It names its class and says what it said."""

    def fail(x):
        error = ValueError(f"bad {x}")
        error.lock = threading.Lock()
        raise error

    with pytest.raises(dk.RemoteError, match=r"ValueError: bad \d") as caught:
        dk.map(fail, range(20), where="cluster")
    assert "raised by item" in caught.value.__notes__[-1]


def test_function_that_cannot_be_sent_is_named(shared_client):
    """Which part of it, before anything runs."""
    lock = threading.Lock()
    with pytest.raises(UnpicklableError, match=r"\.lock"):
        dk.map(lambda x: (lock, x), range(20), where="cluster")


def test_function_that_cannot_be_sent_runs_here(shared_client, monkeypatch):
    """Without an order to the contrary the loop goes on in the caller, and says why."""
    lock = threading.Lock()
    # On a busy machine threads may seem to pay.
    means = Means(n_cores=2, n_workers=2, ready_s=0.001, threads=False)
    monkeypatch.setattr(Scout, "find_means", lambda _: means)

    def func(x):
        with lock:
            return _busy(x, 50_000)

    calls = [
        lambda: dk.map(func, range(100)),
        lambda: dk.map_reduce(
            lambda x: [func(x)], range(100), functools.partial(sum, start=[])
        ),
        lambda: dk.map_blocks(lambda x: x + func(0), range(100), blocks=100).tolist(),
    ]
    for call in calls:
        with pytest.warns(
            RuntimeWarning, match=r" ran in this process .*\.lock"
        ) as caught:
            assert call() == list(range(100))
        assert {warning.filename for warning in caught} == {__file__}


def test_item_that_cannot_be_sent_is_named(shared_client):
    """Which one, and why."""
    items = [1, 2, threading.Lock(), 4]
    with pytest.raises(UnpicklableError, match="item 2 can't be sent") as caught:
        dk.map(type, items, where="cluster")
    assert "item 2" in caught.value.__notes__[-1]
    results = dk.map(type, items, where="cluster", on_error="collect")
    assert [failure.index for failure in results.failures] == [2]


def test_item_that_cannot_be_sent_runs_here(shared_client):
    """Without an order to the contrary it is executed in the caller."""
    lock = threading.Lock()
    items = [*range(900), lock, *range(900)]
    assert dk.map(_busy, items) == items


def test_result_that_cannot_be_sent_is_named(shared_client):
    """Which item's, of which type; the others arrive with `collect`."""

    def func(x):
        return (i for i in ()) if x == 30 else x

    pattern = "the result of item 30 can't be sent back .* generator"
    with pytest.raises(UnpicklableError, match=pattern):
        dk.map(func, range(60), where="cluster")
    results = dk.map(func, range(60), where="cluster", on_error="collect")
    assert [failure.index for failure in results.failures] == [30]
    assert results[:30] + results[31:] == [x for x in range(60) if x != 30]


class _Grim:
    """Can be pickled, but not rebuilt."""

    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return _refuse, (self.x,)


def _refuse(x):
    msg = f"will not be {x}"
    raise RuntimeError(msg)


def _make_grim(x):
    return _Grim(x) if x == 30 else x


def test_item_or_result_that_cannot_be_rebuilt_is_named(shared_client):
    """On which side, and what its class said."""
    items = [_make_grim(x) for x in range(60)]
    pattern = "argument of item 30 can't be rebuilt in a worker: .*will not be 30"
    with pytest.raises(dk.DaskkitError, match=pattern):
        dk.map(type, items, where="cluster")
    pattern = "result of item 30 can't be rebuilt in this process: .*will not be 30"
    with pytest.raises(dk.DaskkitError, match=pattern):
        dk.map(_make_grim, range(60), where="cluster")


def test_combine_that_raises(shared_client):
    """Its own error arrives, from a worker or from here."""

    def combine(parts):
        msg = "can't combine"
        raise ArithmeticError(msg)

    for where in WHERE:
        with pytest.raises(ArithmeticError, match="can't combine"):
            dk.map_reduce(_busy, range(50), combine, where=where)


# Workers that die or hang.


def _die_of(x, how, folder, times):
    _busy(x)
    if x == 60 and len(list(Path(folder).iterdir())) < times:
        Path(folder, str(os.getpid())).touch()
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)
    return x


@pytest.mark.slow
def test_item_that_kills_is_named(tmp_path, caplog):
    """The guilty item is found and named with the cause; the innocent ones finish."""
    with dk.cluster(n_workers=2):
        for how, cause in [("exit", "exit code 3"), ("SIGSEGV", "SIGSEGV")]:
            func = functools.partial(_die_of, how=how, folder=str(tmp_path), times=99)
            with pytest.raises(dk.WorkerDiedError) as caught:
                dk.map(func, range(150), where="cluster")
            assert "item 60 (value 60)" in str(caught.value)
            assert cause in str(caught.value)
            results = dk.map(func, range(150), where="cluster", on_error="collect")
            assert [failure.index for failure in results.failures] == [60]
            del results[60]
            assert results == [x for x in range(150) if x != 60]


@pytest.mark.slow
def test_worker_that_dies_once_is_survived(tmp_path):
    """An accident costs time, not results."""
    func = functools.partial(_die_of, how="SIGKILL", folder=str(tmp_path), times=1)
    with dk.cluster(n_workers=2):
        assert dk.map(func, range(150), where="cluster") == list(range(150))
        assert dk.map(_busy, range(150), where="cluster") == list(range(150))


@pytest.mark.slow
def test_item_that_hangs_is_named_and_its_worker_replaced():
    """The neighbours are unharmed."""

    def hang(x):
        _busy(x)
        if x in {30, 31}:
            time.sleep(1_000)
        return x

    with dk.cluster(n_workers=2):
        with pytest.raises(dk.ItemTimeoutError, match=r"item 3[01] \(value 3[01]\)"):
            dk.map(hang, range(100), timeout=1.0)
        results = dk.map(hang, range(100), timeout=1.0, on_error="collect")
        assert [failure.index for failure in results.failures] == [30, 31]
        assert results[:30] + results[32:] == [*range(30), *range(32, 100)]
        assert dk.map(_busy, range(50), where="cluster") == list(range(50))


@pytest.mark.slow
def test_time_out_names_the_item_that_took_long(monkeypatch):
    """Not the one that its process has gone on to before it ends."""
    kill = ProcessLane.kill

    def kill_late(lane):
        time.sleep(0.5)
        kill(lane)

    def linger(x):
        time.sleep(1.3 if x == 5 else 0.05)
        return x

    monkeypatch.setattr(ProcessLane, "kill", kill_late)
    with dk.cluster(n_workers=1):
        options = {"where": "cluster", "timeout": 1, "batch_size": 40}
        results = dk.map(linger, range(40), on_error="collect", **options)
    assert [failure.index for failure in results.failures] == [5]
    del results[5]
    assert results == [x for x in range(40) if x != 5]


# Arguments.


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: dk.map([1], abs), "func must be callable, received [1]"),
        (lambda: dk.map(abs), "at least one iterable"),
        (lambda: dk.map(abs, 3), "must be iterable, received 3"),
        (lambda: dk.map(abs, [1], where="gpu"), "where must be one of 'auto'"),
        (lambda: dk.map(abs, [1], batch_size=0), "batch_size must be a whole number"),
        (lambda: dk.map(abs, [1], retries=-1), "retries must be a whole number"),
        (lambda: dk.map(abs, [1], retries=True), "retries must be a whole number"),
        (lambda: dk.map(abs, [1], timeout=0), "timeout must be positive seconds"),
        (lambda: dk.map(abs, [1], timeout="1"), "timeout must be positive seconds"),
        (lambda: dk.map(abs, [1], on_error="skip"), "on_error must be one of 'raise'"),
        (lambda: dk.map(abs, [1], name=""), "name must be a non-empty string"),
        (
            lambda: dk.map(abs, [1], timeout=1, where="threads"),
            "timeout can't be kept with where='threads'",
        ),
        (lambda: dk.imap(abs), "at least one iterable"),
        (lambda: dk.starmap(pow, 5), "tuples must be iterable"),
        (lambda: dk.map_reduce(abs, [1], 5), "combine must be callable"),
        (lambda: dk.plan(5, [1]), "func must be callable"),
    ],
)
def test_wrong_arguments_are_refused_at_once(call, says):
    """What was wrong, what was received, what is allowed."""
    with pytest.raises(dk.ArgumentError) as caught:
        call()
    assert says in str(caught.value)


# Progress and plans.


def test_progress_counts_items(capsys):
    """The bar shows the name and the number of all items."""
    dk.map(_busy, range(200), progress=True, name="counted", where="inline")
    shown = capsys.readouterr().err
    assert "counted" in shown
    assert "200/200" in shown


def test_plan_measures_and_goes_on(shared_client, tmp_path):
    """It says what it would do and why; run() executes only what is left."""
    func = functools.partial(_record, str(tmp_path))
    plan = dk.plan(func, range(2_000), name="planned")
    assert 0 < plan.n_done < 2_000
    assert plan.way in {"inline", "threads", "processes"}
    assert plan.n_workers == 2
    assert plan.inline_s > 0
    text = repr(plan)
    assert text.startswith(f"Plan for planned: {plan.way}")
    assert plan.reason in text
    assert plan.reason in plan._repr_html_()
    assert plan.run() == list(range(2_000))
    assert plan.run() == list(range(2_000))
    assert _executions(tmp_path) == list(range(2_000))


@pytest.mark.parametrize("where", ["inline", "threads", "cluster"])
def test_plan_of_a_given_way(shared_client, where):
    """Nothing is predicted where nothing is to be chosen, but it runs."""
    plan = dk.plan(_busy, range(100), where=where)
    assert plan.way == ("processes" if where == "cluster" else where)
    assert plan.run() == list(range(100))
    assert "Plan for _busy" in repr(plan)


def test_plan_whose_pilot_raises(shared_client):
    """The error is the item's."""
    with pytest.raises(ZeroDivisionError) as caught:
        dk.plan(lambda x: 1 / x, range(10))
    assert "item 0 (value 0)" in caught.value.__notes__[-1]


# Lanes that wait for the next call.


def test_lanes_are_used_again(shared_client):
    """The next call finds them connected; a worker has no more than its threads."""
    dk.map(_busy, range(300), where="cluster")
    for lane in take_parked(shared_client):
        assert lane.pid in shared_client.run(os.getpid).values()
        lane.close()
    dk.map(_busy, range(300), where="cluster")
    assert count_parked(shared_client)
    pids = set(dk.map(_pid, range(300), where="cluster"))
    assert pids <= set(shared_client.run(os.getpid).values())
    lanes = take_parked(shared_client)
    assert len({lane.pid for lane in lanes}) == len(lanes) <= 2
    for lane in lanes:
        lane.close()


@pytest.mark.slow
def test_lanes_of_a_closed_cluster_are_gone():
    """Neither its threads nor its sockets stay, and the next cluster is served."""
    for _ in range(2):
        with dk.cluster(n_workers=1) as client:
            assert dk.map(_busy, range(50), where="cluster") == list(range(50))
            assert count_parked(client)
        assert not count_parked(client)


@pytest.mark.slow
def test_waiting_lane_whose_worker_dies_is_replaced():
    """All workers killed between two calls: the next one works."""
    with dk.cluster(n_workers=2) as client:
        assert dk.map(_busy, range(100), where="cluster") == list(range(100))
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)
        assert dk.map(_busy, range(100), where="cluster") == list(range(100))
