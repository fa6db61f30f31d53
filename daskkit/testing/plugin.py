"""Fixtures for pytest, the only module that needs it.

Put ``pytest_plugins = ["daskkit.testing.plugin"]`` into conftest.py. It
adds nothing to tests that don't ask for it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from daskkit.run.cluster import cluster
from daskkit.testing.faults import Faulty
from daskkit.testing.leaks import LeakWatch
from daskkit.testing.program import Program
from daskkit.transport.contact import running_clients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributed import Client

__all__ = ["local_cluster", "make_faulty", "no_leaks", "run_program"]


@pytest.fixture
def no_leaks() -> Iterator[LeakWatch]:
    """Fail the test if it leaves a process, thread, descriptor, file or variable.

    Yields
    ------
    LeakWatch
        To be asked in between; it is asked at the end in any case.
    """
    # The connections of a cluster that was there before come and go.
    watch = LeakWatch(has_sockets=not running_clients())
    yield watch
    watch.check()


@pytest.fixture
def local_cluster() -> Iterator[Client]:
    """Yield a client of two worker processes of the test's own; they may be killed.

    Yields
    ------
    distributed.Client
    """
    with cluster(n_workers=2) as client:
        yield client


@pytest.fixture
def make_faulty(tmp_path: Path) -> Callable[..., Faulty]:
    """Return ``make_faulty(func, kind, when, *, times=None)``, which makes a `Faulty`.

    Returns
    -------
    callable
        The strikes are counted in a folder of the test's.
    """
    numbers = itertools.count()

    def make(
        func: Callable[..., Any],
        kind: str,
        when: Callable[..., bool],
        *,
        times: int | None = None,
    ) -> Faulty:
        folder = tmp_path / f"faults-{next(numbers)}"
        folder.mkdir()
        return Faulty(func, kind, when, folder, times=times)

    return make


@pytest.fixture
def run_program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Yield ``run_program(code, **variables)``, which starts a `Program`.

    Yields
    ------
    callable
        What still runs at the end of the test is killed.
    """
    programs: list[Program] = []

    def run(code: str, **variables: str) -> Program:
        folder = tmp_path / f"program-{len(programs)}"
        folder.mkdir()
        programs.append(Program(code, folder, **variables))
        return programs[-1]

    yield run
    for program in programs:
        program.__exit__(None, None, None)
