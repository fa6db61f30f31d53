"""What does stamping cost? Ratios of wall and CPU times with stamps and without.

    python benchmarks/stamps.py [BACKEND ...]

Each back end is started three times: for the workload as it is, for its stamped form,
and as a control once more for the workload as it is. They take turns, in an order that
changes from round to round. All is repeated with other processes: two of them that do
the same differ by some per cent for as long as they live. Items take about 1 ms of pure
Python. The ratio of median wall times, stamped to unstamped, should be 1.02 at most;
that of the two unstamped ones tells how far a busy machine blurs it, and where it is
off by 1 % or more, a ratio above that is not judged. Ratios of the fastest ones and of
CPU times stand beside.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import psutil

import daskkit as dk
from daskkit.backends.registry import parse_spec
from daskkit.comparison.stamps import stamp_workload
from daskkit.run.threads import thread_variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskkit.backends.base import Backend

BACKENDS = (
    "serial",
    "threads",
    "multiprocessing",
    "dask-futures",
    "dask-bag",
    "daskkit",
)
N_WORKERS = 2
STARTS, ROUNDS = 6, 12
WANTED = 0.02
BLURRED = 0.01
N_ITEMS = 400
N_TERMS = 15_000
PLAIN, STAMPED, CONTROL = range(3)


def sum_squares(n_terms: int) -> int:
    """Return a sum that takes about a millisecond of pure Python."""
    return sum(i * i for i in range(n_terms))


@contextlib.contextmanager
def started(name: str, workload: dk.Workload) -> Iterator[Backend]:
    """Start a back end, and let it run once."""
    backend = parse_spec(name).make(N_WORKERS)
    try:
        backend.start(workload)
        backend.run()
        yield backend
    finally:
        backend.stop()


def read_cpu_s() -> float:
    """Return the CPU seconds of this process and all below it."""
    this = psutil.Process()
    times = [one.cpu_times() for one in (this, *this.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def time_run(backend: Backend) -> tuple[float, float]:
    """Return wall time and CPU time of one execution in seconds."""
    gc.collect()
    cpu_s, began_s = read_cpu_s(), time.perf_counter()
    backend.run()
    wall_s = time.perf_counter() - began_s
    return wall_s, read_cpu_s() - cpu_s


def measure(name: str) -> tuple[list[float], list[float], list[float]]:
    """Return median and least wall times and mean CPU times of the three."""
    starts = [time_start(name, number) for number in range(STARTS)]
    arms = [[times[arm] for times in starts] for arm in range(3)]
    return (
        [
            statistics.fmean(
                statistics.median(wall for wall, _ in some) for some in arm
            )
            for arm in arms
        ],
        [
            statistics.fmean(min(wall for wall, _ in some) for some in arm)
            for arm in arms
        ],
        [statistics.fmean(cpu for some in arm for _, cpu in some) for arm in arms],
    )


def time_start(name: str, number: int) -> list[list[tuple[float, float]]]:
    """Return wall and CPU times of the three, started in an order by a number."""
    plain = dk.Workload("stamps", sum_squares, [N_TERMS] * N_ITEMS, combine=sum)
    times: list[list[tuple[float, float]]] = [[], [], []]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        works = (plain, stamp_workload(plain, folder), plain)
        backends = {}
        for turn in range(3):
            which = (turn + number) % 3
            backends[which] = stack.enter_context(started(name, works[which]))
        for k in range(ROUNDS):
            for turn in range(3):
                which = (turn + k) % 3 if k % 2 else (k - turn) % 3
                times[which].append(time_run(backends[which]))
    return times


def compare_arms(seconds: list[float]) -> tuple[float, float]:
    """Return stamped over unstamped, and control over plain."""
    unstamped = (seconds[PLAIN] + seconds[CONTROL]) / 2
    return seconds[STAMPED] / unstamped, seconds[CONTROL] / seconds[PLAIN]


def main(names: tuple[str, ...] = BACKENDS) -> int:
    """Measure all and print ratios; return 0 if all were judged and passed, else 1."""
    os.environ.update(thread_variables(1))
    words = []
    for name in names:
        walls, least, cpus = measure(name)
        ratio, control = compare_arms(walls)
        cpu_ratio, cpu_control = compare_arms(cpus)
        fastest, _ = compare_arms(least)
        blurred = abs(control - 1) >= BLURRED
        fine = ratio <= 1 + WANTED
        words.append("PASS" if fine else "NOT JUDGED" if blurred else "FAIL")
        print(
            f"{name:16} wall {ratio:.3f} (wanted: {1 + WANTED:.2f}; control "
            f"{control:.3f}), fastest {fastest:.3f}, CPU {cpu_ratio:.3f} (control "
            f"{cpu_control:.3f}): {words[-1]}",
            flush=True,
        )
    return 0 if set(words) == {"PASS"} else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or BACKENDS))
