"""What do the counters and the page cost? Ratios of throughput on items of 1 ms.

    python benchmarks/dashboard.py [--rounds N] [--items N]

One cluster of two workers executes `dk.map` over items that each use 1 ms of CPU, and
tasks of Dask, in turns: without counters, with them, and with two pages open
besides. Figures are medians of the ratio within a round, with the range of the middle
half; 1.00 is no cost, "wanted" at least 0.98. CPU time of all processes of the cluster
stands beside, which other programs on the machine distort less.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time

import psutil

import daskkit as dk
from daskkit.run.meter import METER_NAME
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
    with contextlib.suppress(ValueError, KeyError):
        client.unregister_worker_plugin(METER_NAME)
    if on:
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
    ratios = {
        (kind, way, i): [] for kind in ("verb", "task") for way in ways for i in (0, 1)
    }
    with dk.cluster(n_workers=N_WORKERS) as client:
        for kind in ("verb", "task"):
            measure(client, kind, options.items // 4)
            for round_number in range(options.rounds):
                order = list(ways)[:: 1 if round_number % 2 else -1]
                found = {}
                for way in order:
                    is_on, n_pages = ways[way]
                    set_meter(client, on=is_on)
                    with pages(client, n_pages):
                        found[way] = measure(client, kind, options.items)
                for way in ways:
                    for i in (0, 1):
                        ratio = found[way][i] / found["without"][i]
                        ratios[kind, way, i].append(ratio)
    print(f"ratio to 'without'; wanted: at least {WANTED}")
    for (kind, way, i), values in ratios.items():
        if way == "without":
            continue
        low, middle, high = statistics.quantiles(values, n=4)
        what = ("throughput", "items a CPU second")[i]
        print(f"{kind:5} {way:10} {what:19} {middle:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
