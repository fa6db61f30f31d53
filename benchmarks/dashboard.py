"""What do the counters and the page cost? Ratios of throughput on items of 1 ms.

    python benchmarks/dashboard.py [--rounds N] [--items N]

One cluster of two workers executes `dk.map` over items that each use 1 ms of CPU, and
tasks of Dask, in turns: without counters, with them, with two pages open besides, and
with counters while `dk.report` records (its page is written after the clock has
stopped). Figures are ratios of the medians of all rounds, to those without counters;
the ratio of the best rounds stands beside, as other programs on the machine only ever
take away. The same for items a CPU second of all processes. 1.00 is no cost.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import statistics
import tempfile
import time
import types
from pathlib import Path

import psutil

import daskkit as dk
from daskkit.run.meter import METER_NAME, LaneMeter
from daskkit.run.slots import SlotMeter

N_WORKERS = 2
WANTED = 0.98
ITEM_S = 0.001
# Tasks of Dask cost several ms each; fewer of them, several items each.
TASK_SHARE = 10


def spin(_item):
    """Use a millisecond of CPU."""
    began = time.thread_time()
    while time.thread_time() - began < ITEM_S:
        pass


def set_meter(client, *, on):
    """Put the counters into the workers, or take them out, as for good."""
    is_on = METER_NAME in client.cluster.scheduler.worker_plugins
    if is_on and not on:
        client.unregister_worker_plugin(METER_NAME)
    elif on and not is_on:
        client.register_plugin(SlotMeter())


@contextlib.contextmanager
def pages(client, n_pages):
    """Keep pages open as browsers do, without their drawing."""
    from bokeh.client import pull_session

    url = client.dashboard_link.replace("/status", "/daskkit")
    sessions = [pull_session(url=url) for _ in range(n_pages)]
    try:
        yield
    finally:
        for session in sessions:
            session.close()


@contextlib.contextmanager
def recording(*, on):
    """Record what runs, if it is to be."""
    if not on:
        yield
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        dk.report(Path(folder, "report.html")),
    ):
        yield


def cpu_s():
    """Return CPU seconds of this process and all workers."""
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in tree)


def measure(client, kind, n_items):
    """Return items a second, and items a CPU second."""
    began, cpu_began = time.perf_counter(), cpu_s()
    if kind == "verb":
        dk.map(spin, range(n_items), where="cluster")
    else:
        n_items //= TASK_SHARE
        client.gather(client.map(spin, range(n_items), pure=False))
    wall_s, used_s = time.perf_counter() - began, cpu_s() - cpu_began
    return n_items / wall_s, n_items / used_s


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--items", type=int, default=4_000)
    options = parser.parse_args()
    ways = {
        "without": (False, 0),
        "counters": (True, 0),
        "two pages": (True, 2),
        "report": (True, 0),
    }
    print(f"a batch of one claim: {time_lane_us():.1f} us of 60,000 or so")
    print(f"a task of Dask: {time_task_us():.1f} us of counters in its worker")
    print(f"load before: {os.getloadavg()[0]:.1f}, cores: {dk.usable_cores()}")
    print(f"ratio to 'without': medians of all rounds (best rounds); wanted: {WANTED}")
    with dk.cluster(n_workers=N_WORKERS) as client:
        for kind in ("verb", "task"):
            measure(client, kind, options.items // 4)
            found = {way: [] for way in ways}
            for round_number in range(options.rounds):
                for way in list(ways)[:: 1 if round_number % 2 else -1]:
                    is_on, n_pages = ways[way]
                    set_meter(client, on=is_on)
                    is_recorded = way == "report"
                    with pages(client, n_pages), recording(on=is_recorded):
                        found[way].append(measure(client, kind, options.items))
            for way in list(ways)[1:]:
                for i, what in enumerate(("throughput", "items a CPU second")):
                    ours = [pair[i] for pair in found[way]]
                    theirs = [pair[i] for pair in found["without"]]
                    best = max(ours) / max(theirs)
                    middle = statistics.median(ours) / statistics.median(theirs)
                    print(f"{kind:5} {way:10} {what:19} {middle:.3f} ({best:.3f})")


def time_lane_us():
    """Return what a lane spends on its books for a batch, at best."""
    lane = LaneMeter("f", collections.deque(maxlen=1_000).append)
    spent = []
    for _ in range(20):
        began = time.thread_time()
        for i in range(1_000):
            lane.open_batch()
            lane.begin_claim(i)
            lane.count_claim(i, n_items=4, n_failed=0, wall_s=0.004)
            lane.pack_results()
            lane.await_batch()
        spent.append(time.thread_time() - began)
    return min(spent) * 1e3


def time_task_us():
    """Return what a worker's counters spend on a task of Dask, at best."""
    state = types.SimpleNamespace(
        nthreads=1,
        executing_count=0,
        running=True,
        ready=[],
        constrained=[],
        waiting=[],
    )
    worker = types.SimpleNamespace(state=state, metrics={}, executors={})
    meter = SlotMeter()
    meter.setup(worker)
    spent = []
    for _ in range(20):
        began = time.thread_time()
        for _ in range(1_000):
            state.ready = [None]
            meter.transition("task", "released", "waiting")
            meter.transition("task", "waiting", "ready")
            state.ready, state.executing_count = [], 1
            meter.transition("task", "ready", "executing")
            state.executing_count = 0
            meter.transition("task", "executing", "memory")
        spent.append(time.thread_time() - began)
    return min(spent) * 1e3


if __name__ == "__main__":
    main()
