"""Whether the simulator foretells wall times, and how fast it is.

Each sample is executed on one and on two workers of a process pool, every batch stamped
on its worker. The wall time on each number of workers is then predicted from the costs
on the other one, and has to be within 10 % of what was measured; the parts of each
ledger have to sum to workers x wall within 1 %. Both numbers of workers take turns;
each prediction is held against the call next to the one that it is made from, and the
median of these errors counts. (A machine with neighbours may do the same at two speeds,
for some seconds each. The fastest repeats would not do: one core is at its best more
often than two are.) They are of several starts: of two processes that do the same, one
may be slower for all its life, by a third where it is about memory.

A simulation takes items to cost the same on any number of workers. They don't where
cores share a cache, the memory, or, as on many rented machines, are two threads of one
core: then an item takes longer while the other core is busy, too. So the other core
always is: next to a single worker another process executes the same items, unstamped.
How much longer they take than without it is printed: by so much a prediction from one
worker for two is too low where nobody keeps the other core busy.

A simulation knows nothing of neighbours either. Where the machine had no two cores to
give, which the CPU time of the batches shows, a sample is not judged. The control,
`pauses`, needs no cores: its items sleep, for uneven times.

    python benchmarks/scaling.py [SAMPLE ...]
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import sys
import time
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import daskkit as dk
from daskkit.accounts import Stamp, Trace
from daskkit.comparison.ledger import make_ledger, make_trace
from daskkit.comparison.simulate import Costs, estimate_costs, simulate
from daskkit.run.threads import thread_variables

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = ("pauses", "pi", "fractal", "flights", "words", "bootstrap", "landmask")
COUNTS = (1, 2)
FEWEST_STARTS, MOST_STARTS = 4, 24
REPEATS = 6
BATCHES = 16
TOLERANCE = 0.10
# How well a median is to be known: 1.96 standard errors, as a share of the wall time.
KNOWN = 0.05
# With less CPU time than this share of their wall time, workers had to share a core.
ENOUGH_CPU = 0.9
# Cores that the processes of the benchmark leave to its caller.
FREE = max(dk.usable_cores() - max(COUNTS), 0)


def make_sample(name: str, size: str) -> dk.Workload:
    """Return a sample, or the control."""
    if name == "pauses":
        waits = np.random.default_rng(0).gamma(2.0, 0.005, 96).tolist()
        return dk.Workload("pauses", time.sleep, waits)
    return dk.sample(name, size)


def load_sample(name: str, size: str, going: Any, begun: Any) -> None:
    """Keep a sample in a worker, so that items need not be sent."""
    global workload, items, is_going, has_begun  # noqa: PLW0603 - a worker's own
    workload = make_sample(name, size)
    items = list(workload.items)
    is_going, has_begun = going, begun


def run_batch(first: int, stop: int) -> tuple[Any, Stamp]:
    """Execute some items, combine their results, and say when."""
    start_s, cpu_s = time.perf_counter(), time.thread_time()
    answer = workload.finish([workload.func(item) for item in items[first:stop]])
    end_s, cpu_s = time.perf_counter(), time.thread_time() - cpu_s
    return answer, Stamp(str(os.getpid()), start_s, end_s, cpu_s, first, stop - first)


def keep_busy() -> None:
    """Execute items until told to stop."""
    has_begun.release()
    for item in itertools.cycle(items):
        workload.func(item)
        if not is_going.is_set():
            return


def run_call(pool: Any, n_workers: int, n_items: int) -> Trace:
    """Execute the whole sample on a pool, stamped."""
    edges = np.linspace(0, n_items, min(BATCHES, n_items) + 1).astype(int).tolist()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    parts = pool.starmap(run_batch, itertools.pairwise(edges), chunksize=1)
    ended_s, cpu_s = time.perf_counter(), time.process_time() - cpu_s
    return make_trace(
        [stamp for _, stamp in parts],
        n_workers=n_workers,
        began_s=began_s,
        ended_s=ended_s,
        caller_cpu_s=cpu_s,
    )


def measure(name: str, size: str) -> tuple[dict[int, list[Trace]], list[Trace]]:
    """Return traces of one start by number of workers, and with the other core idle."""
    n_items = len(make_sample(name, size).items)
    traces: dict[int, list[Trace]] = {n: [] for n in COUNTS}
    alone: list[Trace] = []
    most = max(COUNTS)
    with contextlib.ExitStack() as stack:
        pools = {n: stack.enter_context(Pool(n, name, size)) for n in COUNTS}
        others = stack.enter_context(Pool(most, name, size))
        for n, pool in pools.items():
            run_call(pool.processes, n, n_items)  # warm
        for _ in range(REPEATS):
            for n, pool in pools.items():
                with others.busy(most - n):
                    traces[n].append(run_call(pool.processes, n, n_items))
            alone.append(run_call(pools[1].processes, 1, n_items))
    return traces, alone


class Pool:
    """Fresh processes that have a sample; their end is awaited."""

    def __init__(self, n_workers: int, name: str, size: str) -> None:
        context = get_context("spawn")
        self._going, self._begun = context.Event(), context.Semaphore(0)
        self.processes: Any = context.Pool(
            n_workers, load_sample, (name, size, self._going, self._begun)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.terminate()
        self.processes.join()

    @contextlib.contextmanager
    def busy(self, n_workers: int) -> Iterator[None]:
        """Keep some of the processes busy meanwhile."""
        self._going.set()
        tasks = [self.processes.apply_async(keep_busy) for _ in range(n_workers)]
        for _ in tasks:
            self._begun.acquire()
        try:
            yield
        finally:
            self._going.clear()
            for task in tasks:
                task.get()


@dataclasses.dataclass
class Direction:
    """Predictions from one number of workers for another one, start by start."""

    known: int
    asked: int
    errors: list[list[float]] = dataclasses.field(default_factory=list)
    off: float = 0.0  # of the parts, the largest

    def add(self, traces: dict[int, list[Trace]]) -> None:
        """Hold the predictions of a start against what was measured beside them."""
        errors = []
        for trace, real in zip(traces[self.known], traces[self.asked], strict=True):
            costs = estimate_costs(trace, cores=self.known + FREE)
            told = simulate(costs, n_workers=self.asked, cores=self.asked + FREE)
            errors.append(told.wall_s / real.wall_s - 1)
            parts_s = math.fsum(make_ledger(real).parts().values())
            off = abs(parts_s / (self.asked * real.wall_s) - 1)
            self.off = max(self.off, off)
        self.errors.append(errors)

    @property
    def error(self) -> float:
        """The median error."""
        return float(np.median(self.errors))

    @property
    def within(self) -> float:
        """How well the median is known: 1.96 standard errors of it.

        That of a median is sqrt(pi / 2) times that of a mean where the spread is
        normal. Starts are independent, the repeats of one are not.
        """
        medians = np.median(self.errors, axis=1)
        error = np.std(medians, ddof=1) / math.sqrt(len(medians))
        return float(1.96 * math.sqrt(math.pi / 2) * error)


def check_sample(name: str, size: str) -> str:
    """Predict each number of workers from the other one; return the worse word."""
    directions = Direction(1, 2), Direction(2, 1)
    shares: dict[int, list[float]] = {n: [] for n in COUNTS}
    ratios: list[float] = []
    for n_starts in range(1, MOST_STARTS + 1):
        traces, alone = measure(name, size)
        for direction in directions:
            direction.add(traces)
        for n, some in traces.items():
            shares[n] += [estimate_costs(t, cores=n + FREE).cpu_share for t in some]
        ratios += [a.wall_s / b.wall_s for a, b in zip(traces[1], alone, strict=True)]
        enough = n_starts >= FEWEST_STARTS
        if enough and max(one.within for one in directions) <= KNOWN:
            break
    given = min(np.median(some) for some in shares.values())
    words = []
    for one in directions:
        fine = abs(one.error) <= TOLERANCE and one.off <= 0.01
        judged = name == "pauses" or given >= ENOUGH_CPU
        words.append("NOT JUDGED" if not judged else "PASS" if fine else "FAIL")
        why = "" if judged else f", {given:.0%} of a core for each worker"
        print(
            f"{name:10} {one.known} -> {one.asked} workers: {100 * one.error:+5.1f} % "
            f"(wanted: 10; {n_starts} starts, known to {100 * one.within:.1f}), "
            f"parts {100 * one.off:.2f} % off (wanted: 1): {words[-1]}{why}",
            flush=True,
        )
    print(
        f"{name:10} with the other core busy: {np.median(ratios):.2f} times as long",
        flush=True,
    )
    return min(words)  # in the order of the alphabet: FAIL, NOT JUDGED, PASS


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


def main(names: tuple[str, ...] = SAMPLES, size: str = "small") -> int:
    """Check all samples; return 0 if all were judged and passed, else 1."""
    os.environ.update(thread_variables(1))
    time_simulator()
    words = [check_sample(name, size) for name in names]
    if "NOT JUDGED" in words:
        print("The machine was busy: run this again when it is not.", flush=True)
    return 0 if set(words) == {"PASS"} else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or SAMPLES))
