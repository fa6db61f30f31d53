"""Whether the simulator foretells wall times, and how fast it is.

Each sample is executed on one and on two workers of a process pool, every batch stamped
on its worker. The wall time on each number of workers is then predicted from the costs
on the other one, and has to be within 10 % of what was measured; the parts of each
ledger have to sum to workers x wall within 1 %. Repeats on both numbers of workers take
turns, and medians count.

    python benchmarks/scaling.py [SAMPLE ...]
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from multiprocessing import get_context
from typing import Any

import numpy as np

import daskkit as dk
from daskkit.accounts import Stamp, Trace
from daskkit.comparison.ledger import make_ledger, make_trace
from daskkit.comparison.simulate import Costs, estimate_costs, simulate
from daskkit.run.threads import thread_variables

SAMPLES = ("pi", "fractal", "flights", "words", "bootstrap", "landmask")
COUNTS = (1, 2)
REPEATS = 7
BATCHES = 16
TOLERANCE = 0.10


def load_sample(name: str, size: str) -> None:
    """Keep a sample in a worker, so that items need not be sent."""
    global workload, items  # noqa: PLW0603 - a worker's own
    workload = dk.sample(name, size)
    items = list(workload.items)


def run_batch(first: int, stop: int) -> tuple[list[Any], Stamp]:
    """Execute some items and say when."""
    start_s, cpu_s = time.perf_counter(), time.thread_time()
    results = [workload.func(item) for item in items[first:stop]]
    end_s, cpu_s = time.perf_counter(), time.thread_time() - cpu_s
    return results, Stamp(str(os.getpid()), start_s, end_s, cpu_s, first, stop - first)


def run_call(pool: Any, n_workers: int, n_items: int) -> Trace:
    """Execute the whole sample on a pool, stamped."""
    edges = np.linspace(0, n_items, min(BATCHES, n_items) + 1).astype(int).tolist()
    began_s = time.perf_counter()
    parts = pool.starmap(run_batch, itertools.pairwise(edges), chunksize=1)
    ended_s = time.perf_counter()
    stamps = [stamp for _, stamp in parts]
    return make_trace(stamps, n_workers=n_workers, began_s=began_s, ended_s=ended_s)


def measure(name: str, size: str) -> dict[int, list[Trace]]:
    """Return traces of all repeats by the number of workers, which take turns."""
    n_items = len(dk.sample(name, size).items)
    context = get_context("spawn")
    pools = {n: context.Pool(n, load_sample, (name, size)) for n in COUNTS}
    try:
        for n, pool in pools.items():
            run_call(pool, n, n_items)  # warm
        traces: dict[int, list[Trace]] = {n: [] for n in COUNTS}
        for _ in range(REPEATS):
            for n, pool in pools.items():
                traces[n].append(run_call(pool, n, n_items))
    finally:
        for pool in pools.values():
            pool.terminate()
            pool.join()
    return traces


def check_sample(name: str, size: str) -> bool:
    """Predict each number of workers from the other one; return whether it passes."""
    traces = measure(name, size)
    medians = {n: sorted(some, key=_wall)[REPEATS // 2] for n, some in traces.items()}
    passed = True
    for known, asked in ((1, 2), (2, 1)):
        walls = [trace.wall_s for trace in traces[known]]
        told = simulate(estimate_costs(medians[known], walls), n_workers=asked)
        real_s = medians[asked].wall_s
        error = told.wall_s / real_s - 1
        compute = {n: _busy(trace) for n, trace in medians.items()}
        ledger = make_ledger(medians[asked])
        off = sum(ledger.parts().values()) / (asked * real_s) - 1
        fine = abs(error) <= TOLERANCE and abs(off) <= 0.01
        passed &= fine
        print(
            f"{name:10} {size:6} {known} -> {asked}: {100 * error:+5.1f} % "
            f"(wanted: 10), parts {100 * off:+.2f} % off; items take "
            f"{compute[2] / compute[1]:.2f} times as long on two as on one: "
            f"{'PASS' if fine else 'FAIL'}",
            flush=True,
        )
    return passed


def time_simulator() -> None:
    """Print what the simulator takes for 10,000 workers and a million items."""
    durations = np.random.default_rng(0).exponential(0.01, 1_000_000)
    for size in (1, 10, 100):
        costs = Costs(durations, batches=(1,) * 1_000_000, gap_s=1e-4)
        began_s = time.perf_counter()
        told = simulate(costs, n_workers=10_000, batch_size=size)
        took_s = time.perf_counter() - began_s
        print(
            f"10,000 workers, 1,000,000 items in batches of {size}: simulated in "
            f"{took_s:.2f} s, {told.ledger.share('compute_s'):.0%} compute",
            flush=True,
        )


def main(names: tuple[str, ...] = SAMPLES, size: str = "full") -> int:
    """Check all samples; return 0 if all pass, else 1."""
    os.environ.update(thread_variables(1))
    time_simulator()
    passed = [check_sample(name, size) for name in names]
    return 0 if all(passed) else 1


def _wall(trace: Trace) -> float:
    return trace.wall_s


def _busy(trace: Trace) -> float:
    return sum(stamp.end_s - stamp.start_s for stamp in trace.stamps)


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or SAMPLES))
