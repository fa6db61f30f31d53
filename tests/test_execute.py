"""daskkit's own execution: the loop's answer, each item once, here or on workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import daskkit as dk
from daskkit.run.execute import execute


def _square(x):
    return x * x


def _busy():
    """Take two milliseconds of pure Python."""
    for _ in range(40_000):
        pass


def _slow(x):
    _busy()
    return x, os.getpid()


def _join(parts):
    return "".join(parts)


@pytest.mark.parametrize("combine", [None, sum])
@pytest.mark.parametrize("n", [0, 1, 2, 1_000])
def test_answer_is_the_loops(shared_client, n, combine):
    """Same values, order and types, with and without a combine."""
    workload = dk.Workload("squares", _square, range(n), combine=combine)
    dk.check_equal(execute(workload, shared_client), workload.loop())


def test_trivial_work_stays_here(shared_client):
    """What would take longer to hand over than to do is done in the caller."""
    workload = dk.Workload("pids", lambda x: os.getpid(), range(1_000))
    assert set(execute(workload, shared_client)) == {os.getpid()}


def test_long_work_goes_to_the_workers_in_order(shared_client):
    """The pilot's items are done here, the rest by all workers; order is kept."""
    results = execute(dk.Workload("slow", _slow, range(600)), shared_client)
    assert [x for x, _ in results] == list(range(600))
    pids = {pid for _, pid in results}
    assert os.getpid() in pids
    assert len(pids) > 1


def test_combine_runs_as_a_tree(shared_client):
    """Order-dependent combines see their parts in order."""

    def text(x):
        _busy()
        return str(x)

    workload = dk.Workload("text", text, range(300), combine=_join)
    assert execute(workload, shared_client) == workload.loop()


def test_each_item_is_executed_once(shared_client, tmp_path):
    """The pilot's items are not repeated on the workers."""
    log = tmp_path / "log"

    def record(x):
        with Path(log).open("a") as file:
            file.write(f"{x}\n")
        _busy()
        return x

    execute(dk.Workload("once", record, range(200)), shared_client)
    assert sorted(map(int, log.read_text().split())) == list(range(200))


@pytest.mark.parametrize("guilty", [0, 150])
def test_failing_item_is_named(shared_client, guilty):
    """An item that raises, in the pilot or on a worker, is named; its type is kept."""

    def fail(x):
        _busy()
        return 1 / (x - guilty)

    workload = dk.Workload("division", fail, range(200))
    with pytest.raises(ZeroDivisionError) as caught:
        execute(workload, shared_client)
    (note,) = caught.value.__notes__
    assert note.startswith(f"raised by item {guilty} (value {guilty}) in ")
