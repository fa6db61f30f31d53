"""Workloads on which every back end has to keep the contract, wherever it runs."""

from __future__ import annotations

import dataclasses

import numpy as np

import daskkit as dk

# Back ends that take seconds to start: tests start them once for all workloads.
SLOW_STARTERS = {
    "joblib-loky", "ipyparallel", "ray", "ray-pool", "dask-processes", "dask-bag",
    "dask-delayed", "dask-futures", "joblib-dask", "daskkit",
}  # fmt: skip

# Bytes; five of them are no graph that Dask would warn of.
LARGE = 1_500_000


def square(x):
    return x * x


def square_all(items):
    return [x * x for x in items]


def lengths(items):
    return [len(item) for item in items]


def compiled_square():
    return square  # compiling is Numba's affair, not the contract's


def reciprocal(x):
    return 1 / x


def first(array):
    return float(array[0])


def join(results):
    return "".join(results)


WORKLOADS = {
    "nothing": dk.Workload(
        "nothing", square, [], vectorized=square_all, compiled=compiled_square
    ),
    # A tuple, which some libraries would spread over the arguments.
    "one item": dk.Workload(
        "one", len, [(1, 2)], vectorized=lengths, compiled=lambda: len
    ),
    "order": dk.Workload(
        "order",
        square,
        range(101),
        vectorized=square_all,
        compiled=compiled_square,
    ),
    "combine": dk.Workload(
        "combine",
        str,
        range(40),
        combine=join,
        vectorized=lambda xs: "".join(map(str, xs)),
        compiled=lambda: str,
    ),
    "combine nothing": dk.Workload(
        "none",
        str,
        [],
        combine=join,
        vectorized=lambda xs: "",
        compiled=lambda: str,
    ),
    # Large enough to be shared instead of sent.
    "large items": dk.Workload(
        "large",
        first,
        [np.full(LARGE // 8, number, float) for number in range(5)],
        vectorized=lambda xs: [first(x) for x in xs],
        compiled=lambda: first,
    ),
    "lambda": dk.Workload(
        "lambda",
        lambda x: x + 1,
        range(9),
        vectorized=lambda xs: [x + 1 for x in xs],
        compiled=lambda: lambda x: x + 1,
    ),
}
FAILING = dk.Workload(
    "division",
    reciprocal,
    [1, 2, 0, 4],
    vectorized=lambda xs: [1 / x for x in xs],
    compiled=lambda: reciprocal,
)
# For libraries that cut an array themselves.
ROWS = dk.Workload("rows", len, np.ones((5, 3)), vectorized=lengths)


class Mixed:
    """The functions of several workloads as one, for items that say whose they are."""

    def __init__(self, workloads):
        self._funcs = {workload.name: workload.func for workload in workloads}

    def __call__(self, item):
        name, inner = item
        return self._funcs[name](inner)


def mix(workloads):
    """Return a workload of no items, with which a back end starts for all of these."""
    return dk.Workload("mixed", Mixed(workloads), [])


def hand_over(backend, workload):
    """Let a back end that was started for a mix run one of its workloads.

    What takes seconds to start so starts once for all.
    """
    if hasattr(backend, "_func"):  # it keeps the function that it was started with
        workload = dataclasses.replace(
            workload,
            items=[(workload.name, item) for item in workload.items],
        )
    backend._workload = workload
