"""The doctor: facts in, findings out; and a look at this machine."""

import collections
import errno
import importlib.util
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import dask.config
import psutil
import pytest

from daskkit import doctor
from daskkit.doctor import (
    OPTIONAL,
    Finding,
    examine,
    judge_blas,
    judge_cores,
    judge_load,
    judge_loopback,
    judge_memory,
    judge_packages,
    judge_shared_memory,
    judge_start_method,
    judge_temporary,
    judge_versions,
)
from daskkit.testing import LeakWatch
from daskkit.transport.contact import running_clients

MIB, GIB = 2**20, 2**30
ROOT = Path(__file__).parents[1]
SUBJECTS = (
    *("cores", "memory", "BLAS threads", "start method", "versions", "loopback"),
    *("shared memory", "temporary files", "load", "extra 'peers'", "extra 'data'"),
)


def check(finding, mark, *texts):
    """Check a finding's form, and that it says what is expected."""
    assert finding.mark == mark, finding
    assert (finding.advice == "") == (mark == "ok"), finding
    for text in (finding.subject, finding.message, finding.advice):
        assert "\n" not in text
    assert finding.message
    for text in texts:
        assert text in f"{finding.message} {finding.advice}"


@pytest.mark.parametrize(
    ("facts", "mark", "text"),
    [
        ((8, 8, 8, 8), "ok", "8 of 8 cores usable"),
        ((8, 8, 8, None), "ok", "8 of 8 cores usable"),
        ((8, 8, 8, 4), "note", "hardware threads of 4 physical cores"),
        ((2, 8, 8, 8), "note", "quota"),
        ((2, 2, 8, 8), "note", "affinity"),
        ((2, 4, 8, 8), "note", "quota"),
        ((1, 1, 1, 1), "note", "1 of 1 core usable"),
        ((2, 2, 2, 1), "note", "1 physical core"),
    ],
)
def test_cores(facts, mark, text):
    """Fewer cores than the machine has are noted with what withholds them."""
    check(judge_cores(*facts), mark, text)


@pytest.mark.parametrize(
    ("facts", "mark", "texts"),
    [
        ((8 * GIB, 8 * GIB, 6 * GIB, 4), "ok", ["8.00 GiB; 6.00 GiB available"]),
        ((2 * GIB, 8 * GIB, 6 * GIB, 2), "ok", ["limited from 8.00 GiB", "2.00 GiB a"]),
        ((8 * GIB, 8 * GIB, GIB // 2, 4), "note", ["512 MiB available", "end what"]),
        ((3 * GIB, 3 * GIB, 2 * GIB, 6), "note", ["512 MiB", "`--n-workers 3`"]),
        ((GIB // 2, 8 * GIB, 6 * GIB, 2), "note", ["256 MiB", "`--n-workers 1`"]),
    ],
)
def test_memory(facts, mark, texts):
    """Memory that is taken, or little for each worker, is noted with a way out."""
    check(judge_memory(*facts), mark, *texts)


@pytest.mark.parametrize(
    ("libraries", "variables", "mark", "texts"),
    [
        ({"openblas 0.3": 4}, {}, "ok", ["openblas 0.3 with 4 threads"]),
        ({"mkl": 1, "openmp": 4}, {}, "ok", ["mkl with 1 thread, openmp with 4"]),
        ({"mkl": 4}, {"MKL_NUM_THREADS": "4"}, "ok", ["mkl with 4 threads"]),
        (
            {"openblas": 1},
            {"OMP_NUM_THREADS": "1"},
            "note",
            ["the environment has OMP_NUM_THREADS=1", "unset OMP_NUM_THREADS"],
        ),
        ({"openblas": 4}, {"MKL_NUM_THREADS": "many"}, "note", ["unset MKL_NUM"]),
        ({"openblas": 64}, {}, "note", ["4 usable cores", "OMP_NUM_THREADS=4"]),
        ({}, {}, "note", ["no library"]),
    ],
)
def test_blas(libraries, variables, mark, texts):
    """More threads than cores, and limits in the environment, are noted."""
    check(judge_blas(libraries, variables, usable=4), mark, *texts)


@pytest.mark.parametrize(
    ("method", "mark"), [("fork", "ok"), ("spawn", "note"), ("forkserver", "note")]
)
def test_start_method(method, mark):
    """The start method is named; those that import again are noted."""
    check(judge_start_method(method), mark, method)


def test_versions():
    """All versions are listed; Dask and distributed have to be of one release."""
    same = {"python": "3.12.1", "dask": "2026.8.0", "distributed": "2026.8.0"}
    check(judge_versions(same), "ok", "python 3.12.1", "dask 2026.8.0")
    check(judge_versions({**same, "dask": "2026.9.0"}), "problem", "pip install")


def test_loopback():
    """Without a port on the loopback interface no cluster can start."""
    check(judge_loopback(None), "ok", "127.0.0.1")
    refused = PermissionError(errno.EPERM, "Operation not permitted")
    check(judge_loopback(refused), "problem", "Operation not permitted", "threads")
    check(judge_loopback(TimeoutError("timed out")), "problem", "timed out")


@pytest.mark.parametrize(
    ("facts", "mark", "text"),
    [
        ((True, True, 8 * GIB, 8 * GIB), "ok", "8.00 GiB free"),
        ((True, True, 64 * MIB, 64 * MIB), "note", "--shm-size"),
        ((True, True, 8 * GIB, 10 * MIB), "note", "10.0 MiB free"),
        ((True, False, 8 * GIB, 8 * GIB), "problem", "locks"),
        ((False, False, 0, 0), "ok", "no /dev/shm"),
    ],
)
def test_shared_memory(facts, mark, text):
    """A small, full or closed /dev/shm is told with what suffers; none is fine."""
    names = ("exists", "writable", "total_bytes", "free_bytes")
    check(judge_shared_memory(**dict(zip(names, facts, strict=True))), mark, text)


@pytest.mark.parametrize(
    ("error", "free_bytes", "in_memory", "mark", "text"),
    [
        (None, 80 * GIB, False, "ok", "80.0 GiB free in /scratch"),
        (None, 80 * GIB, True, "note", "which is in memory"),
        (None, 1 * GIB, False, "note", "make room"),
        (OSError(errno.EROFS, "Read-only"), 0, False, "problem", "Read-only"),
        (FileNotFoundError("none usable"), 0, False, "problem", "none usable"),
    ],
)
def test_temporary(error, free_bytes, in_memory, mark, text):
    """A folder that is full, in memory or closed is told with another choice."""
    finding = judge_temporary("/scratch", error, free_bytes, in_memory=in_memory)
    check(finding, mark, text)


@pytest.mark.parametrize(
    ("load", "mark"), [(0.0, "ok"), (2.0, "ok"), (2.1, "note"), (float("nan"), "ok")]
)
def test_load(load, mark):
    """A load above a quarter of the cores is noted: times will vary."""
    check(judge_load(load, present=8), mark)


@pytest.mark.parametrize("extra", OPTIONAL)
def test_packages(extra):
    """Missing packages are named with the extra that brings them."""
    modules, purpose = OPTIONAL[extra]
    check(judge_packages(extra, []), "ok", *modules, purpose)
    missing = judge_packages(extra, modules[:1])
    check(missing, "note", modules[0], purpose, f"pip install 'daskkit[{extra}]'")
    assert modules[1] not in missing.message


@pytest.mark.parametrize("extra", OPTIONAL)
def test_extras_are_those_of_the_project(extra):
    """The doctor looks for the packages that pyproject.toml lists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["optional-dependencies"][extra]
    names = {re.split("[<>=]", line)[0].replace("-", "_") for line in listed}
    assert set(OPTIONAL[extra][0]) == names


# --- This machine ---------------------------------------------------------------


def test_examine():
    """Each subject is found once, in a fixed order, and told in single lines."""
    findings = examine()
    assert tuple(finding.subject for finding in findings) == SUBJECTS
    for finding in findings:
        assert isinstance(finding, Finding)
        check(finding, finding.mark)


def test_examine_changes_nothing():
    """Looking leaves environment, descriptors, files, threads and children alone."""
    examine()
    # The connections of a cluster that other tests use come and go.
    watch = LeakWatch(has_sockets=not running_clients())
    examine()
    assert watch.find() == []


def test_start_method_is_not_fixed():
    """After a look the program may still choose its start method."""
    code = (
        "import multiprocessing; from daskkit.doctor import examine; examine()\n"
        "assert multiprocessing.get_start_method(allow_none=True) is None\n"
        "multiprocessing.set_start_method('spawn')\n"
        "found = {f.subject: f.message for f in examine()}['start method']\n"
        "assert found.startswith('spawn'), found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    assert not [
        child
        for child in psutil.Process().children(recursive=True)
        if code in child.cmdline()
    ]


def test_hidden_facts_are_a_note(monkeypatch):
    """A machine that hides a fact costs that finding, not the others."""

    def refuse(*_, **__):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    findings = {finding.subject: finding for finding in examine()}
    assert findings["memory"].mark == "note"
    assert findings["memory"].message.startswith("can't be examined")
    assert tuple(findings) == SUBJECTS


def find(subject):
    return {finding.subject: finding for finding in examine()}[subject]


def test_variables_are_found(monkeypatch):
    """A limit on BLAS threads in the environment is found."""
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    check(find("BLAS threads"), "note", "OMP_NUM_THREADS=77")


def test_affinity_is_found():
    """A process that is bound to one of several cores is told so."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) == 1:
        pytest.skip("needs a system with affinity and more than one core")
    cores = os.sched_getaffinity(0)
    code = "from daskkit.doctor import examine; print(examine()[0].message)"
    os.sched_setaffinity(0, {min(cores)})
    try:
        command = [sys.executable, "-c", code]
        message = subprocess.check_output(command, text=True, timeout=100)
    finally:
        os.sched_setaffinity(0, cores)
    assert message.startswith("1 of ")
    assert "affinity" in message


def test_closed_loopback_is_a_problem(monkeypatch):
    """A sandbox that refuses sockets is a problem that is told."""

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "create_server", refuse)
    check(find("loopback"), "problem", "Operation not permitted")


def test_temporary_folder_of_dask(tmp_path):
    """The folder is the one that Dask is configured to use."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        assert str(tmp_path) in find("temporary files").message
    assert list(tmp_path.iterdir()) == []
    with dask.config.set({"temporary-directory": str(tmp_path / "none")}):
        check(find("temporary files"), "problem", str(tmp_path / "none"))


def test_folders_in_memory(monkeypatch):
    """A folder's file system is that of the deepest and latest mount above it."""
    mount = collections.namedtuple("mount", "mountpoint fstype")  # noqa: PYI024 - a stand-in for psutil's
    mounts = [
        mount("/", "ext4"),
        mount("/tmp", "ext4"),
        mount("/tmp", "tmpfs"),
        mount("/tmp/disk", "xfs"),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    monkeypatch.setattr(Path, "resolve", lambda self: self)
    folders = ("/home", "/tmp", "/tmp/x", "/tmp/disk/x", "/tmpx")
    found = {folder: doctor._is_in_memory(folder) for folder in folders}
    assert [folder for folder in folders if found[folder]] == ["/tmp", "/tmp/x"]


def test_missing_packages_are_found(monkeypatch):
    """A package that isn't installed is missed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *args: None if name == "mpire" else find_spec(name, *args),
    )
    check(find("extra 'peers'"), "note", "mpire not installed")


def test_default_start_method():
    """Where none was chosen, this Python's default is told."""
    if multiprocessing.get_start_method(allow_none=True) is None:
        default = multiprocessing.get_all_start_methods()[0]
        assert find("start method").message.startswith(default)
