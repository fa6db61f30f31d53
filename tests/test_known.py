"""What is known of a function, and of the items that the caller has executed."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import os
import sys
import threading
import time

import pytest

import daskkit as dk
from daskkit.run import clocks, feeder, known, scout
from daskkit.run.call import Call
from daskkit.run.crew import Crew
from daskkit.run.feeder import Feeder
from daskkit.run.job import Job
from daskkit.run.known import Known, recall
from daskkit.run.pilot import Pilot
from daskkit.run.plan import Facts
from daskkit.run.source import Part


def _pilot(parts):
    """Return a pilot that has seen parts: number of items and seconds."""
    pilot, start = Pilot(), 0
    for n_items, wall_s in parts:
        part = Part(start, range(start, start + n_items))
        pilot.ended(part, [None] * n_items, 0, wall_s, wall_s)
        start += n_items
    return pilot


def test_cold_first_item_does_not_count_as_many():
    """0.5 ms for the first row and 8 us for others: that is what they cost."""
    sizes = [1, 8, 64, 128, 256]
    pilot = _pilot([(n, 0.0005 if n == 1 else n * 8e-6) for n in sizes])
    assert pilot.item_s == pytest.approx(8e-6, rel=0.05)


def test_first_item_is_forgotten_where_others_are_cheaper():
    """On a busy machine the decision comes after three items, and the first counted."""
    assert _pilot([(1, 0.0009), (2, 3e-5)]).item_s == pytest.approx(1.5e-5)
    # One that was no dearer counts.
    assert _pilot([(1, 0.0001), (2, 0.002)]).item_s < 0.001


def test_stopwatch_leaves_out_what_others_had_the_core_for(monkeypatch):
    """A thread that was interrupted did not compute, one that has waited did so."""
    for switches, expected_s in (
        (((5, 1), (5, 2)), 0.002),
        (((5, 1), (6, 2)), 0.01),
        (((5, 1), (5, 1)), 0.01),
    ):
        walls, cpus, counts = iter((1.0, 1.01)), iter((3.0, 3.002)), iter(switches)
        with monkeypatch.context() as patch:
            patch.setattr(clocks.time, "perf_counter", lambda walls=walls: next(walls))
            patch.setattr(clocks.time, "thread_time", lambda cpus=cpus: next(cpus))
            patch.setattr(clocks, "_count_switches", lambda n=counts: next(n))
            took_s, cpu_s = clocks.Stopwatch().read()
        assert took_s == pytest.approx(expected_s)
        assert cpu_s == pytest.approx(0.002)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts by thread")
def test_stopwatch_counts_the_time_that_is_waited_for():
    """Sleeping items take as long as they sleep, on any machine."""
    watch = clocks.Stopwatch()
    time.sleep(0.02)
    took_s, cpu_s = watch.read()
    assert took_s >= 0.02 > cpu_s


def test_one_short_item_decides_nothing():
    """The second one may take a fiftieth; what an earlier call has shown is enough."""
    call = Call(Job(abs, "abs"), range(300), where="auto")
    watcher, pilot = Feeder(call), call.pilot
    pilot.ended(Part(0, range(1)), [0], 0, 0.0009, 0.0009)
    assert watcher._has_seen_first_only()
    assert not watcher._may_pay()
    # A second one that takes long itself is no such case.
    pilot.part, pilot.part_began = Part(1, range(1, 3)), time.perf_counter() - 0.02
    assert not watcher._has_seen_first_only()
    pilot.ended(pilot.part, [1, 2], 0, 3e-5, 3e-5)
    assert not watcher._has_seen_first_only()


def test_one_giant_tells_nothing_and_the_second_is_believed():
    """Children that are started for what is left of the dwarfs bring nothing."""
    dwarfs, giant = [(4, 0.004)] * 10, (1, 0.4)
    assert _pilot([*dwarfs, giant]).item_s == pytest.approx(0.001)
    assert _pilot([*dwarfs, giant, *dwarfs]).item_s == pytest.approx(0.001)
    assert _pilot([*dwarfs, giant, giant]).item_s > 0.05
    # Among few, each of them counts; and one that takes that long is waited for.
    assert _pilot([(4, 0.004), giant]).item_s > 0.05
    assert _pilot([*dwarfs, (1, 3.0)]).item_s > 0.05


@pytest.mark.parametrize("has_client", [True, False])
def test_giant_that_runs_starts_no_children(has_client, monkeypatch):
    """Workers that are there may begin with the others meanwhile."""
    call = Call(Job(abs, "abs"), range(100), where="auto")
    monkeypatch.setattr(call, "client", object() if has_client else None)
    pilot = call.pilot
    pilot.ended(call.take(50, here=True), [None] * 50, 0, 0.05, 0.05)
    pilot.part, pilot.part_began = call.take(1, here=True), time.perf_counter() - 0.4
    facts = scout.Scout(call).gather_facts()
    assert (facts.item_s > 0.3) is has_client
    pilot.part_began -= 2.0
    assert scout.Scout(call).gather_facts().item_s > 2.0


def test_newest_items_tell_most():
    """Costs that rise are seen soon, one freak part doesn't decide."""
    assert _pilot([(4, 0.004)] * 5 + [(4, 0.04)] * 5).item_s > 0.009
    assert _pilot([(4, 0.004)] * 5 + [(4, 0.04)]).item_s < 0.008


def test_part_without_results_is_no_reason_to_fail():
    """Its first item has raised."""
    pilot = Pilot()
    pilot.ended(Part(0, range(3)), [], 0, 0.001, 0.001)
    assert pilot.item_s == pytest.approx(0.001)


def test_one_failure_of_threads_is_soon_forgotten(monkeypatch):
    """The machine may have been busy; what fails again and again is not tried often."""
    now = [100.0]
    monkeypatch.setattr(known.time, "monotonic", lambda: now[0])
    memory, lasted_s = Known(), []
    for _ in range(4):
        memory.note_failure(0.001)
        failed_at = now[0]
        while memory.have_threads_failed(0.001):
            now[0] += 1
        lasted_s.append(now[0] - failed_at)
    assert lasted_s == [4, 16, 60, 60]
    memory.note_success()
    assert not memory.have_threads_failed(0.001)
    memory.note_failure(0.001)
    now[0] += 4
    assert not memory.have_threads_failed(0.001)


def test_share_of_the_gil_is_known_for_such_items(monkeypatch):
    """For a minute, and for items of about that cost."""
    now = [100.0]
    monkeypatch.setattr(known.time, "monotonic", lambda: now[0])
    facts = Known()
    assert facts.gil_share(0.001) is None
    facts.note_gil_share(0.001, 0.2)
    assert facts.gil_share(0.002) == 0.2
    assert facts.gil_share(0.1) is None
    now[0] += 61.0
    assert facts.gil_share(0.001) is None


def test_watcher_is_let_in_between_two_parts(monkeypatch):
    """If he wants to be, and not for ever; items that let go for moments don't do it."""
    watched = Feeder(Call(Job(abs, "abs"), range(10), where="auto"))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if comes and len(slept) == 3:
            watched._wakes_s = math.inf

    monkeypatch.setattr(feeder.time, "sleep", sleep)
    monkeypatch.setattr(feeder, "_YIELD_S", 60.0)
    comes, watched._wakes_s = True, 0.0
    watched._let_watch(time.perf_counter())
    assert len(slept) == 3
    watched._wakes_s = time.perf_counter() + 60.0
    watched._let_watch(time.perf_counter())
    assert len(slept) == 3
    monkeypatch.setattr(feeder, "_YIELD_S", 0.01)
    comes, watched._wakes_s = False, 0.0
    watched._let_watch(time.perf_counter())
    assert watched._wakes_s == 0.0


def test_facts_are_known_for_such_items(monkeypatch):
    """For a minute, for items of about that cost, and until they proved wrong."""
    now = [100.0]
    monkeypatch.setattr(known.time, "monotonic", lambda: now[0])
    facts, noted = Known(), Facts(n_left=10, item_s=0.001)
    assert facts.facts() is None
    facts.note_shared(noted)
    assert facts.facts() is facts.facts(0.002) is noted
    assert facts.facts(0.1) is None
    facts.note_shared(None)
    assert facts.facts() is None
    facts.note_shared(noted)
    now[0] += 61.0
    assert facts.facts() is None


def test_functions_are_told_apart():
    """By their code; objects of a type may do anything, so nothing is kept of them."""

    class Adder:
        def __call__(self, x):
            return x + 1

        def add(self, x):
            return x + 1

    assert recall(functools.partial(pow, 2)) is recall(pow) is not recall(abs)
    assert recall(Adder().add) is recall(Adder().add)
    assert recall(Adder()) is recall(Adder())
    for func, is_kept in [(abs, True), (Adder().add, True), (Adder(), False)]:
        recall(func).note_shared(Facts(n_left=10, item_s=0.001))
        assert (recall(func).facts() is not None) == is_kept


def _spin(item_s):
    until_s = time.thread_time() + item_s
    while time.thread_time() < until_s:
        pass
    return os.getpid()


def _note_pickles(monkeypatch):
    n_measured = []
    measure = scout.measure_pickle

    def noted(values):
        n_measured.append(len(values))
        return measure(values)

    monkeypatch.setattr(scout, "measure_pickle", noted)
    monkeypatch.setattr(known, "_known", known.OrderedDict())
    return n_measured


def test_second_call_of_a_function_does_not_measure_again(shared_client, monkeypatch):
    """It gives items of the same cost to others at once; not those of another cost.

    On a busy machine they may seem to have another, so one such call of some does.
    """
    n_measured, counts = _note_pickles(monkeypatch), []
    for _ in range(6):
        n_measured.clear()
        assert len(set(dk.map(_spin, [0.004] * 100))) > 1
        counts.append(len(n_measured))
    assert counts[0] > 0
    assert 0 in counts[1:]
    for _ in range(3):
        n_measured.clear()
        dk.map(_spin, [0.0001] * 5000)
        if n_measured:
            break
        dk.map(_spin, [0.004] * 100)
    assert n_measured


def test_short_call_of_a_known_function_is_left_alone(monkeypatch):
    """To look at it sooner would cost more than it could bring."""
    monkeypatch.setattr(known, "_known", known.OrderedDict())
    recall(_spin).note_shared(Facts(n_left=100, item_s=0.004))
    for n_items, is_of_use in [(5, False), (100, True)]:
        call = Call(Job(_spin, "_spin"), [0.004] * n_items, where="auto")
        assert (Feeder(call)._scout.earlier is not None) == is_of_use


def test_first_item_that_prepares_for_others_is_no_measure(monkeypatch):
    """Of a function that is known: the others are going to be what they were."""
    monkeypatch.setattr(known, "_known", known.OrderedDict())
    recall(_spin).note_shared(Facts(n_left=100, item_s=0.001))
    call = Call(Job(_spin, "_spin"), [0.001] * 1_000, where="auto")
    looks = scout.Scout(call)
    for n_items, wall_s, expected in [(1, 0.05, 0.001), (400, 1.2, 0.003)]:
        part = call.take(n_items, here=True)
        call.pilot.ended(part, [None] * n_items, 0, wall_s, wall_s)
        assert looks.gather_facts().item_s == pytest.approx(expected, rel=0.2)


def test_items_after_one_that_prepares_are_shared_each_time(shared_client, monkeypatch):
    """As those of `apply` are, of which the first opens the loop over the rows."""
    monkeypatch.setattr(known, "_known", known.OrderedDict())

    def work(i):
        _spin(0.002 if i == 0 else 3e-5)
        return os.getpid()

    # On a busy machine one call or the other is rightly left to this process.
    shared = [len(set(dk.map(work, range(10_000)))) > 1 for _ in range(6)]
    assert shared.count(True) > 3, shared


def test_what_was_seen_of_few_items_settles_nothing(monkeypatch):
    """To send one may seem to take long: what comes with any number of them does."""
    call = Call(Job(_spin, "_spin"), [0.001] * 1_000, where="auto")
    looks = scout.Scout(call)
    means = scout.Means(2, 2, 0.001)
    for n_items, is_few in [(1, True), (20, False)]:
        part = call.take(n_items, here=True)
        call.pilot.ended(part, [0] * n_items, 0, 0.001 * n_items, 0.001)
        looks.look_closer(looks.gather_facts(), means, contextlib.nullcontext)
        assert looks.has_seen_few == is_few


def test_long_items_of_a_known_function_leave_at_once(shared_client, monkeypatch):
    """Workers have the others before the calling thread has done the first."""
    _note_pickles(monkeypatch)
    began = []
    hand_over = Crew.hand_over

    def noted(self):
        began.append(self._call.n_done)
        hand_over(self)

    monkeypatch.setattr(Crew, "hand_over", noted)
    for _ in range(2):
        dk.map(_spin, [0.25] * 4)
    assert began == [0, 0]


def test_items_that_have_become_trivial_stay_here(shared_client, monkeypatch):
    """Whatever they have cost before."""
    _note_pickles(monkeypatch)
    assert len(set(dk.map(_spin, [0.01] * 50))) > 1
    assert set(dk.map(_spin, [0.0] * 1000)) == {os.getpid()}
    assert set(dk.map(_spin, [0.0] * 3)) == {os.getpid()}


def test_function_that_can_no_longer_be_pickled_stays_here(shared_client, monkeypatch):
    """Its globals aren't looked at again before workers get them; it is no error."""
    _note_pickles(monkeypatch)
    names = {"__name__": "nowhere", "os": os, "time": time, "guard": None}
    lines = inspect.getsource(_spin).replace("return", "guard; return")
    exec(lines, names)
    assert len(set(dk.map(names["_spin"], [0.005] * 60))) > 1
    names["guard"] = threading.Lock()
    with pytest.warns(RuntimeWarning, match="lock"):
        assert set(dk.map(names["_spin"], [0.005] * 60)) == {os.getpid()}
