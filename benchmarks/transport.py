"""How fast and how small is daskkit's transport? Ratios against all peers.

    python benchmarks/transport.py [ROW ...] [--rounds N] [--scale F]

Two warm workers for everyone; the contestants of a row take turns within each round;
the figures are ratios of medians of that one run. Each result is checked. Rows: bag,
broadcast, attach, memory, results, closure, threshold; all without an argument.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib.util
import multiprocessing
import os
import random
import statistics
import time
import warnings

import dask.bag as db
import numpy as np
from contest.memory import tree_pss, watch_peak
from distributed import Client, LocalCluster

from daskkit.transport import auto, parcel
from daskkit.transport.bag import wrap_bag
from daskkit.transport.shared import share

MB = 10**6


# What the workers execute.


def increment(x):
    return x + 1


def make_8mb(i):
    return np.full(MB, float(i))


def make_8mb_packed(i, home):
    return auto.pack(np.full(MB, float(i)), home=home)


def total(array):
    return float(array.sum())


def total_of_handle(handle):
    return float(handle.get().sum())


def total_with(array, i):
    return float(array.sum()) + i


def call_packed(packed, i):
    return auto.unpack_once(packed)(i)


def time_attach(handle):
    started = time.perf_counter()
    handle.get()
    return time.perf_counter() - started


def hold(handle, key):
    array = handle.get() if hasattr(handle, "get") else handle
    globals().setdefault("_held", {})[key] = array
    return float(array.sum())


def let_go():
    globals().pop("_held", None)


def make_bytes(n, home):
    return auto.pack([np.ones(n, np.uint8)], home=home)


def use_bytes(packed):
    return int(auto.unpack(packed)[0][::4096].sum())


def set_threshold(n_bytes):
    auto.SHARE_FROM = n_bytes
    parcel.MAP_FROM = min(n_bytes, 2**18)


# Measuring.


def take_turns(contestants, n_rounds, before=lambda: None):
    """Return the wall times in seconds of each contestant, by name."""
    walls = {name: [] for name in contestants}
    for _ in range(n_rounds):
        for name in random.sample(list(contestants), len(contestants)):
            argument = before()
            gc.collect()
            started = time.perf_counter()
            kept = (
                contestants[name]() if argument is None else contestants[name](argument)
            )
            walls[name].append(time.perf_counter() - started)
            del kept, argument
    return walls


def show(title, walls, ours="daskkit"):
    """Print a row: how many times faster ours is than each other."""
    mine = statistics.median(walls[ours])
    print(f"\n{title}")
    print(f"  {ours:28s} 1.00   ({mine * 1e3:,.1f} ms, median of {len(walls[ours])})")
    for name, values in walls.items():
        if name != ours:
            print(f"  {name:28s} {statistics.median(values) / mine:.2f} times as long")
    for name in ("ray", "joblib", "mpire"):
        if importlib.util.find_spec(name) is None:
            print(f"  {name:28s} not installed")


def check(condition, what):
    if not condition:
        msg = f"wrong result: {what}"
        raise AssertionError(msg)


# The rows.


def row_bag(_, n_rounds, scale):
    n = int(100_000 * scale)
    expected = list(range(1, n + 1))
    ours = wrap_bag(db.from_sequence(range(n), npartitions=8)).map(increment)
    plain = db.from_sequence(range(n)).map(increment)
    same = db.from_sequence(range(n), npartitions=8).map(increment)
    walls = take_turns(
        {
            "daskkit": lambda: check(ours.compute() == expected, "bag"),
            "dask.bag": lambda: check(plain.compute() == expected, "bag"),
            "dask.bag, 8 partitions": lambda: check(same.compute() == expected, "bag"),
        },
        min(n_rounds, 3),
    )
    show(f"bag of {n:,} ints, trivial map, compute()", walls)


def row_broadcast(peers, n_rounds, scale):
    n = int(100 * MB * scale)
    client, workers = peers.client, list(peers.client.nthreads())

    def by_share(array):
        with share(array) as handle:
            futures = [
                client.submit(total_of_handle, handle, pure=False, workers=[w])
                for w in workers
            ]
            check(client.gather(futures) == [n, n], "share")

    def by_scatter(array):
        future = client.scatter(array, broadcast=True, hash=False)
        futures = [
            client.submit(total, future, pure=False, workers=[w]) for w in workers
        ]
        check(client.gather(futures) == [n, n], "scatter")

    contestants = {"daskkit": by_share, "Client.scatter(broadcast)": by_scatter}
    if peers.joblib:
        from joblib import delayed

        contestants["joblib, memory-mapped"] = lambda array: check(
            peers.joblib(delayed(total)(array) for _ in workers) == [n, n], "joblib"
        )
    walls = take_turns(contestants, n_rounds, before=lambda: np.ones(n))
    show(f"{n * 8 / MB:,.0f} MB array to both workers, one pass over it", walls)


def row_attach(peers, n_rounds, scale):
    for n_mb in (1, 80, int(800 * scale)):
        handle = share(np.ones(n_mb * MB // 8))
        times = [
            peers.client.submit(time_attach, handle, pure=False).result()
            for _ in range(5 * n_rounds)
        ]
        handle.close()
        median = statistics.median(times)
        print(f"\nattach {n_mb} MB in a worker: {median * 1e3:.3f} ms (at most 1)")


def row_memory(peers, _, scale):
    n = int(500 * MB * scale) // 8
    client, workers = peers.client, list(peers.client.nthreads())
    array = np.ones(n)
    gc.collect()
    before = tree_pss()
    with share(array) as handle:
        futures = [
            client.submit(hold, handle, i, pure=False, workers=[w])
            for i, w in enumerate(workers)
        ]
        client.gather(futures)
        during = tree_pss()
        client.run(let_go)
    copies = (during - before) / array.nbytes
    print(
        f"\ntotal PSS while 2 workers read one shared {array.nbytes / MB:,.0f} MB "
        f"array: {copies:.2f} copies more than the caller's own (at most 1.1)"
    )


def row_results(peers, n_rounds, scale):
    n = int(40 * scale)
    expected = [float(i) for i in range(n)]
    client = peers.client
    bag = wrap_bag(db.from_sequence(range(n), npartitions=n)).map(make_8mb)
    home = auto.pack(0).place

    def by_pack():
        futures = client.map(make_8mb_packed, range(n), home=home, pure=False)
        return [auto.unpack(packed, last=True) for packed in client.gather(futures)]

    def checked(results):
        check([array[::4096].mean() for array in results] == expected, "results")

    contestants = {
        "daskkit": lambda: checked(by_pack()),
        "daskkit, as a bag": lambda: checked(bag.compute()),
        "Client.map and gather": lambda: checked(
            client.gather(client.map(make_8mb, range(n), pure=False))
        ),
        "multiprocessing.Pool": lambda: checked(peers.pool.map(make_8mb, range(n))),
    }
    if peers.joblib:
        from joblib import delayed

        contestants["joblib"] = lambda: checked(
            peers.joblib(delayed(make_8mb)(i) for i in range(n))
        )
    if peers.mpire:
        contestants["mpire"] = lambda: checked(
            peers.mpire.map(make_8mb, range(n), concatenate_numpy_output=False)
        )
    show(f"{n} results of 8 MB", take_turns(contestants, n_rounds))


def row_closure(peers, n_rounds, scale):
    n = int(500 * MB * scale) // 8
    client = peers.client
    expected = [float(n + i) for i in range(8)]

    def by_pack(array):
        with auto.Packer().pack(lambda i: total_with(array, i)) as packed:
            futures = [
                client.submit(call_packed, packed, i, pure=False) for i in range(8)
            ]
            check(client.gather(futures) == expected, "closure")

    contestants = {
        "daskkit": by_pack,
        "multiprocessing.Pool": lambda array: check(
            peers.pool.map(functools.partial(total_with, array), range(8)) == expected,
            "pool",
        ),
    }
    if peers.joblib:
        from joblib import delayed

        contestants["joblib, as an argument"] = lambda array: check(
            peers.joblib(delayed(total_with)(array, i) for i in range(8)) == expected,
            "joblib",
        )
    if peers.mpire:
        contestants["mpire"] = lambda array: check(
            peers.mpire.map(functools.partial(total_with, array), range(8)) == expected,
            "mpire",
        )
    walls = take_turns(contestants, n_rounds, before=lambda: np.ones(n))
    show(f"{n * 8 / MB:,.0f} MB array captured in a closure, 8 items", walls)
    array = np.ones(n)
    gc.collect()
    before = tree_pss()
    with watch_peak() as peak:
        by_pack(array)
    copies = (peak[0] - before) / array.nbytes
    print(f"  peak PSS: {copies:.2f} copies more than the caller's own (at most 2)")


def row_threshold(peers, n_rounds, _):
    client, here = peers.client, auto.pack(0).place
    print("\ntime by shared memory / time by socket, one object there or back")
    normal = auto.SHARE_FROM
    for kib in (64, 128, 256, 512, 1024, 2048, 8192):
        n = kib * 1024
        walls = {(way, route): [] for way in ("result", "argument") for route in (0, 1)}
        for _ in range(8 * n_rounds):
            for route in random.sample((0, 1), 2):
                home = here if route else here._replace(machine="elsewhere")
                started = time.perf_counter()
                packed = client.submit(make_bytes, n, home, pure=False).result()
                (array,) = auto.unpack(packed, last=True)
                check(array[::512].sum() == n // 512, "result")
                walls["result", route].append(time.perf_counter() - started)
                array = np.ones(n, np.uint8)
                started = time.perf_counter()
                packed = auto.pack([array], home=home)
                future = client.submit(use_bytes, packed, pure=False)
                check(future.result() == n // 4096, "argument")
                walls["argument", route].append(time.perf_counter() - started)
                packed.close()
        ratios = [
            statistics.median(walls[way, 1]) / statistics.median(walls[way, 0])
            for way in ("result", "argument")
        ]
        print(f"  {kib:5d} KiB: result {ratios[0]:.2f}, argument {ratios[1]:.2f}")
    client.run(set_threshold, normal)
    set_threshold(normal)


ROWS = {
    "bag": row_bag,
    "broadcast": row_broadcast,
    "attach": row_attach,
    "memory": row_memory,
    "results": row_results,
    "closure": row_closure,
    "threshold": row_threshold,
}


class Peers:
    """All contestants with their two workers each, started and warm."""

    def __init__(self, stack):
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        )
        self.client = stack.enter_context(Client(stack.enter_context(cluster)))
        context = multiprocessing.get_context("spawn")
        self.pool = stack.enter_context(context.Pool(2))
        self.joblib = self.mpire = None
        if importlib.util.find_spec("joblib"):
            from joblib import Parallel

            self.joblib = stack.enter_context(Parallel(n_jobs=2))
            from joblib import delayed

            self.joblib(delayed(increment)(i) for i in range(4))
        if importlib.util.find_spec("mpire"):
            from mpire import WorkerPool

            self.mpire = stack.enter_context(WorkerPool(2, keep_alive=True))
            self.mpire.map(increment, range(4))
        self.pool.map(increment, range(4))
        self.client.gather(self.client.map(increment, range(4)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], default=[])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with contextlib.ExitStack() as stack:
        peers = Peers(stack)
        for name in options.rows or ROWS:
            with warnings.catch_warnings():
                # Scattering or sending much data is what is measured.
                warnings.simplefilter("ignore", UserWarning)
                ROWS[name](peers, options.rounds, options.scale)


if __name__ == "__main__":
    main()
