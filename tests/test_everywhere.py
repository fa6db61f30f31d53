"""Every back end, in a contestant's process: right on the samples, and accounted for.

Most rows of ``--backend all`` start once for all samples. Their answers are checked
against the plain loop, their ledgers are summed up, and what they leave behind is looked
for.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pickle
import sys
from pathlib import Path

import cloudpickle
import pytest

import daskkit as dk
from daskkit.backends.registry import GROUPS, load_backend, parse_spec
from daskkit.comparison.contestant import Contestant, ContestantError
from daskkit.comparison.ledger import make_ledger
from daskkit.comparison.leftovers import find_processes, remove_segments
from daskkit.comparison.warden import Warden
from daskkit.errors import WorkloadError
from daskkit.samples.registry import names as sample_names
from tests.contract import FAILING, ROWS, SLOW_STARTERS, WORKLOADS
from tests.one_start import OneStart

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # One process makes the samples, which takes seconds, and their answers.
    pytest.mark.xdist_group("everywhere"),
]

# What takes longest comes first.
SPECS = sorted(
    GROUPS["all"], key=lambda spec: parse_spec(spec).name not in SLOW_STARTERS
)
# These start anew for each workload, as in a comparison: one that is quick at it, one
# that has processes, and one that compiles a workload's function when it starts.
RESTARTED = {"serial", "multiprocessing", "numba"}
N_WORKERS = 2
# Enough for several chunks a worker, of two items but for the last one.
N_ITEMS = 9
FEWER = {"sweep": 4}
# What takes each process seconds of a core to import is for the rows that it is about.
ROWS_OF = {"sweep": {"serial", "multiprocessing", "joblib-dask", "daskkit"}}
# What takes forks a second to import, each of them with each start.
IMPORTED = {"sweep": ["sklearn.linear_model", "sklearn.model_selection"]}
LIMIT_S = 90


@pytest.fixture(autouse=True)
def _nothing_at_home(_private_temporary_folder):
    """Fail a test that leaves something in the home folder."""
    before = _list_homes()
    yield
    assert _list_homes() - before == set()


def _list_homes() -> set[str]:
    home = Path.home()
    folders = [home, *(home / name for name in (".cache", ".config", ".local/share"))]
    return {str(path) for folder in folders for path in folder.glob("*")}


@functools.cache
def _samples():
    """Return some items of each sample that can be had here, with the loop's answer."""
    found = {}
    for name in sample_names():
        try:
            sample = dk.sample(name)
        except WorkloadError:
            continue  # its data or library isn't installed
        sample = dataclasses.replace(
            sample, items=sample.items[: FEWER.get(name, N_ITEMS)]
        )
        found[name] = sample, sample.loop()
    return found


class _Restarted:
    """A row that starts anew for each workload."""

    contestant_type = Contestant

    def __init__(self, spec, contestant, workloads):
        del workloads
        self._spec, self.ask = spec, contestant.ask

    def start(self, workload):
        """Start the back end for a workload."""
        for name in IMPORTED.get(workload.name, ()):
            module = cloudpickle.dumps(sys.modules[name], protocol=5)
            self.ask("load", sys.path, module)
        self.ask("load", sys.path, cloudpickle.dumps(workload, protocol=5))
        started = self.ask("start", self._spec, N_WORKERS, limit_s=LIMIT_S)
        assert isinstance(started["setting"], str)

    def run(self):
        """Return its answer."""
        return pickle.loads(self.ask("run", limit_s=LIMIT_S)[1])

    def trace(self):
        """Return the traces of two executions with stamps, after another start."""
        return self.ask("trace", self._spec, N_WORKERS, limit_s=LIMIT_S)

    def stop(self):
        """Stop the back end."""
        self.ask("stop", limit_s=LIMIT_S)


class _StartedOnce:
    """A row that is handed one workload after the other."""

    contestant_type = OneStart

    def __init__(self, spec, contestant, workloads):
        self.ask = contestant.ask
        self.ask("load", sys.path, cloudpickle.dumps(workloads, protocol=5))
        self.ask("start", spec, N_WORKERS, limit_s=LIMIT_S)

    def start(self, workload):
        """Hand over a workload."""
        assert isinstance(self.ask("hand_over", workload.name), str)

    def run(self):
        """Return its answer."""
        return pickle.loads(self.ask("run", limit_s=LIMIT_S)[1])

    def trace(self):
        """Return the trace of an execution with stamps, the first after the start."""
        return [self.ask("trace", limit_s=LIMIT_S)]

    def stop(self):
        """Go on: it stops when all is done."""


@pytest.mark.parametrize("spec", SPECS)
def test_every_row_is_right_and_accounted_for(spec):
    """Answers are the loop's, ledgers sum to workers x wall, and nothing is left."""
    name = parse_spec(spec).name
    backend = load_backend(name)
    reason = backend.unavailable(WORKLOADS["order"])
    if reason is not None:
        pytest.skip(f"{spec}: {reason}")
    host_type = _Restarted if name in RESTARTED else _StartedOnce
    samples = [
        pair
        for sample, pair in _samples().items()
        if name in ROWS_OF.get(sample, {name}) and not backend.unavailable(pair[0])
    ]
    peers = [*WORKLOADS.values(), ROWS, FAILING] if backend.requires else []
    with Warden() as warden:
        contestant = host_type.contestant_type(warden, backend.environment)
        try:
            host = host_type(spec, contestant, [*(one for one, _ in samples), *peers])
            for sample, expected in samples:
                check_sample(host, sample, expected)
            contestant.freeze()
            contestant.thaw()
            if peers:
                check_contract(host, backend)
            contestant.ask("stop", limit_s=LIMIT_S)
            leftovers = contestant.close()
        finally:
            contestant.close(at_once=True)
    assert leftovers is None
    assert not Path(warden.folder).exists()
    assert find_processes(warden.folder, {}) == []
    assert remove_segments(contestant._segments, contestant._pids, 0.0) == []


def check_sample(host, sample, expected):
    """Assert that an answer is right, and that ledgers sum up."""
    host.start(sample)
    (sample.check or dk.check_equal)(host.run(), expected)
    traces = host.trace()
    host.stop()
    for trace in traces:
        ledger = make_ledger(trace)
        parts = ledger.parts()
        assert math.fsum(parts.values()) == pytest.approx(ledger.whole_s, rel=0.01)
        assert ledger.whole_s == pytest.approx(trace.n_workers * trace.wall_s)
        assert ledger.compute_s > 0
        # Each item once.
        assert sum(stamp.n_items for stamp in trace.stamps) == len(sample.items)


def check_contract(host, backend):
    """Assert order, tuples, no items, one item, combine; an item's own error."""
    for workload in [*WORKLOADS.values(), ROWS]:
        if backend.unavailable(workload) is not None:
            continue  # rows have no compiled form
        host.start(workload)
        for _ in range(2):
            dk.check_equal(host.run(), workload.loop())
        assert backend.name == "numba" or "3" in host.ask("set_chunksize", "3")
        dk.check_equal(host.run(), workload.loop())
        host.stop()
    host.start(FAILING)
    with pytest.raises(ContestantError, match="ZeroDivisionError"):
        host.run()
    host.stop()
