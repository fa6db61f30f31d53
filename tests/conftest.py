"""Fixtures for all tests: one shared cluster, and a watch for what is left behind."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import tempfile

import pytest

import daskkit as dk
from daskkit.testing import LeakWatch, adopt_orphans

pytest_plugins = ["daskkit.testing.plugin"]

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
    adopt_orphans()


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
    watch = LeakWatch(has_sockets=not _shared)
    yield
    watch.check()
