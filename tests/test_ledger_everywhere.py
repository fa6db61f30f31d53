"""The ledger of every back end on every sample sums to workers x wall.

Clusters and peers take seconds to start; so each of them gets a sample of its own, and
those that start at once get all.
"""

from __future__ import annotations

import dataclasses
import math

import pytest

from daskkit.backends.registry import load_backend, names, parse_spec
from daskkit.comparison.ledger import make_ledger
from daskkit.comparison.runner import _Runner
from daskkit.errors import WorkloadError
from daskkit.samples import registry as samples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUICK = ("serial", "numpy", "numpy-threads", "threads", "dask-threads")
# In processes of their own only: they leave threads and connections behind in this one.
APART = ("ray", "ray-pool", "ipyparallel", "mpire", "joblib-loky", "joblib-dask")
SLOW = tuple(name for name in names() if name not in QUICK + APART)
PAIRS = [(sample, QUICK) for sample in samples.names()]
PAIRS += [
    (samples.names()[k % len(samples.names())], (backend,))
    for k, backend in enumerate(SLOW)
]


def check_ledgers(runner, backend, n_items):
    """Assert that the parts of both executions sum up, and that all was stamped."""
    try:
        traces = runner.trace(backend, 2)
    finally:
        runner.stop()
    for trace in traces:
        ledger = make_ledger(trace)
        parts = ledger.parts()
        assert math.fsum(parts.values()) == pytest.approx(ledger.whole_s, rel=0.01)
        assert ledger.whole_s == pytest.approx(trace.n_workers * trace.wall_s)
        assert ledger.compute_s > 0
        assert sum(stamp.n_items for stamp in trace.stamps) == n_items


@pytest.mark.parametrize(("sample", "backends"), PAIRS)
def test_parts_sum_to_the_whole(sample, backends):
    """Within 1 per cent, cold and warm; each item is stamped once in each."""
    try:
        workload = samples.make_workload(sample, "small")
    except WorkloadError as error:
        pytest.skip(str(error))
    # Few items will do.
    workload = dataclasses.replace(workload, items=workload.items[:4])
    runner = _Runner()
    runner._workload = workload
    n_checked = 0
    for backend in backends:
        reason = load_backend(parse_spec(backend).name).unavailable(workload)
        if reason is None:
            check_ledgers(runner, backend, len(workload.items))
            n_checked += 1
    if not n_checked:
        pytest.skip(f"{backends[0]} can't run {sample} here")
