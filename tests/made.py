"""Records made by hand, for tests that show or read what was measured."""

from __future__ import annotations

from daskkit.accounts import Stamp, Trace
from daskkit.comparison.result import Comparison
from daskkit.records import Host, Repeat, Run

HOST = Host(
    cores_usable=2,
    cores_present=8,
    memory_bytes=24 * 2**30,
    memory_kind="PSS",
    load=0.31,
    platform="Linux x86_64",
    versions={"python": "3.11.7", "dask": "2026.8.0"},
)


def make_trace(n_workers=2, n_batches=8, *, length=0.1, gap=0.02, lead=0.05):
    """Return a trace of even batches, dealt out to the workers in turn."""
    stamps = []
    for k in range(n_batches):
        turn, worker = divmod(k, n_workers)
        start = lead + turn * (length + gap)
        stamps.append(
            Stamp(f"w{worker}", start, start + length, 0.9 * length, 5 * k, 5, 100, 200)
        )
    wall = max((stamp.end_s for stamp in stamps), default=0.0) + lead
    return Trace(n_workers, wall, tuple(stamps))


def make_run(backend="x", walls=(1.0,) * 5, *, workers=2, **fields):
    """Return a run with these wall times."""
    repeats = tuple(Repeat(k, wall, workers * wall) for k, wall in enumerate(walls))
    fields = {"status": "ok", "start_s": 0.5, "first_s": 1.0} | fields
    return Run(backend, backend, workers, "", repeats=repeats, **fields)


def make_comparison(*runs, workload="squares", n_workers=2, n_items=40):
    """Return a comparison of the plain loop, which takes 2 s, and other runs."""
    loop = make_run("serial", (2.0,) * 5, workers=1)
    return Comparison(
        workload=workload,
        n_items=n_items,
        n_workers=n_workers,
        n_rounds=5,
        created="2026-03-01T09:05:07+00:00",
        host=HOST,
        runs=(loop, *runs),
    )
