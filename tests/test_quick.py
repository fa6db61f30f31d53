"""Trivial items run as a comprehension, which ends early if they turn out heavy."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict

import pytest

import daskkit as dk
from daskkit.run import known
from daskkit.run.call import Call
from daskkit.run.job import Job
from daskkit.run.quick import Comprehension, is_quick
from daskkit.run.source import Window

N = 300_000
KINDS = {
    "list": lambda n: list(range(n)),
    "tuple": lambda n: tuple(range(n)),
    "range": range,
    "window": lambda n: Window(list(range(-5, n)), 5, n + 5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_cut_loses_no_item_and_repeats_none(kind):
    """Wherever another thread cuts, what has begun is done and nothing else is."""
    for i in range(20):
        some = Comprehension(lambda x: (x,), KINDS[kind](N))
        timer = threading.Timer(0.0005 * i, some.cut)
        timer.start()
        results = some.run()
        timer.join()
        assert results == [(x,) for x in range(some.n_begun)]


def test_cut_while_an_item_raises():
    """The guilty item is known although the rest was called off meanwhile."""

    def fail(x):
        if x == 70:
            some.cut()
            raise ValueError(x)

    some = Comprehension(fail, range(N))
    with pytest.raises(ValueError, match="70"):
        some.run()
    assert some.n_begun == 71


@pytest.mark.parametrize(
    "changed",
    [{"star": True}, {"collect": True}, {"retries": 1}, {"each": lambda a, b: None}],
)
def test_only_where_an_error_ends_all(changed):
    """Whatever needs the results before an error gets them."""
    assert is_quick(Job(abs, "abs"), range(N))
    assert not is_quick(Job(abs, "abs", **changed), range(N))


def test_only_for_what_can_be_cut():
    """A window in the midst of a list has no iterator that could be moved."""
    assert not is_quick(Job(abs, "abs"), Window(list(range(N)), 0, N - 1))


@pytest.mark.parametrize("kind", ["list", "tuple", "range"])
def test_heavy_items_after_trivial_ones_are_shared(
    shared_client, monkeypatch, tmp_path, kind
):
    """The calling thread had taken all items; what it has not begun goes to others."""
    here, elsewhere = threading.get_native_id(), tmp_path / "elsewhere"

    def func(x):
        if x >= N:
            # Workers may have to start yet, so there is no saying how many it takes.
            until_s = time.thread_time() + 0.02
            while time.thread_time() < until_s and not elsewhere.exists():
                pass
            if threading.get_native_id() != here:
                elsewhere.touch()
        return threading.get_native_id()

    monkeypatch.setattr(known, "_known", OrderedDict())  # so that it is watched at once
    threads = dk.map(func, KINDS[kind](N + 1000))
    assert len(threads) == N + 1000
    assert set(threads[:1000]) == {here}
    assert set(threads[N:]) - {here}


def test_heavy_items_that_hold_the_gil_are_shared_as_well(shared_client, monkeypatch):
    """Whoever decides has it only between two of them, if the caller looks up there."""

    def func(x):
        x and sum(range(4_000_000))  # one call in C: it lets nobody in
        return threading.get_native_id()

    monkeypatch.setattr(known, "_known", OrderedDict())
    threads = dk.map(func, [0] * 300_000 + [1] * 40)
    assert set(threads[-40:]) - {threading.get_native_id()}


def test_what_the_calling_thread_has_not_begun_is_given_back():
    """Of its part, once that takes longer than it should and others have nothing."""
    call = Call(Job(lambda x: gate.wait(), "wait"), range(60), where="auto")
    gate = threading.Event()
    call._here_size = 60
    caller = threading.Thread(target=call.work_here)
    caller.start()
    while call.pilot.quick is None:
        time.sleep(0.001)
    call.cut_short(60.0)  # too early
    assert call.source.n_left == 0
    call.cut_short(0.0)
    gate.set()
    caller.join()
    assert call.finish() == [True] * 60
    assert len(call.pilot.sample[1]) < 60  # in more than one part


@pytest.mark.parametrize("where", ["auto", "inline"])
@pytest.mark.parametrize("kind", ["list", "tuple", "range"])
def test_nearly_all_trivial_items_are_one_comprehension(monkeypatch, kind, where):
    """What comes before it has to show that they are trivial.

    That takes longer where others have the core just then, so one call in three does.
    """
    sizes = []
    run = Comprehension.run

    def noted(self):
        results = run(self)
        sizes.append(len(results))
        return results

    monkeypatch.setattr(Comprehension, "run", noted)
    items = KINDS[kind](N)
    for _ in range(1 if where == "inline" else 3):
        assert dk.map(float, items, where=where) == list(map(float, items))
    assert max(sizes) > N / 2


def test_each_item_is_executed_once_in_order():
    """Trivial items are, too."""
    count = itertools.count()
    assert dk.map(lambda _: next(count), range(N), where="inline") == list(range(N))


@pytest.mark.parametrize("index", [0, 5_000, N - 1])
def test_error_names_its_item(index):
    """The error is the loop's, with the item and how many had finished."""

    def divide(x):
        return 1 // (x - index)

    with pytest.raises(ZeroDivisionError) as caught:
        dk.map(divide, range(N))
    (note,) = caught.value.__notes__
    # On a busy machine a worker can have the last of them.
    assert note.startswith(f"raised by item {index} (value {index}) in ")
    assert f"{index} of {N} items had finished" in note.replace(",", "")


def test_stop_iteration_keeps_its_traceback():
    """It is an item's error like any other."""

    def stop(x):
        if x == 50_000:
            raise StopIteration
        return x

    with pytest.raises(StopIteration) as caught:
        dk.map(stop, range(N), where="inline")
    assert "item 50000" in caught.value.__notes__[0]
