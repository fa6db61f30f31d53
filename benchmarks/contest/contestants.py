"""The contestants: contexts that yield a parallel `map`.

They import what they need within, as that is part of their cold start.
"""

from __future__ import annotations

import contextlib
import importlib.util

N_WORKERS = 2
LOOP, OURS = "plain loop", "daskkit"


@contextlib.contextmanager
def open_loop():
    yield lambda func, items: [func(item) for item in items]


@contextlib.contextmanager
def open_threads():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(N_WORKERS) as executor:
        yield lambda func, items: list(executor.map(func, items))


@contextlib.contextmanager
def open_pool():
    import multiprocessing

    with multiprocessing.Pool(N_WORKERS) as pool:
        yield pool.map


@contextlib.contextmanager
def open_executor():
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(N_WORKERS) as executor:

        def run(func, items):
            chunksize = -(-len(items) // (4 * N_WORKERS))  # as Pool.map has it
            return list(executor.map(func, items, chunksize=chunksize))

        yield run


@contextlib.contextmanager
def open_joblib():
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    with Parallel(n_jobs=N_WORKERS) as parallel:
        yield lambda func, items: parallel(delayed(func)(item) for item in items)
    get_reusable_executor().shutdown()


@contextlib.contextmanager
def open_mpire():
    from mpire import WorkerPool
    from mpire.utils import make_single_arguments

    with WorkerPool(N_WORKERS, keep_alive=True) as pool:

        def run(func, items):
            # Otherwise tuples and dicts are unpacked, and arrays joined to one.
            single = make_single_arguments(items, generator=False)
            return pool.map(func, single, concatenate_numpy_output=False)

        yield run


@contextlib.contextmanager
def open_raw_dask():
    """Yield a client of a plain cluster, current while the context is open."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=N_WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def open_bag():
    import dask.bag as db

    with open_raw_dask() as client:

        def run(func, items):
            bag = db.from_sequence(items, npartitions=4 * N_WORKERS).map(func)
            return bag.compute(scheduler=client)

        yield run


@contextlib.contextmanager
def open_bag_processes():
    import dask.bag as db

    def run(func, items):
        bag = db.from_sequence(items, npartitions=4 * N_WORKERS).map(func)
        return bag.compute(scheduler="processes", num_workers=N_WORKERS)

    yield run


@contextlib.contextmanager
def open_client_map():
    with open_raw_dask() as client:
        yield lambda func, items: client.gather(client.map(func, items, pure=False))


@contextlib.contextmanager
def open_daskkit():
    """Yield dk.map on daskkit's own cluster, the default client."""
    import daskkit as dk

    with dk.cluster(n_workers=N_WORKERS):
        yield dk.map


@contextlib.contextmanager
def open_daskkit_alone():
    """Yield dk.map with no cluster open: it chooses by itself."""
    import daskkit as dk

    yield dk.map


WARM = {
    LOOP: open_loop,
    "ThreadPoolExecutor": open_threads,
    "multiprocessing.Pool": open_pool,
    "ProcessPoolExecutor": open_executor,
    "joblib": open_joblib,
    "mpire": open_mpire,
    "dask.bag": open_bag,
    "Client.map": open_client_map,
    OURS: open_daskkit,
}
COLD = {
    LOOP: open_loop,
    "multiprocessing.Pool": open_pool,
    "ProcessPoolExecutor": open_executor,
    "joblib": open_joblib,
    "mpire": open_mpire,
    "dask.bag": open_bag_processes,
    "Client.map": open_client_map,
    OURS: open_daskkit_alone,
}
NEEDS = {"joblib": "joblib", "mpire": "mpire"}


def is_missing(name):
    return name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None
