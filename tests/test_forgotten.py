"""Tasks that are over are forgotten, with the memory that their arguments share."""

from __future__ import annotations

import gc
import os
import signal
import time
import weakref

import pytest

import daskkit as dk


def _wait_until(is_so, limit_s=20):
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_collected(reference):
    gc.collect()
    return reference() is None


@pytest.mark.parametrize("ending", ["death", "cancel"])
def test_tasks_are_forgotten(ending):
    """Also those that a worker was executing at its last heartbeat, or that never ended."""
    with dk.cluster(n_workers=1) as client:
        scheduler = client.cluster.scheduler
        (state,) = scheduler.workers.values()
        # As stealing does once it has looked at a worker.
        scheduler.extensions["stealing"].in_flight_occupancy[state] += 0
        future = client.submit(time.sleep, 600)
        _wait_until(lambda: state.executing)
        task = weakref.ref(scheduler.tasks[future.key])
        if ending == "death":
            (pid,) = client.run(os.getpid).values()
            os.kill(pid, signal.SIGKILL)
            _wait_until(lambda: state.address not in scheduler.workers)
        future.release()
        _wait_until(lambda: _is_collected(task))


def test_closed_scheduler_keeps_no_task():
    """Closed schedulers stay for as long as the process."""
    with dk.cluster(n_workers=1) as client:
        scheduler = client.cluster.scheduler
        (state,) = scheduler.workers.values()
        future = client.submit(time.sleep, 600)
        _wait_until(lambda: state.executing)
        task = weakref.ref(scheduler.tasks[future.key])
    del future
    _wait_until(lambda: _is_collected(task))
