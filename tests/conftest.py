"""Fixtures for all tests: one shared cluster, and a watch for what is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.metadata
import multiprocessing.resource_tracker
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

import daskkit as dk

# Made once a process by their libraries, and meant to stay: distributed's thread for
# serialising, and the event loop and callbacks of the shared cluster.
_LASTING_THREADS = (
    "Dask-Offload",
    "Dask-Callback-Thread",
    "IO loop",
    "asyncio_",  # helpers of the event loop of the shared cluster
    "ThreadPoolExecutor",  # dask's threaded scheduler keeps its pool
)
# multiprocessing's own helpers, one for the life of the process.
_LASTING_PROCESSES = ("resource_tracker", "forkserver")
# Set by scikit-learn when it is imported, and left.
_LASTING_VARIABLES = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
_PATIENCE_S = 10.0
# The client of the shared cluster while there is one.
_shared: list[object] = []


def pytest_report_header() -> list[str]:
    """Show the versions that a failure may depend on."""
    names = ["dask", "distributed", "numpy", "pandas", "bokeh", "cloudpickle", "psutil"]
    return [
        "versions: "
        + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names),
        f"cores: {dk.usable_cores()} usable of {os.cpu_count()}",
    ]


@pytest.fixture(scope="session", autouse=True)
def _adopt_orphans():
    """Make processes whose parent has died children of this one, so that they show."""
    # One for the life of the process, with a pipe; here, so that no test is blamed.
    multiprocessing.resource_tracker.ensure_running()
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


@pytest.fixture(scope="session", autouse=True)
def _private_temporary_folder():
    """Give this process a temporary folder of its own, so that leftovers are its own."""
    before = {name: os.environ.get(name) for name in ("TMPDIR",)}
    folder = tempfile.mkdtemp(prefix="daskkit-tests-")
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = folder
    yield
    tempfile.tempdir = None
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_client(_private_temporary_folder):
    """Yield a client of two worker processes, started once a session."""
    with dk.cluster(n_workers=2) as client:
        _shared.append(client)
        yield client
        _shared.clear()


@pytest.fixture(autouse=True)
def _nothing_left_behind(request, _private_temporary_folder):
    """Fail a test that leaves a process, thread, descriptor, file or variable behind."""
    if "shared_client" in request.fixturenames:
        request.getfixturevalue("shared_client")
    # The connections of a cluster that lives on come and go.
    sockets = not _shared
    before = _look(sockets=sockets)
    yield
    deadline = time.monotonic() + _PATIENCE_S
    while left := _difference(before, _look(sockets=sockets)):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {'; '.join(left)}")
        gc.collect()
        time.sleep(0.05)


def _look(*, sockets: bool) -> dict[str, dict[object, str]]:
    """Return all that a test could leave behind, by kind."""
    return {
        "process": _processes(),
        "thread": {
            thread.ident: thread.name
            for thread in threading.enumerate()
            if not thread.name.startswith(_LASTING_THREADS)
        },
        "descriptor": _descriptors(sockets=sockets),
        "temporary file": {
            path: str(path)
            for path in Path(tempfile.gettempdir()).iterdir()
            if not path.name.startswith("pytest-of-")  # where tmp_path lives
        },
        "environment variable": {
            (name, value): f"{name}={value}"
            for name, value in os.environ.items()
            if name not in {"PYTEST_CURRENT_TEST", *_LASTING_VARIABLES}
        },
    }


def _processes() -> dict[object, str]:
    found: dict[object, str] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if process.status() == psutil.STATUS_ZOMBIE:
                # An adopted orphan that has ended; nobody else will ask for it.
                os.waitpid(process.pid, os.WNOHANG)
                continue
            command = " ".join(process.cmdline())
            if not any(name in command for name in _LASTING_PROCESSES):
                found[process.pid, process.create_time()] = command[:120]
    return found


def _descriptors(*, sockets: bool) -> dict[object, str]:
    """Return open descriptors; without `sockets`, those of a shared cluster may vary."""
    found: dict[object, str] = {}
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return found
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            is_pipe = target.startswith(("pipe:", "anon_inode:"))
            is_socket = target.startswith("socket:")
            lasting = ".hypothesis" in target or "/fd" in target
            # So do the boards of lanes that wait for the next call.
            is_socket = is_socket or (not sockets and "daskkit-board" in target)
            if not lasting and (sockets or not (is_pipe or is_socket)):
                found[entry.name, target] = f"{entry.name} -> {target}"
    return found


def _difference(
    before: dict[str, dict[object, str]], after: dict[str, dict[object, str]]
) -> list[str]:
    left = [
        f"{kind} {text}"
        for kind, items in after.items()
        for key, text in items.items()
        if key not in before[kind]
    ]
    variables = "environment variable"
    left += [
        f"{variables} {text} was removed"
        for key, text in before[variables].items()
        if key not in after[variables]
    ]
    return left
