"""Are blocks of arrays fast, and small? Ratios against NumPy, dask.array and joblib.

    python benchmarks/arrays.py [ROW ...] [--rounds N] [--scale F]

Two warm workers for everyone; the contestants of a row take turns within each round;
the figures are ratios of medians of that one run, and each result is checked. Memory is
the highest PSS of the whole process tree in an execution of its own, less what it was
before. Rows: stencil and elementwise (a land mask of 933 MB, cut along its rows),
columns (the same, cut across), python (a function that holds the GIL), small, random;
all without an argument.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import multiprocessing
import os
import statistics
import time
import warnings

import dask
import dask.array as da
import numpy as np
from contest.memory import tree_pss, watch_peak
from joblib import Parallel, delayed
from transport import check, take_turns

import daskkit as dk
from daskkit.arrays.arguments import make_cut
from daskkit.samples.datasets import read_land
from daskkit.transport.auto import forget_cached

N_WORKERS = 2
MB = 10**6
SEED = 2026
# The "fraction of a millisecond" that a call on a small array may cost.
WANTED_SMALL_MS = 0.5
# How often the memory of all processes is read, which takes long for a gigabyte.
LOOK_S = 0.1


# What the workers execute.


def erode(land):
    """Return the land whose neighbours within two cells are land; outside is land."""
    for _ in range(2):
        rows = land.copy()
        rows[1:] &= land[:-1]
        rows[:-1] &= land[1:]
        land = rows.copy()
        land[:, 1:] &= rows[:, :-1]
        land[:, :-1] &= rows[:, 1:]
    return land


def shade(land):
    return np.where(land, np.uint8(200), np.uint8(30))


def measure_runs(land):
    """Return for each cell how long the run of land or sea is that ends there."""
    runs = np.empty(land.shape, np.uint16)
    for row, line in zip(runs, land, strict=True):
        length, last = 0, None
        for i, cell in enumerate(line.tolist()):
            length = length + 1 if cell == last else 1
            last = cell
            row[i] = length
    return runs


def count_hits(rng, size):
    x, y = rng.random((2, size))
    return int((x * x + y * y <= 1).sum())


def draw_paths(rng, size):
    return rng.normal(size=(size, 20)).cumsum(axis=1)


def call_on_block(func, land, bounds):
    """Return a block without its halo; what users of joblib write themselves."""
    axis, first, start, stop, end = bounds
    part = func(land[first:end] if axis == 0 else land[:, first:end])
    keep = slice(start - first, stop - first)
    return part[keep] if axis == 0 else part[:, keep]


def call_on_stream(func, item):
    seed, size = item
    return func(np.random.default_rng(seed), size)


# The rows.


def compare_on(land, func, peers, n_rounds, title, *, axis=0, overlap=0, dtype=bool):
    """Print how long and how large everybody is with a function of a map's blocks."""
    expected = func(land)
    (cut,) = make_cut(land, axis, overlap, None, None).axes
    bounds = [
        (axis, span.start, *cut.core(k), span.stop)
        for k, span in ((k, cut.span(k)) for k in range(cut.n_blocks))
    ]
    height = -(-land.shape[axis] // cut.n_blocks)
    depth = {axis: overlap, 1 - axis: 0}

    def by_dask(chunk, scheduler):
        chunks = {axis: chunk, 1 - axis: -1}
        blocks = da.from_array(land, chunks=chunks)
        settings = {"dtype": dtype, "meta": np.empty((0, 0), dtype)}
        if overlap:
            lazy = da.map_overlap(
                func, blocks, depth=depth, boundary="none", **settings
            )
        else:
            lazy = da.map_blocks(func, blocks, **settings)
        return lazy.compute(scheduler=scheduler)

    def by_joblib():
        call = delayed(functools.partial(call_on_block, func))
        parts = peers.joblib(call(land, one) for one in bounds)
        return np.concatenate(parts, axis)

    contestants = {
        "daskkit": lambda: dk.map_blocks(func, land, axis, overlap),
        "daskkit, on workers": lambda: dk.map_blocks(
            func, land, axis, overlap, where="cluster"
        ),
        "NumPy, at once": lambda: func(land),
        "dask.array, its chunks": lambda: by_dask("auto", peers.client),
        "dask.array, our blocks": lambda: by_dask(height, peers.client),
        "dask.array, threads": lambda: by_dask(height, "threads"),
        "joblib, memory-mapped": by_joblib,
    }

    def checked(run):
        check(np.array_equal(run(), expected), title)

    peaks = {}
    for name, run in contestants.items():  # also the warm-up
        forget_cached()
        gc.collect()
        before = tree_pss()
        with watch_peak(interval_s=LOOK_S) as peak:
            checked(run)
        peaks[name] = peak[0] - before
    walls = {name: [] for name in contestants}
    timed = {
        name: functools.partial(time_only, run, expected)
        for name, run in contestants.items()
    }
    for _ in range(n_rounds):
        for name, (wall,) in take_turns(timed, 1).items():
            walls[name].append(wall)
    print(f"\n{title}: {land.nbytes / MB:,.0f} MB, {cut.n_blocks} blocks")
    mine = statistics.median(walls["daskkit"])
    for name, values in walls.items():
        ratio = statistics.median(values) / mine
        print(f"  {name:26s} {ratio:6.2f} times as long {peaks[name] / MB:8,.0f} MB")
    print(f"  (daskkit: {mine:.2f} s, median of {n_rounds})")


def time_only(run, expected):
    """Execute and look at a part of the answer: the whole was checked before."""
    answer = run()
    check(np.array_equal(answer[::499], expected[::499]), "a repeat")


def cut_land(peers, scale):
    n_rows = int(len(peers.land) * scale)
    return peers.land[:n_rows]


def row_stencil(peers, n_rounds, scale):
    land = cut_land(peers, scale)
    title = "erosion by two cells, overlap=2"
    compare_on(land, erode, peers, n_rounds, title, overlap=2)


def row_elementwise(peers, n_rounds, scale):
    land = cut_land(peers, scale)
    title = "element-wise numpy.where"
    compare_on(land, shade, peers, n_rounds, title, dtype=np.uint8)


def row_columns(peers, n_rounds, scale):
    land = cut_land(peers, scale)
    title = "erosion, cut along columns"
    compare_on(land, erode, peers, n_rounds, title, axis=1, overlap=2)


def row_python(peers, n_rounds, scale):
    land = peers.land[::8, ::8][: int(600 * scale)].copy()
    title = "pure Python, row by row"
    compare_on(land, measure_runs, peers, n_rounds, title, dtype=np.uint16)


def row_small(peers, n_rounds, _):
    del peers
    print("\nsmall arrays: numpy.sqrt, against a loop over the same blocks")
    for n in (1_000, 10_000, 100_000, 1_000_000):
        array = np.arange(float(n))
        (axis,) = make_cut(array, 0, 0, None, None).axes
        slices = [slice(*axis.core(k)) for k in range(axis.n_blocks)]

        def loop(array=array, slices=slices):
            out = np.empty_like(array)
            for one in slices:
                out[one] = np.sqrt(array[one])
            return out

        def ours(array=array):
            return dk.map_blocks(np.sqrt, array)

        check(np.array_equal(ours(), np.sqrt(array)), "small")
        walls = {"loop": [], "daskkit": []}
        for _ in range(30 * n_rounds):
            for name, run in (("loop", loop), ("daskkit", ours)):
                started = time.perf_counter()
                run()
                walls[name].append(time.perf_counter() - started)
        a, b = (statistics.median(walls[name]) * 1e3 for name in ("loop", "daskkit"))
        print(
            f"  {n:9,d} numbers, {len(slices):2d} blocks: {b / a:5.2f} times as long, "
            f"{b - 1.1 * a:+.2f} ms beside 10 % (at most {WANTED_SMALL_MS})"
        )


def row_random(peers, n_rounds, scale):
    n = int(4_000_000 * scale)
    sizes = np.diff([n * i // 256 for i in range(257)]).tolist()

    def items():
        return list(zip(np.random.SeedSequence(SEED).spawn(256), sizes, strict=True))

    def by_pool(func, combine):
        call = functools.partial(call_on_stream, func)
        return combine(peers.pool.map(call, items(), chunksize=16))

    for func, combine, title in (
        (count_hits, sum, "combined to one number"),
        (draw_paths, None, "joined to one array"),
    ):
        join = combine or np.concatenate
        expected = join([call_on_stream(func, item) for item in items()])
        contestants = {
            "daskkit": lambda func=func, combine=combine: dk.monte_carlo(
                func, n, seed=SEED, combine=combine
            ),
            "loop": lambda func=func, join=join: join(
                [call_on_stream(func, item) for item in items()]
            ),
            "multiprocessing.Pool": lambda func=func, join=join: by_pool(func, join),
        }
        walls = {name: [] for name in contestants}
        for i in range(n_rounds + 1):
            for name, run in contestants.items():
                started = time.perf_counter()
                answer = run()
                wall = time.perf_counter() - started
                check(np.array_equal(answer, expected), title)
                if i:  # the first is the warm-up
                    walls[name].append(wall)
                del answer
        mine = statistics.median(walls["daskkit"])
        print(f"\nmonte_carlo, {n:,} draws, {title}")
        for name, values in walls.items():
            print(f"  {name:26s} {statistics.median(values) / mine:6.2f} times as long")
        print(f"  (daskkit: {mine:.2f} s, median of {n_rounds})")


ROWS = {
    "stencil": row_stencil,
    "elementwise": row_elementwise,
    "columns": row_columns,
    "python": row_python,
    "small": row_small,
    "random": row_random,
}


class Peers:
    """All contestants with their two workers each, started and warm."""

    def __init__(self, stack, *, needs_land):
        self.land = read_land(step=1) if needs_land else None
        self.client = stack.enter_context(dk.cluster(n_workers=N_WORKERS))
        context = multiprocessing.get_context("spawn")
        self.pool = stack.enter_context(context.Pool(N_WORKERS))
        self.joblib = stack.enter_context(Parallel(n_jobs=N_WORKERS))
        self.joblib(delayed(abs)(i) for i in range(4))
        self.pool.map(abs, range(4))
        stack.enter_context(dask.config.set(num_workers=N_WORKERS))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rows = options.rows or list(ROWS)
    needs_land = not set(rows) <= {"small", "random"}
    with contextlib.ExitStack() as stack:
        peers = Peers(stack, needs_land=needs_land)
        for name in rows:
            with warnings.catch_warnings():
                # Sending much data is what is measured.
                warnings.simplefilter("ignore", UserWarning)
                ROWS[name](peers, options.rounds, options.scale)


if __name__ == "__main__":
    main()
