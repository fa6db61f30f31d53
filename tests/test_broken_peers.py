"""No peer's fault ends a comparison, harms another row or outlives it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import daskkit as dk
from daskkit.backends import registry
from daskkit.comparison import match
from tests import broken

# The rows are made once, so one process runs all tests on them.
pytestmark = pytest.mark.xdist_group("broken-peers")
FINE = ("threads", "futures")


@pytest.fixture(scope="module")
def rows(_private_temporary_folder):
    """Compare all that is broken with what is not, once, and return the rows."""
    with pytest.MonkeyPatch.context() as patch:
        for name, path in broken.CLASSES.items():
            patch.setitem(registry._CLASSES, name, path)
        patch.setattr(match, "_LIMIT_S", 3.0)
        patch.setattr("daskkit.comparison.contestant._STOP_S", 1.0)
        work = dk.Workload("double", broken.double, range(5))
        backends = [FINE[0], *broken.CLASSES, FINE[1]]
        segments = _segments()
        comparison = dk.compare(work, backends=backends, n_workers=2, repeats=5)
        left = _segments() - segments
    assert not left
    return {run.backend: run for run in comparison.runs}, comparison.verdict()


def _segments():
    # The names that multiprocessing.shared_memory gives.
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", FINE)
def test_the_rest_is_unharmed(rows, name):
    """Those that work have all of their repeats, whoever failed before or after them."""
    run = rows[0][name]
    assert (run.status, run.error, run.leftovers) == ("ok", None, None)
    assert [repeat.round for repeat in run.repeats] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("hangs-at-start", "failed", "gave no answer to 'start' within 3 s and was"),
        ("hangs", "failed", "gave no answer to 'run' within 3 s and was ended"),
        ("dies", "failed", "its process was ended by signal SIGKILL"),
        ("dies-later", "failed", "its process exited with code 3"),
        ("wrong", "wrong", "result[4] is -1, the plain loop's is 8"),
        (
            "lacks-library",
            "unavailable",
            "no_such_module is not installed; pip install 'nosuch>=2'",
        ),
    ],
)
def test_a_broken_peer_is_reported_as_such(rows, name, status, error):
    """Its row says what happened, in one line, and shows no time."""
    run = rows[0][name]
    assert run.status == status
    assert run.error.startswith(error)
    assert "\n" not in run.error
    assert run.repeats == ()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("leaks", "time.sleep(600)"),
        ("hangs-at-stop", "gave no answer to 'stop' within 1 s and was ended"),
    ],
)
def test_what_is_left_is_told(rows, name, words):
    """Its times count, since they were checked; the verdict says what it left."""
    run = rows[0][name]
    assert run.status == "ok"
    assert len(run.repeats) == 5
    assert words in run.leftovers
    assert f"{name} did not end cleanly, what it left was removed: " in rows[1]


def test_nothing_of_them_lives_on(rows):
    """Children in sessions of their own, with any environment, have been ended."""
    assert rows
    alive = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"time.sleep(600)" in _read(path) and _parent_is_gone(path)
    ]
    assert alive == []


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parent_is_gone(path):
    """Return whether a process was adopted, by init or by the test's process."""
    stat = _read(path.with_name("stat")).rpartition(b") ")[2].split()
    return bool(stat) and int(stat[1]) in {1, os.getpid()}
