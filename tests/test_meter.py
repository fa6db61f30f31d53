"""The books of a lane and of a worker: complete, and never twice."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from daskkit.run.meter import LABELS, METER_NAME, N_SLOWEST, LaneMeter, metered
from daskkit.run.slots import SlotMeter


def make_worker(nthreads=2, **state):
    """Return the parts of a worker that are looked at."""
    fields = {"executing_count": 0, "running": True, "ready": (), "constrained": ()}
    return SimpleNamespace(
        state=SimpleNamespace(nthreads=nthreads, **{**fields, "waiting": (), **state}),
        metrics={},
        plugins={},
        executors={"default": SimpleNamespace(_threads=set())},
    )


@pytest.fixture
def worker():
    made = make_worker()
    meter = made.plugins[METER_NAME] = SlotMeter()
    meter.setup(made)
    return made


def seconds_of(worker):
    report = worker.metrics["daskkit"](worker)
    return report, dict(zip(LABELS, report["s"], strict=True))


def spend(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_lane_tells_computing_from_waiting():
    """CPU time of items is busy, the rest of their time waiting."""
    lane = LaneMeter()
    lane.open_batch()
    lane.begin_claim(0)
    spend(0.05)
    time.sleep(0.1)
    lane.count_claim(0, 1, 0, 0.15)
    lane.pack_results()
    lane.await_batch()
    seconds = dict(zip(LABELS, lane.read(), strict=True))
    assert seconds["busy"] == pytest.approx(0.05, rel=0.5)
    assert seconds["waiting"] > 0.09
    assert seconds["starved"] == 0.0 or seconds["dispatch"] == pytest.approx(0.02)


def test_lane_is_read_while_an_item_runs():
    """An item that has not ended counts by what it has used, busy and waiting."""
    lane = LaneMeter()
    lane.begin_claim(0)
    spend(0.05)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(lane.read()))
    reader.start()
    reader.join()
    assert seen[0] >= 0.045
    assert lane.read()[0] >= seen[0]


def test_lane_keeps_the_slowest_items():
    """Of many items the slowest are remembered, with index and number."""
    lane = LaneMeter()
    for i in range(100):
        lane.begin_claim(i)
        lane.count_claim(i, 1, i % 2, wall_s=float(i))
    assert lane.n_items == 100
    assert lane.n_failed == 50
    assert sorted(index for _, index, _ in lane.slowest) == list(
        range(100 - N_SLOWEST, 100)
    )


def test_all_seconds_are_those_of_all_slots(worker):
    """Whatever lanes and tasks do, the labels sum to threads times time."""
    first, _ = seconds_of(worker)
    worker.state.executing_count = 1
    worker.plugins[METER_NAME].transition("x", "ready", "executing")
    time.sleep(0.02)
    with metered(worker, "f", is_task=False) as lane:
        lane.begin_claim(0)
        time.sleep(0.05)
        middle, _ = seconds_of(worker)
        lane.count_claim(0, 0, 0, 0.0)
    worker.state.executing_count = 0
    worker.plugins[METER_NAME].transition("x", "executing", "memory")
    last, seconds = seconds_of(worker)
    for report in (middle, last):
        gone_s = report["t"] - first["t"]
        total = sum(report["s"]) - sum(first["s"])
        assert total == pytest.approx(2 * gone_s, abs=0.02)
    assert seconds["waiting"] > 0.09  # lane and task


@pytest.mark.parametrize(
    ("state", "label"),
    [
        ({}, "starved"),
        ({"running": False}, "paused"),
        ({"ready": (1, 2, 3)}, "dispatch"),
        ({"waiting": (1, 2)}, "transfer"),
    ],
)
def test_idle_slots_have_a_reason(state, label):
    """A slot without work is paused, about to get a task, waits for data, or starves."""
    worker = make_worker(**state)
    meter = SlotMeter()
    meter.setup(worker)
    time.sleep(0.02)
    _, seconds = seconds_of(worker)
    assert seconds[label] == sum(seconds.values()) > 0.03
    meter.teardown(worker)
    assert worker.metrics == {}


def test_a_lane_that_is_a_task_counts_once(worker):
    """The task that a lane is for Dask is not counted beside the lane."""
    worker.state.executing_count = 1
    with metered(worker, "f", is_task=True) as lane:
        lane.begin_claim(0)
        time.sleep(0.05)
        report, seconds = seconds_of(worker)
        lane.count_claim(0, 0, 0, 0.0)
    assert seconds["busy"] + seconds["waiting"] < 0.09
    assert report["active"][0] > 0


def test_a_lane_that_has_left_the_pool_is_no_task(worker):
    """Its slot is counted once, before and after; so is what it computes."""
    worker.state.executing_count = 1
    with metered(worker, "f", is_task=True) as lane:
        spend(0.03)
        lane.leave_pool()
        lane.leave_pool()
        worker.state.executing_count = 0
        worker.plugins[METER_NAME].transition("x", "executing", "long-running")
        lane.begin_claim(0)
        spend(0.05)
        lane.count_claim(0, 0, 0, 0.0)
        report, seconds = seconds_of(worker)
    assert 0.04 < seconds["busy"] < 0.075
    assert sum(seconds.values()) == pytest.approx(
        2 * (report["t"] - report["began"]), abs=0.02
    )


def test_counts_survive_the_lane(worker):
    """Items, bytes and slowest items of calls that are over are still reported."""
    for name in ("f", "g"):
        with metered(worker, name, is_task=False) as lane:
            lane.count_claim(3, 2, 1, wall_s=0.5)
            lane.count_bytes(SimpleNamespace(n_bytes=100, n_sent=10))
            lane.count_bytes(None)
    report, _ = seconds_of(worker)
    assert (report["items"], report["failed"]) == (4, 2)
    assert (report["mapped"], report["sent"]) == (180, 20)
    assert report["slow"] == [[0.25, "g", 3, 2, False], [0.25, "f", 3, 2, False]]


def test_without_a_reporter_the_books_are_kept_for_nobody():
    """A lane in a child process, or at a worker without the plugin, works the same."""
    for worker in (None, make_worker()):
        with metered(worker, "f", is_task=False) as lane:
            lane.begin_claim(0)
            lane.count_claim(0, 0, 0, 0.0)
