"""What executes in a worker process: a lane, which takes batches until it is closed.

A lane talks to the caller directly, over a socket of its own: handing over a batch
takes some 0.1 ms where a task of Dask takes 5 ms of CPU (client, scheduler and worker
together, on two busy cores). Each lane is one task of Dask in one thread of a worker,
so that the scheduler and the dashboard know who is busy, and with what.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.run.batches import size_claim
from daskkit.run.board import SENDS, TRIES, Board
from daskkit.run.desk import speaking, tidy
from daskkit.run.hosts import is_own_user
from daskkit.run.job import Job, run_chunk
from daskkit.run.link import Link
from daskkit.run.meter import LaneMeter, metered
from daskkit.run.rules import load_rules
from daskkit.run.voice import Said, Voice
from daskkit.transport.auto import pack, unpack, unpack_once
from daskkit.transport.contact import Place, find_place
from daskkit.transport.errors import UnpicklableError
from daskkit.transport.partition import Partition
from daskkit.transport.plain import count_bytes, dump_plain, open_sent
from daskkit.transport.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.run.job import Caught
    from daskkit.transport.auto import Packed
    from daskkit.transport.plain import Sent

__all__ = [
    "GREETING",
    "N_TOKEN_BYTES",
    "PARK",
    "Answer",
    "JobMessage",
    "LaneTicket",
    "Order",
    "TaskAnswer",
    "open_and_serve",
    "run_lane",
    "run_task",
    "serve",
]

# When no call has followed by then, a worker looks again as it did before.
_TIDY_S = 0.25
# A task whose lane has nothing to do for so long lets others have its place: the caller
# may take its time over the results, and compute something else with Dask meanwhile.
_LEAVE_S = 0.1


N_TOKEN_BYTES = 32
#: Tells a lane that the call is over, and that there may be another.
PARK = None
#: What a lane says first: the token, its process and its number.
GREETING = struct.Struct(f"{N_TOKEN_BYTES}sqq")


class Order(NamedTuple):
    """A batch on its way to a lane."""

    slot: int
    #: Index of its first item in the input, and of the first item after it.
    start: int
    stop: int
    #: First guess of how many items make a claim; 0 for one at a time throughout, so
    #: that the board says which one it is.
    n_claim: int
    #: Items that are left for this lane after the batch, more or less.
    n_beyond: int
    #: The list of items; None if the lane has them all, as a forked child does.
    items: Sent | None


class Answer(NamedTuple):
    """What came of a batch."""

    slot: int
    start: int
    #: First index that was not executed, whether withdrawn or after an error.
    stop: int
    #: The list of results, or what `combine` made of it; None if there is none.
    payload: Sent | None
    #: Items that raised: index, the error as by `dump_error`, attempts.
    failures: list[tuple[int, bytes, int]]
    #: What befell the batch as a whole, by `dump_error`: the items can't be rebuilt
    #: here, or `combine` raised.
    trouble: bytes | None
    #: Whether the items could not even be opened.
    unopened: bool
    #: Wall and CPU time in seconds, transport included.
    wall_s: float
    cpu_s: float
    #: Wall time of the items alone.
    items_s: float


class JobMessage(NamedTuple):
    """What a lane is told at the beginning of a call."""

    #: The packed `Job`.
    job: Packed
    #: What the caller imports from; a worker may have been started before that changed.
    path: tuple[str, ...]


class LaneTicket(NamedTuple):
    """How a worker finds the caller."""

    address: str
    token: bytes
    place: Place
    pid: int
    #: As in `JobMessage`.
    path: tuple[str, ...]


def run_lane(ticket: LaneTicket, job: Packed, number: int) -> str:
    """Serve as a lane; the body of a Dask task.

    Parameters
    ----------
    ticket : LaneTicket
        Where to report.
    job : Packed
        The `Job`.
    number : int
        Of the lane, told to the caller.

    Returns
    -------
    str
        ``"done"``, or ``"far"`` if the caller can't be reached by a local socket.
    """
    if find_place() != ticket.place or os.getpid() == ticket.pid:
        return "far"
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.connect(ticket.address)
        # The caller may have gone, and somebody else have taken its socket's name.
        if not is_own_user(end):
            end.close()
            return "done"
        end.sendall(GREETING.pack(ticket.token, os.getpid(), number))
        _, fds, _, _ = socket.recv_fds(end, 1, 1)
    except OSError:
        end.close()
        return "far"
    if not fds:
        # The caller has ended meanwhile, or wants no more lanes.
        end.close()
        return "done"
    link, board = Link(end), Board(fds[0])
    message = JobMessage(job, ticket.path)
    if open_and_serve(link, board, message, is_task=True):
        # The task is over, the connection stays.
        threading.Thread(
            target=_stay,
            args=(link, board, dict(_task_state())),
            name="daskkit-lane",
            daemon=True,
        ).start()
    else:
        link.close()
        board.close()
    return "done"


def _stay(link: Link, board: Board, state: dict[str, Any]) -> None:
    """Serve one call after the other, beside the tasks of Dask."""
    # What `distributed.get_worker` looks at.
    _task_state().update(state)
    try:
        goes_on = True
        while goes_on:
            if not link.has_message(_TIDY_S):
                tidy()
            goes_on = open_and_serve(link, board, link.receive())
    except (EOFError, OSError):
        return  # the caller needs it no more, or is gone
    finally:
        tidy()
        link.close()
        board.close()


def _task_state() -> dict[str, Any]:
    """Return what distributed knows of the task that this thread executes."""
    from distributed import worker

    local: Any = worker.thread_state  # type: ignore[attr-defined] # not in its __all__
    if not hasattr(local, "execution_state"):
        local.execution_state = {}
    state: dict[str, Any] = local.execution_state
    return state


def open_and_serve(
    link: Link, board: Board, message: JobMessage, *, is_task: bool = False
) -> bool:
    """Open the job and serve; tell the caller if that can't be done.

    Parameters
    ----------
    link : Link
        To the caller.
    board : Board
        Shared with the caller.
    message : JobMessage
        What to do.
    is_task : bool, default False
        Whether this thread executes a task of Dask.

    Returns
    -------
    bool
        As `serve`.
    """
    for entry in message.path:
        if entry not in sys.path:
            sys.path.append(entry)
    try:
        job: Job = unpack(message.job, last=True)
    except BaseException as error:  # noqa: BLE001 - whatever a user's class raises
        board.enter()
        link.send_whole(_dump(error))
        return False
    with metered(_find_worker(), job.name, is_task=is_task) as meter:
        meter.count_bytes(message.job)
        leave = functools.partial(_leave_pool, meter) if is_task else None
        home = message.job.place
        return serve(link, board, job, home=home, meter=meter, leave=leave)


def _leave_pool(meter: LaneMeter) -> None:
    """Have the worker begin another task although this one goes on."""
    from distributed import secede
    from distributed.threadpoolexecutor import thread_state

    # The user may have given the worker an executor of another kind.
    if hasattr(thread_state, "executor"):
        meter.leave_pool()
        secede()


def _find_worker() -> Any:
    """Return the worker that this thread belongs to; None in a child process."""
    if "distributed.worker" not in sys.modules:
        return None
    return _task_state().get("worker")


class TaskAnswer:
    """The answer of a batch that was a task of Dask; sent as one object.

    Parameters
    ----------
    answer : Answer
        Of the batch.
    said : list of Said
        What its items have said meanwhile.
    """

    __slots__ = ("answer", "said")

    def __init__(self, answer: Answer, said: list[Said]) -> None:
        self.answer = answer
        self.said = said

    def __sizeof__(self) -> int:
        # What Dask takes for the memory of a result.
        payload = self.answer.payload
        return object.__sizeof__(self) + (count_bytes(payload) if payload else 0)


class _NoBoard:
    """Stands in for a board where nobody can take items back."""

    def __init__(self, order: Order) -> None:
        self._next, self._stop = order.start, order.stop

    def claim(self, slot: int, n_items: int) -> tuple[int, int]:
        """Return the next items, as `Board.claim` does."""
        del slot
        start, self._next = self._next, min(self._next + n_items, self._stop)
        return start, self._next

    def finished(self, n_items: int) -> None:
        """Do nothing: nobody looks."""

    def handle(self, slot: int | None, stage: int = 0, types: str = "") -> None:
        """Do nothing, as above."""


def run_task(job: Packed, order: Order) -> TaskAnswer:
    """Execute one batch; the body of a Dask task.

    Parameters
    ----------
    job : Packed
        The `Job`; loaded once for all tasks of a call in this process.
    order : Order
        The batch, its items included.

    Returns
    -------
    TaskAnswer
    """
    opened: Job = unpack_once(job)
    rules, said = opened.rules, list[Said]()
    own = os.getpid(), find_place()
    is_far = rules is not None and (load_rules(rules).pid, job.place) != own
    with contextlib.ExitStack() as stack:
        meter = stack.enter_context(metered(_find_worker(), opened.name, is_task=True))
        voice = Voice(said.append)  # that nobody uses: the caller's own process
        if is_far:
            voice = stack.enter_context(speaking(said.append, rules, is_child=False))
        board = _NoBoard(order)
        answer = _execute(order, board, opened, None, job.place, meter, Trial(), voice)
    return TaskAnswer(answer, said)


def serve(
    link: Link,
    board: Board,
    job: Job,
    *,
    items: Sequence[Any] | None = None,
    home: Place | None = None,
    meter: LaneMeter | None = None,
    leave: Callable[[], None] | None = None,
) -> bool:
    """Execute the batches that arrive until the other side closes the link.

    Parameters
    ----------
    link : Link
        To the caller.
    board : Board
        Shared with the caller.
    job : Job
        What to do with an item.
    items : sequence, optional
        All items, where they need not be sent.
    home : Place, optional
        Where the caller runs.
    meter : LaneMeter, optional
        The books to keep; without, nobody reads them.
    leave : callable, optional
        Called at most once, when no batch has arrived for a while.

    Returns
    -------
    bool
        Whether the lane is to wait for another call; False if it was closed.
    """
    board.enter()
    is_child = _find_worker() is None
    with speaking(link.send_whole, job.rules, is_child=is_child) as voice:
        meter = meter or LaneMeter(job.name)
        voice.stays = _serve(link, board, job, items, home, meter, voice, leave)
        return voice.stays


def _serve(  # noqa: PLR0917 - an inner part of serve
    link: Link,
    board: Board,
    job: Job,
    items: Sequence[Any] | None,
    home: Place | None,
    meter: LaneMeter,
    voice: Voice,
    leave: Callable[[], None] | None,
) -> bool:
    trial = Trial()
    # The caller opens the shared memory of an answer when it receives it, and it has
    # by the time that it uses the slot again.
    held: dict[int, Answer] = {}
    try:
        while True:
            if leave is not None and not link.has_message(_LEAVE_S):
                leave()
                leave = None
            order = link.receive()
            if order is None:
                return True
            held.pop(order.slot, None)
            answer = _execute(order, board, job, items, home, meter, trial, voice)
            held[order.slot] = answer
            board.handle(None)
            link.send_whole(answer)
            meter.await_batch()
            del order, answer
    except (EOFError, OSError):
        return False  # the caller has closed the lane, or is gone


def _execute(  # noqa: PLR0917 - an inner part of serve
    order: Order,
    board: Board | _NoBoard,
    job: Job,
    everything: Sequence[Any] | None,
    home: Place | None,
    meter: LaneMeter,
    trial: Trial,
    voice: Voice,
) -> Answer:
    """Execute one batch, as far as nobody withdraws it."""
    meter.open_batch()
    meter.count_bytes(order.items)
    began, cpu_began = time.perf_counter(), time.thread_time()
    slot, start, items_s = order.slot, order.start, 0.0

    def answer(
        stop: int,
        payload: Sent | None = None,
        failures: Sequence[tuple[int, bytes, int]] = (),
        trouble: BaseException | None = None,
        *,
        unopened: bool = False,
    ) -> Answer:
        meter.count_bytes(payload)
        voice.flush()
        return Answer(
            slot,
            start,
            stop,
            payload,
            list(failures),
            None if trouble is None else _dump(trouble),
            unopened,
            time.perf_counter() - began,
            time.thread_time() - cpu_began,
            items_s,
        )

    board.handle(slot)
    try:
        if order.items is None:
            assert everything is not None
            batch = everything[start : order.stop]
        else:
            batch = open_sent(order.items)
    except BaseException as error:  # noqa: BLE001 - whatever a user's class raises
        return answer(start, trouble=error, unopened=True)
    board.handle(None)
    results = Partition()
    items_began = time.perf_counter()
    voice.place(start + job.n_before, results)
    caught = _run_claims(order, board, job, batch, results, meter)
    voice.place(None)
    meter.pack_results()
    items_s = time.perf_counter() - items_began
    board.handle(slot, SENDS)
    stop = start + len(results)
    failures = [
        (start + offset, _dump(error), attempts) for offset, error, attempts in caught
    ]
    if failures and not job.collect:
        stop = failures[0][0]
    payload: Any = results
    if job.combine is not None:
        raised = {index - start for index, _, _ in failures}
        good = [result for i, result in enumerate(results) if i not in raised]
        if not good:
            return answer(stop, None, failures)
        try:
            payload = job.combine(good)
        except BaseException as error:  # noqa: BLE001 - whatever a user's function raises
            return answer(stop, None, failures, error)
    try:
        sent: Sent | None = dump_plain(payload)
        if sent is None:
            announce = functools.partial(board.handle, slot, TRIES)
            sent = trial.pack(payload, home, items_s, announce)
        return answer(stop, sent, failures)
    except BaseException as error:  # noqa: BLE001 - whatever a user's class raises
        return _without_unpicklable(answer, start, results, failures, job, home, error)


def _run_claims(  # noqa: PLR0917 - an inner part of _execute
    order: Order,
    board: Board | _NoBoard,
    job: Job,
    batch: Sequence[Any],
    results: list[Any],
    meter: LaneMeter,
) -> list[Caught]:
    """Execute what the board lets this lane have of a batch."""
    caught: list[Caught] = []
    n_claim = max(1, order.n_claim)
    while True:
        first, end = board.claim(order.slot, n_claim)
        if first == end:
            board.finished(0)
            return caught
        meter.begin_claim(first + job.n_before)
        began = time.perf_counter()
        n_before = len(caught), len(results)
        chunk = batch[first - order.start : end - order.start]
        skipped = first - order.start
        caught += [
            (offset + skipped, error, attempts)
            for offset, error, attempts in run_chunk(
                job, chunk, results, (BaseException,)
            )
        ]
        board.finished(end - first)
        wall_s = time.perf_counter() - began
        n_failed = len(caught) - n_before[0]
        n_done = len(results) - n_before[1]
        if n_failed and not job.collect:
            n_done += 1
        meter.count_claim(first + job.n_before, n_done, n_failed, wall_s)
        if n_failed and not job.collect:
            return caught
        if order.n_claim:
            n_left = order.stop - end + order.n_beyond
            n_claim = size_claim(wall_s / (end - first), n_left)


def _dump(error: BaseException) -> bytes:
    """Return an error by `dump_error`, which only those import who need it."""
    from daskkit.run.exceptions import dump_error

    return dump_error(error)


def _without_unpicklable(  # noqa: PLR0917 - an inner part of _execute
    answer: Callable[..., Answer],
    start: int,
    results: Partition,
    failures: list[tuple[int, bytes, int]],
    job: Job,
    home: Place | None,
    error: BaseException,
) -> Answer:
    """Return the answer without the results that can't be sent, which are failures.

    Also where they were combined: what can't be sent then are mostly results in it.
    """
    known = {index - start for index, _, _ in failures}
    bad = set(known)
    for offset, result in enumerate(results):
        if offset in known:
            continue
        try:
            pack(result, home=home)
        except BaseException as reason:  # noqa: BLE001 - whatever a user's class raises
            index = start + offset
            failures.append((index, _dump(_describe_unsendable(index, reason)), 1))
            if not job.collect:
                done = None if job.combine else pack(results[:offset], home=home)
                return answer(index, done, failures)
            results[offset] = None
            bad.add(offset)
    stop, failures = start + len(results), sorted(failures)
    if bad == known:  # together they can't, each alone can
        is_combined = job.combine is not None
        return answer(stop if is_combined else start, None, failures, error)
    if job.combine is None:
        return answer(stop, pack(results, home=home), failures)
    good = [result for offset, result in enumerate(results) if offset not in bad]
    try:
        done = pack(job.combine(good), home=home) if good else None
    except BaseException as reason:  # noqa: BLE001 - whatever a user's function raises
        return answer(stop, None, failures, reason)
    return answer(stop, done, failures)


def _describe_unsendable(index: int, reason: BaseException) -> BaseException:
    """Return the error for a result that was computed but can't leave its process."""
    text = f"the result of item {index} can't be sent back from its worker: {reason}"
    raised = UnpicklableError(text)
    raised.__cause__ = reason
    return raised
