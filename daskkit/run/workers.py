"""Lanes at the workers of a Dask cluster.

One task of Dask for each thread of a worker: it connects back to the caller, who then
hands over batches directly. Workers that can't (another machine, user or container, or
threads of this process) are sent batches as tasks.
"""

from __future__ import annotations

import contextlib
import hmac
import math
import os
import secrets
import socket
import sys
import tempfile
import threading
import time
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import as_completed, fire_and_forget

from daskkit.errors import ClusterError
from daskkit.run import nanny
from daskkit.run.board import Board, make_file
from daskkit.run.hosts import host_of, is_own_user, own_hosts
from daskkit.run.lane import (
    GREETING,
    N_TOKEN_BYTES,
    PARK,
    JobMessage,
    LaneTicket,
    run_lane,
    run_task,
)
from daskkit.run.lanes import Lane, ProcessLane, TaskLane
from daskkit.run.link import Link
from daskkit.run.parking import Parked, close_parked, park, take_parked
from daskkit.run.session import (
    find_scheduler,
    find_workers,
    forget_workers,
    takes_tasks,
)
from daskkit.transport.contact import find_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client, Future

    _Future = Future[Any]

    from daskkit.run.lane import Order
    from daskkit.run.mailbox import Mailbox
    from daskkit.transport.auto import Packed

__all__ = ["Workers", "wait_for_lanes"]

# A worker that has connected sends its token and name at once.
_GREETING_S = 5.0
# How often tasks are looked at that have no socket to wait for.
_POLL_S = 0.005
# How old a list of workers may be for the first lanes of a call.
_KNOWN_S = 2.0
# So long a call uses lanes of an earlier one. They are quick, but Dask doesn't know
# that they work; beyond this the dashboard should show who is busy, and with what.
_EARLIER_S = 2.0
# A lane that was closed ends as soon as its item is done.
_ENDING_S = 0.5
# A nanny learns of its worker's end within milliseconds.
_CAUSE_S = 2.0


# Tasks of lanes that were closed.
_ending: list[_Future] = []
# Those of all calls, and what is held while tasks are submitted.
_all: weakref.WeakSet[Workers] = weakref.WeakSet()
_asking = threading.Lock()


def wait_for_lanes(client: Client) -> None:
    """Wait until lanes that were closed have ended, for a moment at most.

    A cluster that is closed before complains that it loses their results.

    Parameters
    ----------
    client : distributed.Client
        Whose lanes.
    """
    close_parked(client)
    deadline = time.monotonic() + _ENDING_S
    ours = [future for future in _ending if future.client is client]
    _ending[:] = [future for future in _ending if future.client is not client]
    while time.monotonic() < deadline and not all(future.done() for future in ours):
        time.sleep(0.001)
    if ours and client.status == "running":
        client.cancel(ours, force=True, reason="daskkit: the cluster is closed")


def _settle() -> None:
    """Wait until this process's scheduler knows all tasks; a moment at most.

    It uses a thread pool of Python's for each task that is submitted, and logs an error
    for a lane that a call has asked for just before the end of the program.
    """
    deadline = time.monotonic() + _ENDING_S
    with _asking:  # and from here on nobody asks for more
        asked = [future for workers in list(_all) for future in workers.find_asked()]
    asked += _ending
    while time.monotonic() < deadline and any(map(_is_on_its_way, asked)):
        time.sleep(0.001)


def _is_on_its_way(future: _Future) -> bool:
    """Return whether the scheduler has yet to learn of a task."""
    scheduler = find_scheduler(future.client)
    return (
        scheduler is not None
        and future.client.status == "running"
        and not future.done()
        and future.key not in scheduler.tasks
    )


# `atexit` would come after the end of the pools. What was registered last comes first,
# and distributed is imported by now. Not public, but what the pools themselves use.
with contextlib.suppress(AttributeError, RuntimeError):
    threading._register_atexit(_settle)  # type: ignore[attr-defined] # noqa: SLF001


class Workers:
    """The threads of a cluster's workers, as lanes for one call.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    job : Packed
        The `Job`.
    name : str
        What the tasks are called on the dashboard.
    mailbox : Mailbox
        Gets an event for each lane that is ready, and for each answer.
    on_lane : callable
        ``on_lane(lane)``: a lane is ready to take batches.
    on_event : callable
        ``on_event(lane)``: there is something to receive from a lane.
    retire : callable
        ``retire(lanes)``: they get nothing more.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        client: Client,
        job: Packed,
        name: str,
        mailbox: Mailbox,
        on_lane: Callable[[Lane], Any],
        on_event: Callable[[Lane], Any],
        retire: Callable[[list[Lane]], Any],
    ) -> None:
        self._retire = retire
        self._client = client
        self._job = job
        # Dask shows what is before "-lane1-"; who watches knows lanes by it.
        self._name = f"{name}-lane1-{uuid.uuid4().hex[:8]}"
        self._mailbox = mailbox
        self._on_lane = on_lane
        self._on_event = on_event
        self._token = secrets.token_bytes(N_TOKEN_BYTES)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._listener: socket.socket | None = None
        # Tasks of Dask: those that are going to be lanes, by number; those that are;
        # batches, by the index of their first item.
        self._futures: dict[int, _Future] = {}
        self._serving: dict[ProcessLane, _Future] = {}
        self._batches: dict[int, tuple[_Future, TaskLane, Order]] = {}
        self._completed = as_completed(loop=client.loop, raise_errors=False)
        self._asked: set[str] = set()
        # Of the workers, by the number of the lane.
        self._addresses: dict[int, str] = {}
        self._n_started = 0
        # Lanes of an earlier call, until lanes of this one take their place.
        self._earlier: dict[int, list[ProcessLane]] = {}
        self._opens_s = -math.inf
        with _asking:
            _all.add(self)

    @property
    def n_expected(self) -> int:
        """Lanes that were asked for and are not ready."""
        return len(self._futures)

    def open(self, *, is_first: bool = False) -> bool:
        """Have the workers that are there, and were not asked before, make lanes.

        Returns
        -------
        bool
            Whether there are workers.

        Raises
        ------
        ClusterError
            If the connection to the cluster is lost, or the program ends.
        """
        if self._client.status != "running":
            msg = (
                f"the connection to the cluster is {self._client.status}; open it "
                "again with daskkit.cluster(), or a new distributed.Client"
            )
            raise ClusterError(msg)
        if is_first and self._use_earlier():
            return True
        _ending[:] = [future for future in _ending if not future.done()]
        found = find_workers(self._client, max_age_s=_KNOWN_S if is_first else 0.0)
        with _asking:
            if not (is_first or takes_tasks(self._client)):
                return False  # those that are there have to do
            self._check_end()
            self._start_lanes({a: n for a, n in found.items() if a not in self._asked})
        return bool(found)

    def close(self) -> None:
        """Take back what no worker has begun; lanes are closed by their owner."""
        if self._listener is not None:
            self._mailbox.ignore(self._listener)
            self._listener.close()
            self._listener = None
        if self._folder is not None:
            self._folder.cleanup()
        left = [future for future, _, _ in self._batches.values()]
        for lane, future in self._serving.items():
            # A lane ends when its owner closes it, and so does one that comes too late.
            # (Were they cancelled while they run, their worker would log that.) One
            # whose process is gone would wait for its worker for ever.
            (left if lane.is_lost else _ending).append(future)
        if left:
            forget_workers(self._client)
        _ending.extend(self._futures.values())
        self._serving.clear()
        self._earlier.clear()
        self._futures.clear()
        self._batches.clear()
        self._completed.clear()
        if left and self._client.status == "running":
            self._client.cancel(left, force=True, reason="daskkit: the call has ended")

    @property
    def patience_s(self) -> float:
        """How long nothing may happen before `poll` has to look."""
        if self._futures or self._batches:
            return _POLL_S
        if self._opens_s > 0:
            return max(0.0, self._opens_s - time.monotonic())
        return math.inf

    def poll(self) -> None:
        """Look which tasks have ended.

        Callbacks of futures would need a thread pool that is gone when the program
        ends, and would complain.
        """
        if 0 < self._opens_s < time.monotonic():
            self._opens_s = -math.inf
            self.open()
        if not (self._futures or self._batches):
            return
        for number, future in list(self._futures.items()):
            if future.done():
                self._lane_ended(number)
        for future in self._completed.next_batch(block=False):
            for batch, lane, order in self._batches.values():
                if batch is future:
                    self._task_ended(lane, order, future)
                    break

    # Lanes of an earlier call.

    def _use_earlier(self) -> bool:
        """Use lanes that wait, if there are enough; ask for others if that lasts."""
        used: set[str] = set()
        for one in take_parked(self._client):
            lane = self._make_lane(one.link, one.board, one.pid, one.address)
            message = JobMessage(self._job, tuple(sys.path))
            try:
                lane.link.send(message)
            except OSError:  # its worker has just died
                one.close()
                continue
            used.add(one.address)
            self._earlier.setdefault(one.pid, []).append(lane)
            self._on_lane(lane)
        known = find_workers(self._client, max_age_s=math.inf).keys()
        if not used or known - used:
            return False
        self._opens_s = time.monotonic() + _EARLIER_S
        return True

    def _make_lane(
        self, link: Link, board: Board, pid: int, address: str
    ) -> ProcessLane:
        def keep(lane: ProcessLane) -> bool:
            if self._client.status != "running":
                return False
            try:
                is_told = lane.link.send(PARK)
            except OSError:
                return False
            n_threads = find_workers(self._client, max_age_s=math.inf).get(address, 0)
            parked = Parked(link, board, pid, address)
            return is_told and park(self._client, parked, n_threads)

        return ProcessLane(
            link,
            board,
            pid,
            f"worker {address} (pid {pid})",
            find_cause=find_cause,
            keep=keep,
        )

    # The end of the program.

    def find_asked(self) -> list[_Future]:
        """Return the tasks that have been submitted and are not known to have begun.

        Returns
        -------
        list of distributed.Future
        """
        batches = [future for future, _, _ in self._batches.values()]
        return [*self._futures.values(), *batches]

    def _check_end(self) -> None:
        """Raise an error where the cluster ends with the program; lock held."""
        if not takes_tasks(self._client):
            msg = (
                "the cluster takes no more tasks, as the main thread of the program "
                "has ended; have it wait for its other threads (Thread.join)"
            )
            raise ClusterError(msg)

    # Lanes that connect back.

    def _start_lanes(self, threads: dict[str, int]) -> None:
        """Have each thread of some workers make a lane."""
        self._asked |= threads.keys()
        own = own_hosts()
        near = {a: n for a, n in threads.items() if host_of(a) in own}
        if near and self._listener is None:
            self._listen()
        for address, n in near.items():
            for _ in range(n):
                self._start_lane(address)
        for address, n in threads.items():
            if address not in near:
                self._add_task_lanes(address, n)

    def _listen(self) -> None:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if sys.platform == "linux":
            # Without a name in the file system there is nothing to leave behind.
            address = f"\0daskkit-{secrets.token_hex(16)}"
        else:
            self._folder = tempfile.TemporaryDirectory(prefix="daskkit-")
            address = str(Path(self._folder.name) / "lanes")
        link.bind(address)
        link.listen(128)
        link.settimeout(0.0)
        self._listener = link
        self._ticket = LaneTicket(
            address, self._token, find_place(), os.getpid(), tuple(sys.path)
        )
        self._mailbox.watch(link, self._accept)

    def _start_lane(self, address: str) -> None:
        self._n_started += 1
        number = self._n_started
        self._addresses[number] = address
        future = self._client.submit(
            run_lane,
            self._ticket,
            self._job,
            number,
            key=(self._name, number),
            workers=[address],
            allow_other_workers=False,
            pure=False,
        )
        # The scheduler forgets it as soon as it has ended. (Said later, when it may
        # have ended already, it never would.)
        fire_and_forget(future)
        self._futures[number] = future

    def _lane_ended(self, number: int) -> None:
        """Send batches as tasks to a worker that can't reach this process."""
        future = self._futures.pop(number)
        if future.status == "finished" and future.result() == "far":
            self._add_task_lanes(self._addresses[number], 1)
        elif future.status == "error":
            error = future.exception()
            raise error  # the job can't be opened there, or distributed failed

    def _accept(self) -> None:
        """Make a lane of a worker that has connected."""
        assert self._listener is not None
        try:
            end, _ = self._listener.accept()
        except OSError:
            return  # it has gone again
        end.settimeout(_GREETING_S)
        link = Link(end)
        try:
            own = is_own_user(end)
            greeting = link.receive_exactly(GREETING.size) if own else b""
            if not hmac.compare_digest(greeting[:N_TOKEN_BYTES], self._token):
                link.close()
                return
            board_fd = make_file()
            socket.send_fds(end, [b"\0"], [board_fd])
            end.settimeout(None)
        except (OSError, EOFError):
            link.close()
            return
        _, pid, number = GREETING.unpack(greeting)
        future = self._futures.pop(number, None)
        address = self._addresses[number]
        lane = self._make_lane(link, Board(board_fd), pid, address)
        if future is not None:
            self._serving[lane] = future
        self._on_lane(lane)
        # It takes the place of one that Dask doesn't see.
        if self._earlier.get(pid):
            self._retire([self._earlier[pid].pop()])

    # Lanes that are made of tasks.

    def _add_task_lanes(self, address: str, n_lanes: int) -> None:
        for _ in range(n_lanes):
            self._on_lane(TaskLane(self._submit, self._forget, f"worker {address}"))

    def _submit(self, lane: TaskLane, order: Order) -> None:
        with _asking:
            self._check_end()
            future = self._client.submit(
                run_task,
                self._job,
                order,
                key=(self._name, "batch", order.start, uuid.uuid4().hex[:8]),
                pure=False,
            )
        self._batches[order.start] = (future, lane, order)
        self._completed.add(future)

    def _task_ended(self, lane: TaskLane, order: Order, future: _Future) -> None:
        del self._batches[order.start]
        if future.status == "finished":
            task = future.result()
            outcome = task.answer
            for said in task.said:
                lane.hear(said)
        else:
            outcome = future.exception() or RuntimeError(f"its task is {future.status}")
        lane.arrived.append((order.slot, outcome))
        self._on_event(lane)

    def _forget(self, start: int) -> None:
        known = self._batches.pop(start, None)
        if known is not None:
            self._client.cancel([known[0]], reason="daskkit: not needed any more")


def find_cause(pid: int) -> str:
    """Return why a worker's process ended, if its nanny lives in this process.

    Parameters
    ----------
    pid : int
        Of the worker.

    Returns
    -------
    str
    """
    deadline = time.monotonic() + _CAUSE_S
    while pid not in nanny.ends and time.monotonic() < deadline:
        time.sleep(0.005)
    end = nanny.ends.get(pid)
    return "cause unknown" if end is None else end.cause
