"""What do the counters and the page cost? Ratios of throughput on items of 1 ms.

    python benchmarks/dashboard.py [--rounds N] [--items N]

One cluster of two workers executes `dk.map` over items that each use 1 ms of CPU, and
tasks of Dask, in turns: without counters, with them, and with two pages open
besides. Other programs on the machine only ever take away, so figures compare the best
round of each; the median of the ratios within a round stands beside, and the same for
CPU time of all processes of the cluster. 1.00 is no cost.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time

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
    ways = {"without": (False, 0), "counters": (True, 0), "two pages": (True, 2)}
    print(f"a batch of one claim: {time_lane_us():.1f} us of 60,000 or so")
    print(f"ratio to 'without': best round of each (median round); wanted: {WANTED}")
    with dk.cluster(n_workers=N_WORKERS) as client:
        for kind in ("verb", "task"):
            measure(client, kind, options.items // 4)
            found = {way: [] for way in ways}
            for round_number in range(options.rounds):
                for way in list(ways)[:: 1 if round_number % 2 else -1]:
                    is_on, n_pages = ways[way]
                    set_meter(client, on=is_on)
                    with pages(client, n_pages):
                        found[way].append(measure(client, kind, options.items))
            for way in ("counters", "two pages"):
                for i, what in enumerate(("throughput", "items a CPU second")):
                    ours = [pair[i] for pair in found[way]]
                    theirs = [pair[i] for pair in found["without"]]
                    best = max(ours) / max(theirs)
                    rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
                    middle = statistics.median(rounds)
                    print(f"{kind:5} {way:10} {what:19} {best:.3f} ({middle:.3f})")


def time_lane_us():
    """Return what a lane spends on its books for a batch, at best."""
    lane = LaneMeter("f")
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


if __name__ == "__main__":
    main()
