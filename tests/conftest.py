"""Fixtures for all tests: one shared cluster, and a watch for what is left behind."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import hypothesis
import pytest
from dask.multiprocessing import get_context

import daskkit as dk
from daskkit.testing import LeakWatch, adopt_orphans
from tests.browser import BrowserWatch, SharedBrowser, clear, missing_browser

pytest_plugins = ["daskkit.testing.plugin"]

# No test depends on how fast the machine is.
hypothesis.settings.register_profile("daskkit", deadline=None)
hypothesis.settings.load_profile("daskkit")
# The client of the shared cluster while there is one.
_shared: list[object] = []
_browser = SharedBrowser()


def pytest_report_header() -> list[str]:
    """Show the versions that a failure may depend on."""
    names = ["dask", "distributed", "numpy", "pandas", "bokeh", "cloudpickle", "psutil"]
    return [
        "versions: "
        + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names),
        f"cores: {dk.usable_cores()} usable of {os.cpu_count()}",
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Let what takes long come first where several processes share the tests.

    Else the last one would be busy for long after the others. Only one of them starts a
    browser.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=_is_quick)
        for item in items:
            if item.get_closest_marker("browser") is not None:
                item.add_marker(pytest.mark.xdist_group("browser"))


def _is_quick(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is None


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the collector of garbage from what is there for the whole session.

    Many tests ask for a collection, which took a quarter of a second for the modules
    and the tests alone.
    """
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def process_pool(_private_temporary_folder):
    """Yield two processes for Dask's scheduler of processes, started once a session."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ProcessPoolExecutor(2, mp_context=get_context()) as pool,
    ):
        # As Dask does for a pool of its own, so that all hash alike.
        patch.setenv("PYTHONHASHSEED", "6640")
        # Long enough that there have to be two.
        list(pool.map(time.sleep, [0.2, 0.2]))
        patch.undo()
        yield pool


@pytest.fixture(scope="session", autouse=True)
def _no_browser_stays(_private_temporary_folder):
    """Close the shared browser, which the last test may have left open."""
    yield
    _browser.close()


@pytest.fixture
def driver():
    """Yield the shared browser with an empty page and an empty console."""
    clear(_browser.driver)
    yield _browser.driver
    clear(_browser.driver)


@pytest.fixture(autouse=True)
def _nothing_left_behind(request, _private_temporary_folder):
    """Fail a test that leaves a process, thread, descriptor, file or variable behind."""
    if "shared_client" in request.fixturenames:
        request.getfixturevalue("shared_client")
    # The connections of a cluster that lives on come and go.
    has_sockets = not _shared
    if "driver" in request.fixturenames:
        reason = missing_browser()
        if reason:
            pytest.skip(reason)
        watch = BrowserWatch(_browser.open(), has_sockets=has_sockets)
    else:
        _browser.close()
        watch = LeakWatch(has_sockets=has_sockets)
    yield
    watch.check()
