"""What is seen of a thread while it works, also on a machine that is busy otherwise."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import daskkit as dk
from daskkit.run import grip, probe, scout, switching
from daskkit.run.clocks import read_cpu_s, read_queued_s, read_state
from daskkit.run.grip import measure_gil_share
from daskkit.run.probe import Pickled, measure_pickle
from daskkit.run.switching import Waiters, quick_switching

needs_proc = pytest.mark.skipif(
    math.isnan(read_queued_s(threading.get_native_id())), reason="needs Linux's /proc"
)


@contextlib.contextmanager
def _working(func):
    """Have a thread call a function again and again; yield its two numbers."""
    is_over = threading.Event()

    def work():
        while not is_over.is_set():
            func()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread.ident, thread.native_id
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def _crowd(core, n=2):
    """Keep a core busy with other processes."""
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\nwhile True: pass"
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(n):
            command = [sys.executable, "-c", code]
            one = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(one.kill)
            crowd.append(one)
        for one in crowd:
            one.stdout.readline()
        yield


def _compute(_=None):
    return sum(range(30_000))


def test_gil_share_of_a_thread_that_waits():
    """It leaves the GIL to others, and is seen to have nothing to do."""
    with _working(lambda: time.sleep(0.1)) as numbers, quick_switching():
        # Where other processes have the cores, the one who looks wakes up late, too.
        assert min(measure_gil_share(*numbers) for _ in range(3)) < 0.5


def test_gil_share_of_a_thread_that_computes():
    """It has to be asked for the GIL."""
    with _working(lambda: [i * i for i in range(50_000)]) as numbers, quick_switching():
        share = measure_gil_share(*numbers)
        assert math.isnan(share) or share > 0.5


def test_thread_without_a_core_tells_nothing(monkeypatch):
    """It doesn't hold the GIL, but only as others have the cores."""
    monkeypatch.setattr(grip, "read_cpu_s", lambda _: 1.0)
    monkeypatch.setattr(grip, "read_state", lambda _: "R")
    monkeypatch.setattr(grip, "INTERVAL_S", 1e3)  # never late
    assert math.isnan(measure_gil_share(0, 0))


def test_gil_that_is_let_go_for_moments_only_is_held(monkeypatch):
    """As small operations of pandas do: others wait, and wake up too late each time."""
    began = time.perf_counter()
    monkeypatch.setattr(grip, "_PROBE_S", -0.02)  # seems to wait for so long
    monkeypatch.setattr(grip.time, "sleep", lambda _: None)
    monkeypatch.setattr(
        grip, "read_cpu_s", lambda _: 1e3 * (time.perf_counter() - began)
    )
    assert measure_gil_share(0, 0) == 1.0


@needs_proc
def test_state_of_a_thread_with_any_name():
    """Names are bytes, cut after 15 of them, and may hold what separates fields."""
    states = []

    def work():
        native_id = threading.get_native_id()
        Path(f"/proc/self/task/{native_id}/comm").write_bytes(b"a) S \xc3")
        states.append(read_state(native_id))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert states == ["R"]


@needs_proc
def test_time_in_the_queue_for_a_core():
    """What isn't spent on the core is, where others want the same one."""
    core = min(os.sched_getaffinity(0))
    shares = []

    def work():
        os.sched_setaffinity(0, {core})  # of this thread
        ident, native_id = threading.get_ident(), threading.get_native_id()
        began = time.perf_counter(), read_cpu_s(ident), read_queued_s(native_id)
        while time.perf_counter() - began[0] < 0.5:
            _compute()
        assert read_state(native_id) == "R"
        ended = time.perf_counter(), read_cpu_s(ident), read_queued_s(native_id)
        wall_s, cpu_s, queued_s = (b - a for a, b in zip(began, ended, strict=True))
        shares.append((cpu_s / wall_s, queued_s / wall_s))

    with _crowd(core):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    ((cpu, queued),) = shares
    assert queued > 0.2
    assert cpu + queued == pytest.approx(1.0, abs=0.1)


@needs_proc
def test_items_that_compute_are_not_taken_for_waiting_ones(monkeypatch):
    """However little of a core the calling thread gets."""
    core = min(os.sched_getaffinity(0))
    monkeypatch.setattr(scout, "usable_cores", lambda: 2)
    shares = []

    def work():
        os.sched_setaffinity(0, {core})
        for n in range(5):
            plan = dk.plan(lambda x, n=n: [_compute() for _ in range(40)], range(90))
            shares.append(plan.cpu_share)

    with _crowd(core):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert sorted(shares)[2] > 0.6


def test_what_comes_with_any_number_of_elements_is_left_out(monkeypatch):
    """Else one small element would seem to be dear."""
    found = {0: Pickled(4e-5, 1e-5, 90.0), 1: Pickled(5e-5, 3e-5, 94.0)}
    monkeypatch.setattr(probe, "_measure", lambda values: found[len(values)])
    measured = measure_pickle(["x"])
    assert measured.dump_s == pytest.approx(1e-5)
    assert measured.load_s == pytest.approx(2e-5)
    assert measured.n_bytes == 4


@pytest.mark.parametrize(
    ("n", "seconds", "expected"),
    [
        (1, [0.002, 0.0001], 0.0001),
        (1, [0.001, 0.003], 0.001),
        (64, [0.002, 0.0001, 0.00002], 0.00002),
        (64, [0.002, 0.001], 0.001),
        (64, [0.5], 0.5),
    ],
)
def test_first_pickle_is_not_taken_for_all(monkeypatch, n, seconds, expected):
    """What was cold is pickled again, many together if they are cheap."""
    left = iter(seconds)
    monkeypatch.setattr(probe, "_measure", lambda values: Pickled(next(left)))
    monkeypatch.setattr(probe, "_measure_nothing", Pickled)
    assert measure_pickle([0] * n).dump_s == expected
    assert next(left, None) is None


def test_who_waits_for_the_gil_in_vain_is_let_in(monkeypatch):
    """Until it waits for something else; not for a few waits, and not for ever."""
    n_waits, n_slept, n_per_turn = 0, 0, 1

    def sleep(_):
        nonlocal n_waits, n_slept
        n_slept += 1
        n_waits += n_per_turn

    monkeypatch.setattr(switching, "_count_waits", lambda: n_waits)
    monkeypatch.setattr(switching, "_EVERY_S", 0.0)
    monkeypatch.setattr(switching.time, "sleep", sleep)
    waiters = Waiters()
    n_waits += 20
    assert not waiters.let_in()
    n_waits += 21
    assert waiters.let_in()
    assert not waiters.let_in()
    assert n_slept == 2
    n_waits, n_per_turn = n_waits + 21, 0
    assert waiters.let_in()
    assert n_slept == 2 + switching._MOST_TURNS


@needs_proc
def test_waits_of_other_threads_are_counted():
    """And those of this one aren't."""
    before = switching._count_waits()
    for _ in range(50):
        time.sleep(0.0001)
    assert switching._count_waits() < before + 40
    thread = threading.Thread(target=lambda: [time.sleep(0.0001) for _ in range(50)])
    thread.start()
    thread.join()
    assert switching._count_waits() >= before + 50
