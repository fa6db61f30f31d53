"""What a scheduler sees while a report is recorded, kept until it is asked for.

Runs in the scheduler's event loop, also in one that can't import daskkit: this module
is sent there by value, and imports nothing of daskkit but `run.meter`. Dask's own task
stream forgets what is old, and keeps neither memory nor workers that have gone.
"""

from __future__ import annotations

import heapq
import pickle
import re
import time
from typing import Any

from dask.utils import key_split
from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.ioloop import PeriodicCallback

from daskkit.run.meter import METER_NAME

__all__ = ["N_TASKS", "VERB_MARK", "Recorder", "begin", "finish", "read_worker"]

#: Ends the name of tasks that are lanes or batches of a verb.
VERB_MARK = " (verb)"
#: So many tasks are kept one by one; the others are counted.
N_TASKS = 20_000

_PREFIX = "daskkit-recorder-"
_TOPIC = "daskkit"
# Under this name the scheduler has the observer of the page, which needs the counters.
_OBSERVER_NAME = "daskkit-observer"
# Workers report twice a second; between two reports nothing new can be seen.
_EVERY_S = 0.25
_N_STRETCHES = 20_000
_N_SLOWEST = 8
_N_ERRORS = 20
_LONGEST = 300


class Recorder(SchedulerPlugin):
    """Scheduler plugin: note tasks, workers and calls until `finish`.

    Parameters
    ----------
    token : str
        Tells recorders of one scheduler apart.
    meter_pickle : bytes
        The `SlotMeter` for workers that have none.
    """

    idempotent = True

    def __init__(self, token: str, meter_pickle: bytes) -> None:
        self.name = _PREFIX + token
        self._meter_pickle = meter_pickle
        self.owns_meter = False
        self.began = 0.0
        #: By address and beginning of a worker's counters: what it reported first
        #: (None if it came later) and last, when it left, its memory at most.
        self.workers: dict[tuple[str, float], dict[str, Any]] = {}
        self.tasks: list[tuple[Any, ...]] = []
        self.n_tasks = 0
        #: By prefix: tasks, those that raised, seconds by action.
        self.groups: dict[str, list[Any]] = {}
        self.slowest: list[tuple[float, str, str]] = []
        self.errors: list[tuple[str, str, str]] = []
        self.calls: dict[str, dict[str, Any]] = {}

    async def start(self, scheduler: Any) -> None:
        """Begin to note, and have the workers count if they don't."""
        self._scheduler = scheduler
        self.owns_meter = METER_NAME not in scheduler.worker_plugins
        if self.owns_meter:
            await scheduler.register_worker_plugin(
                None, self._meter_pickle, METER_NAME, idempotent=True
            )
        self.began = time.time()
        self._ticker = PeriodicCallback(self.look, 1e3 * _EVERY_S)
        scheduler.periodic_callbacks[self.name] = self._ticker
        self._ticker.start()

    def stop(self) -> bool:
        """Note nothing any more; return whether the workers may stop counting."""
        scheduler = self._scheduler
        self._ticker.stop()
        scheduler.periodic_callbacks.pop(self.name, None)
        scheduler.remove_plugin(name=self.name)
        others = [
            plugin
            for name, plugin in scheduler.plugins.items()
            if name.startswith(_PREFIX)
        ]
        if self.owns_meter and others:
            others[0].owns_meter = True
        return (
            self.owns_meter and not others and _OBSERVER_NAME not in scheduler.plugins
        )

    def look(self) -> None:
        """Take in what workers have reported since the last look."""
        for address, state in list(self._scheduler.workers.items()):
            metrics = state.metrics or {}
            report = metrics.get("daskkit")
            if report:
                known = self.hear(address, report)
                known["peak"] = max(known["peak"], metrics.get("memory") or 0)

    def hear(self, address: str, report: dict[str, Any]) -> dict[str, Any]:
        """Take in a worker's report, and return what is known of it."""
        key = (address, report["began"])
        if key not in self.workers:
            replaced = [
                one for one in self.workers if one[0] == address and self._is_there(one)
            ]
            if any(one[1] > report["began"] for one in replaced):
                return self.workers[replaced[0]]  # late, from counters that are gone
            # A worker that was given new counters has not come anew.
            was_there = [self.workers.pop(one)["first"] for one in replaced]
            state = self._scheduler.workers.get(address)
            self.workers[key] = {
                "name": str(getattr(state, "name", address)),
                "first": _choose_first(report, self.began, was_there),
                "last": report,
                "left": None,
                "peak": 0,
                "limit": getattr(state, "memory_limit", 0) or 0,
            }
        known = self.workers[key]
        if report["t"] >= known["last"]["t"]:
            known["last"] = report
        return known

    def _is_there(self, key: tuple[str, float]) -> bool:
        return self.workers[key]["left"] is None

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Note that a worker has gone."""
        del scheduler, kwargs
        for (address, _), known in self.workers.items():
            if address == worker and known["left"] is None:
                known["left"] = time.time()

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any
    ) -> None:
        """Note a task that is done or has failed."""
        del args
        if start != "processing" or finish not in {"memory", "erred"}:
            return
        is_lane = _is_lane(key)
        name = key_split(key) + (VERB_MARK if is_lane else "")
        parts = [
            (one["action"], one["start"], one["stop"])
            for one in kwargs.get("startstops") or ()
        ]
        is_wrong = finish == "erred"
        group = self.groups.setdefault(name, [0, 0, {}])
        group[0] += 1
        group[1] += is_wrong
        for action, began, ended in parts:
            group[2][action] = group[2].get(action, 0.0) + ended - began
            if action == "compute" and not is_lane:
                entry = (ended - began, str(key)[:_LONGEST], str(kwargs.get("worker")))
                if len(self.slowest) < _N_SLOWEST:
                    heapq.heappush(self.slowest, entry)
                elif entry > self.slowest[0]:
                    heapq.heapreplace(self.slowest, entry)
        if is_wrong and len(self.errors) < _N_ERRORS:
            text = str(kwargs.get("exception_text") or "")[:_LONGEST]
            self.errors.append((name, str(key)[:_LONGEST], text))
        self.n_tasks += 1
        if parts and len(self.tasks) < N_TASKS:
            self.tasks.append(
                (name, kwargs.get("worker"), kwargs.get("thread"), parts, is_wrong)
            )

    def log_event(self, topic: str, msg: Any) -> None:
        """Note what a caller says of a call."""
        if topic == _TOPIC and isinstance(msg, dict) and "id" in msg:
            self.calls[str(msg["id"])] = msg


def _choose_first(
    report: dict[str, Any], began: float, was_there: list[Any]
) -> dict[str, Any] | None:
    """Return what a worker had counted at the beginning, None if it came later."""
    if report["began"] <= began:
        return report
    if any(first is not None for first in was_there):
        nothing = [0.0] * len(report["s"])
        return {**report, "s": nothing, "items": 0, "failed": 0}
    return None


def _is_lane(key: Any) -> bool:
    """Return whether a task is a lane or a batch of a verb, by how those are named.

    Examples
    --------
    >>> _is_lane(("f-0123abcd", 1)), _is_lane(("f-" + 32 * "0", 1))
    (True, False)
    """
    return (
        isinstance(key, tuple)
        and isinstance(key[0], str)
        and re.fullmatch(r".*-[0-9a-f]{8}", key[0], re.DOTALL) is not None
    )


def begin(
    token: str, answers: dict[str, Any], dask_scheduler: Any = None
) -> float | None:
    """Take in what workers count at the beginning; return when that was.

    Parameters
    ----------
    token : str
        Of the recorder.
    answers : dict
        Address to what `read_worker` returned.
    dask_scheduler : distributed.Scheduler
        Where this runs.

    Returns
    -------
    float or None
        None if there is no such recorder.
    """
    recorder = dask_scheduler.plugins.get(_PREFIX + token)
    if recorder is None:
        return None
    recorder.began = time.time()
    recorder.look()
    for address, (report, _) in answers.items():
        if report is not None:
            known = recorder.hear(address, report)
            if report["began"] <= recorder.began:
                known["first"] = report
    began: float = recorder.began
    return began


async def finish(
    token: str, answers: dict[str, Any], dask_scheduler: Any = None
) -> bytes | None:
    """End a recording.

    Parameters
    ----------
    token, answers, dask_scheduler : object
        See `begin`.

    Returns
    -------
    bytes or None
        A pickle of plain data; as one object, since Dask would send the elements of a
        list one by one.
    """
    recorder = dask_scheduler.plugins.get(_PREFIX + token)
    if recorder is None:
        return None
    ended = time.time()
    recorder.look()
    for address, (report, _) in answers.items():
        if report is not None:
            recorder.hear(address, report)
    if recorder.stop():
        await dask_scheduler.unregister_worker_plugin(None, METER_NAME)
    return pickle.dumps(
        {
            "began": recorder.began,
            "ended": ended,
            "workers": [
                {"address": address, **known}
                for (address, _), known in recorder.workers.items()
            ],
            "tasks": recorder.tasks,
            "n_tasks": recorder.n_tasks,
            "groups": recorder.groups,
            "slowest": sorted(recorder.slowest, reverse=True),
            "errors": recorder.errors,
            "calls": list(recorder.calls.values()),
        }
    )


def read_worker(since: float, dask_worker: Any = None) -> tuple[Any, bytes]:
    """Return a worker's counters, and the batches of its lanes as a pickle.

    Parameters
    ----------
    since : float
        Only what ended later, seconds since the epoch; infinite for none, and to have
        the worker make room for more.
    dask_worker : distributed.Worker
        Where this runs.

    Returns
    -------
    tuple of (dict or None) and bytes
        None if the worker doesn't count. Times of batches are seconds since the epoch.
    """
    from collections import deque

    meter = dask_worker.plugins.get(METER_NAME)
    if meter is None:
        return None, pickle.dumps([])
    if since == float("inf"):
        if meter.stretches.maxlen < _N_STRETCHES:
            meter.stretches = deque(meter.stretches, _N_STRETCHES)
        return meter.report(dask_worker), pickle.dumps([])
    offset = time.time() - time.perf_counter()
    found = [
        (*one[:2], one[2] + offset, one[3] + offset, *one[4:])
        for one in list(meter.stretches)
        if one[3] + offset > since
    ]
    return meter.report(dask_worker), pickle.dumps(found)
