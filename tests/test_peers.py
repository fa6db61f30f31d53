"""Other libraries, each in a contestant's process: the contract, and nothing stays."""

from __future__ import annotations

import functools
import os
import pickle
import sys
from pathlib import Path

import cloudpickle
import pytest

import daskkit as dk
from daskkit.backends.registry import load_backend, names
from daskkit.comparison.contestant import Contestant, ContestantError
from daskkit.comparison.leftovers import find_processes, remove_segments
from daskkit.comparison.warden import Warden
from daskkit.samples.registry import names as sample_names
from tests.contract import FAILING, ROWS, WORKLOADS, mix

PEERS = [name for name in names() if load_backend(name).requires]
# They take seconds to start, so they start for few workloads; the samples, all given to
# them at once, show the rest.
SLOW_STARTERS = {"ipyparallel", "ray", "ray-pool", "joblib-dask"}
FEW_WORKLOADS = [WORKLOADS["nothing"], WORKLOADS["lambda"]]


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


class _Host:
    """A contestant's process to which workloads are given one by one."""

    def __init__(self, name: str, warden: Warden) -> None:
        self.name = name
        self.contestant = Contestant(warden, load_backend(name).environment)

    def start(self, workload: dk.Workload) -> None:
        self.contestant.ask("load", sys.path, cloudpickle.dumps(workload, protocol=5))
        started = self.contestant.ask("start", self.name, 2, limit_s=90)
        if "unavailable" in started:
            pytest.skip(f"{self.name}: {started['unavailable']}")
        assert isinstance(started["setting"], str)

    def run(self) -> object:
        return pickle.loads(self.contestant.ask("run", limit_s=90)[1])

    def stop(self) -> None:
        self.contestant.ask("stop", limit_s=30)


@pytest.fixture(params=PEERS)
def host(request):
    """Yield each peer in turn, in a process of its own, and check what it leaves."""
    reason = load_backend(request.param).unavailable(WORKLOADS["order"])
    if reason is not None:
        pytest.skip(f"{request.param}: {reason}")
    with Warden() as warden:
        found = _Host(request.param, warden)
        try:
            yield found
            leftovers = found.contestant.close()
        finally:
            found.contestant.close(at_once=True)
        assert leftovers is None
    assert not Path(warden.folder).exists()
    assert find_processes(warden.folder, {}) == []
    left = remove_segments(found.contestant._segments, found.contestant._pids, 0.0)
    assert left == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_peers_keep_the_contract(host):
    """Order, tuples, no items, one item, lambdas, combine; an item's error; two stops."""
    few = host.name in SLOW_STARTERS
    for workload in FEW_WORKLOADS if few else [*WORKLOADS.values(), ROWS]:
        if load_backend(host.name).unavailable(workload) is not None:
            continue  # rows have no compiled form
        host.start(workload)
        for _ in range(2):
            dk.check_equal(host.run(), workload.loop())
        assert host.name == "numba" or "3" in host.contestant.ask("set_chunksize", "3")
        dk.check_equal(host.run(), workload.loop())
        host.stop()
    host.start(FAILING)
    with pytest.raises(ContestantError, match="ZeroDivisionError"):
        host.run()
    host.stop()
    host.stop()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_peers_give_a_checked_result_on_every_sample(host):
    """On real data the answers are the loop's, also after a freeze between two runs."""
    backend = load_backend(host.name)
    samples = [dk.sample(name) for name in sample_names()]
    samples = [sample for sample in samples if backend.unavailable(sample) is None]
    given = [mix(samples)] if host.name in SLOW_STARTERS else samples
    for workload in given:
        host.start(workload)
        answers = [host.run()]
        host.contestant.freeze()
        host.contestant.thaw()
        answers.append(host.run())
        host.stop()
        for answer in answers:
            for sample, part in _unmix(answer, samples, workload):
                (sample.check or dk.check_equal)(part, _loop(sample.name))


def _unmix(answer, samples, workload):
    """Yield each sample with its answer, of a mixed workload or of its own."""
    if any(workload is sample for sample in samples):
        yield workload, answer
        return
    start = 0
    for sample in samples:
        stop = start + len(sample.items)
        yield sample, sample.finish(answer[start:stop])
        start = stop


@functools.cache
def _loop(name):
    return dk.sample(name).loop()


def test_the_environment_is_the_peers_own():
    """What a peer needs is set for its process only, and names its private folder."""
    before = dict(os.environ)
    with Warden() as warden:
        contestant = Contestant(warden, {"SOME_FOLDER": "{folder}/x"})
        try:
            folder = Path(warden.folder, "1")
            environment = Path(f"/proc/{contestant._process.pid}/environ").read_bytes()
            variables = environment.decode().split("\0")
            assert {f"SOME_FOLDER={folder}/x", f"TMPDIR={folder}"} <= set(variables)
        finally:
            contestant.close(at_once=True)
        assert not folder.exists()
    assert dict(os.environ) == before


def test_folders_leave_room_for_sockets(monkeypatch, tmp_path):
    """A long temporary folder is no place for Unix sockets: a short one is made."""
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with Warden() as warden:
        assert len(warden.folder) <= 34
        assert Path(warden.folder).stat().st_mode & 0o777 == 0o700
    assert not Path(warden.folder).exists()
    assert list(long.iterdir()) == []
