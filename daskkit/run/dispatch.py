"""Batches to lanes and answers back: what was sent, what is lost, who is idle.

Runs in the thread that feeds the lanes, except for `Dispatcher.close`.
"""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING, Any

from daskkit.errors import ClusterError, ItemTimeoutError, WorkerDiedError
from daskkit.run.batches import Batches, size_claim
from daskkit.run.echo import Echo
from daskkit.run.frozen import Freezes
from daskkit.run.lanes import Lane, LostError, ProcessLane
from daskkit.run.rules import dump_rules
from daskkit.run.threads import usable_cores
from daskkit.transport.auto import Packer
from daskkit.transport.errors import TransportError, UnpicklableError
from daskkit.transport.plain import dump_plain, open_sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.run.call import Call
    from daskkit.run.lane import Answer
    from daskkit.run.lanes import Batch, Running
    from daskkit.run.mailbox import Mailbox
    from daskkit.run.source import Part
    from daskkit.transport.auto import Packed
    from daskkit.transport.plain import Sent

__all__ = ["Dispatcher"]

# Items that wait behind others are worth this much before an idle lane takes them.
_STEAL_S = 0.002
# How often an idle lane looks whether another is stuck.
_STEAL_LOOK_S = 0.01
_TIMEOUT_LOOK_S = 0.02
# How much longer than an item it may take to open or to pack a batch, and to try its
# results: large ones take their time, but not for the latter.
_HANDLED_S = 5.0
_TRIED_S = 1.0
# A worker that has died comes back within seconds, or not at all.
_RETURN_S = 30.0
_RETURN_LOOK_S = 0.25
# Alone, an item may cost so many workers' lives: one may be an accident.
_MOST_DEATHS = 2
# A batch that can't be opened, or its results packed, without the end of the process:
# each cut costs another one, and each piece a message.
_N_CUTS = 8
_AHEAD = 2
# Lanes are judged by what they bring, after this time and so many answers of each.
_TRIAL_S = 0.05
_TRIAL_ANSWERS = 2
# An item of the calling thread that takes longer keeps a core from the last lane, if it
# computes: its share of CPU time is less where others have the core, but not that low.
_LONG_S, _COMPUTES = 0.01, 0.25
# The thread that feeds the lanes does nothing else if it is busy for this share.
_BUSY = 0.8


class Dispatcher:
    """Feeds the lanes of one call.

    Parameters
    ----------
    call : Call
        The call.
    mailbox : Mailbox
        Where the lanes' sockets are watched.
    find_lanes : callable
        Called from time to time while lanes that have died are missed; returns whether
        some are about to come.
    """

    def __init__(
        self, call: Call, mailbox: Mailbox, find_lanes: Callable[[], bool]
    ) -> None:
        self._call = call
        self._mailbox = mailbox
        self._find_lanes = find_lanes
        self._packer = Packer()
        self._job: Packed | None = None
        self.lanes: list[Lane] = []
        self._batches: Batches | None = None
        #: Items of the batch that was sent last, and why so many.
        self.last_size: tuple[int, str] = (0, "")
        self._deaths: dict[int, int] = {}
        # What processes were ended for: the items that they executed, or the batch that
        # they handled.
        self._overdue: dict[int, tuple[Running | None, Batch | None]] = {}
        self._freezes = Freezes()
        self._n_cores = usable_cores()
        self._echo = Echo(call.job.name, call.bar)
        # Until when a lane that has died is waited for.
        self._returns_by_s = math.inf
        self._next_return_s = 0.0
        self._n_most = 0
        # What lanes have brought since the first of them began.
        self._began_s = math.inf
        self._n_answers = 0
        self._items_s = 0.0
        self._lanes_s = 1e-9
        self._cpu_began_s = 0.0
        self.expect()

    def pack_job(self) -> Packed:
        """Return the job in the form in which it travels."""
        if self._job is None:
            self._call.job.prepare_to_leave()
            job = self._call.job.replace(rules=dump_rules())
            self._job = self._packer.pack(job)
        return self._job

    def expect(self) -> None:
        """Look for lanes for some time, as there are fewer than there should be."""
        if self._returns_by_s == math.inf:
            self._returns_by_s = time.monotonic() + _RETURN_S
            self._next_return_s = time.monotonic() + _RETURN_LOOK_S

    def add(self, lane: Lane) -> None:
        """Take in a lane that is ready."""
        self.lanes.append(lane)
        lane.hear = functools.partial(self._echo.hear, where=lane.where)
        self._n_most = max(self._n_most, len(self.lanes))
        if len(self.lanes) >= self._n_most:
            self._returns_by_s = math.inf
        if self._began_s == math.inf:
            self._began_s = time.perf_counter()
            self._cpu_began_s = time.thread_time()
        item_s = self._call.pilot.item_s or 0.01
        if self._batches is None:
            self._batches = Batches(len(self.lanes), item_s, lane.hand_over)
        self._batches.n_workers = len(self.lanes)
        if isinstance(lane, ProcessLane):
            self._mailbox.watch(lane.link, lambda: self.receive(lane))
            self._flush_later(lane)  # a child has yet to be sent the job

    def retire(self, lanes: list[Lane]) -> None:
        """Give lanes nothing more; they go when they have answered."""
        for lane in lanes:
            if lane in self.lanes:
                lane.is_retiring = True
                for part in lane.withdraw(share=1.0):
                    self._call.give_back(part)
                if not lane.batches:
                    self._drop(lane)

    def close(self) -> None:
        """Close all lanes and free what was sent; a second call does nothing."""
        for lane in self.lanes:
            if self._call.is_complete:
                lane.drain()
            else:
                lane.hear_rest()
            lane.close()
            for batch in lane.batches.values():
                batch.close()
        self.lanes.clear()
        self._echo.close()
        if self._job is not None:
            self._job.close()
            self._job = None

    @property
    def patience_s(self) -> float:
        """How long nothing may happen before somebody has to look up."""
        patience_s = 0.5
        if any(not lane.batches for lane in self.lanes):
            patience_s = _STEAL_LOOK_S
        if self._call.job.timeout is not None:
            patience_s = min(patience_s, _TIMEOUT_LOOK_S)
        if self._returns_by_s < math.inf:
            patience_s = min(patience_s, _RETURN_LOOK_S)
        return patience_s

    def measure_use(self) -> float | None:
        """Return how many cores' worth of items the lanes execute, once that is known.

        Returns
        -------
        float or None
            The share of a lane's time that its items take, without transport, times the
            number of lanes; less if this thread can't feed them all. Other load on the
            machine doesn't change it.
        """
        wall_s = time.perf_counter() - self._began_s
        if self._n_answers < _TRIAL_ANSWERS * len(self.lanes) or wall_s < _TRIAL_S:
            return None
        use = len(self.lanes) * self._items_s / self._lanes_s
        busy_s = time.thread_time() - self._cpu_began_s
        if busy_s > _BUSY * wall_s:
            use = min(use, self._items_s / wall_s)
        return use

    # Sending.

    def fill(self) -> None:
        """Give all lanes enough to do, and one another's work where nothing is left."""
        for depth in (1, 2):
            for lane in self._usable():
                if lane.has_room and len(lane.batches) < depth and not self._feed(lane):
                    self._rebalance()
                    return

    @property
    def is_one_idle(self) -> bool:
        """Whether a lane has nothing to do."""
        return not all(lane.batches for lane in list(self.lanes))

    def _usable(self) -> list[Lane]:
        """Return the lanes for which there are cores, those first that are busy.

        One fewer while the calling thread computes for long, and for each lane that has
        to end what it does: three processes on two cores end no sooner, and items that
        take turns on a core end late together.
        """
        lanes = [lane for lane in self.lanes if not lane.is_retiring]
        leaving = [lane for lane in self.lanes if lane.is_retiring and lane.batches]
        wheres = {lane.where for lane in leaving}
        # Those last whose worker is amid something else.
        lanes.sort(key=lambda lane: (not lane.batches, lane.where in wheres))
        n_usable = max(0, len(lanes) - len(leaving))
        if n_usable >= self._n_cores and self._is_caller_amid_long():
            n_usable = max(1, self._n_cores - 1)
        return lanes[:n_usable]

    def _is_caller_amid_long(self) -> bool:
        """Return whether the calling thread takes a core from the lanes for long."""
        pilot = self._call.pilot
        part = pilot.part
        if part is None or not all(isinstance(one, ProcessLane) for one in self.lanes):
            return False
        # As likely as not it is going to take as long again.
        running_s = 2 * (time.perf_counter() - pilot.part_began)
        if max(running_s, pilot.item_s * len(part.items)) < _LONG_S:
            return False
        return pilot.facts is None or pilot.facts.cpu_share >= _COMPUTES

    def _feed(self, lane: Lane) -> bool:
        """Send a batch to a lane; return whether there was one."""
        call = self._call
        assert self._batches is not None
        if call.is_stream and not call.source.has_returned:
            n_open = call.n_ahead + sum(len(lane.batches) for lane in self.lanes)
            if n_open > _AHEAD * (2 * len(self.lanes) + 1):
                return True  # the consumer is slow; there is work, but not now
        size = call.batch_size or self._batches.next_size(call.source.n_left)
        part = call.take(size)
        if part is None:
            return False
        reason = "as asked for" if call.batch_size else self._batches.reason
        self.last_size = (len(part.items), reason)
        self._send(lane, part)
        return True

    def _send(self, lane: Lane, part: Part) -> None:
        sent: Sent | None = None
        if not lane.knows_items:
            items: Any = part.items
            if isinstance(items, tuple):
                items = list(items)
            # An endless input may yield the same array with other content each time.
            packer = Packer() if self._call.is_stream else self._packer
            try:
                sent = dump_plain(items) or packer.pack(items, keep=False)
            except TransportError as error:
                self._cannot_send(part, error)
                return
        assert self._batches is not None
        n_beyond = (self._call.source.n_left or 0) // len(self.lanes)
        # How long they take there is not known before one has ended.
        n_left = len(part.items) + n_beyond if self._batches.n_ended else 0
        n_claim = size_claim(self._batches.item_s, n_left)
        if part.is_suspect or self._call.job.timeout is not None:
            n_claim = 0
        try:
            is_through = lane.send(part, sent, n_claim, n_beyond)
        except LostError:
            self._lost(lane)
            return
        if not is_through and isinstance(lane, ProcessLane):
            self._flush_later(lane)

    def _flush_later(self, lane: ProcessLane) -> None:
        """Go on sending when the socket of a lane has room."""

        def flush() -> None:
            if lane not in self.lanes:
                return
            try:
                is_through = lane.flush()
            except LostError:
                self._lost(lane)
                return
            if is_through:
                self._mailbox.watch_room(lane.link, None)

        self._mailbox.watch_room(lane.link, flush)

    def _cannot_send(self, part: Part, error: TransportError) -> None:
        """Leave items that can't be pickled to the caller, or say which they are."""
        call = self._call
        if call.where == "auto" and call.job.timeout is None and not part.is_suspect:
            with call.changed:
                call.local.append(part)
                call.n_open -= len(part.items)
                call.changed.notify_all()
            return
        good: list[Part] = []
        for index in range(part.start, part.stop):
            single = part.between(index, index + 1)
            try:
                self._packer.pack(list(single.items), keep=False).close()
            except TransportError as reason:
                text = f"item {index} can't be sent to a worker: {reason}"
                raised = UnpicklableError(text)
                raised.__cause__ = reason.__cause__
                self._fail_item(single, raised, "this process", 0)
            else:
                good.append(single)
        if len(good) == part.stop - part.start:
            raise error  # each alone can be sent, all together can't
        for single in good:
            call.give_back(single)

    def _rebalance(self) -> None:
        """Let idle lanes have what waits at busy ones."""
        idle = [lane for lane in self._usable() if lane.has_room and not lane.batches]
        assert self._batches is not None or not idle
        for lane in idle:
            busy = [one for one in self.lanes if isinstance(one, ProcessLane)]
            busy.sort(key=lambda one: -one.n_waiting)
            for victim in busy:
                n_waiting = victim.n_waiting
                worth_s = n_waiting * self._batches.item_s  # type: ignore[union-attr]
                if n_waiting == 0 or not (victim.is_stuck or worth_s > _STEAL_S):
                    continue
                parts = victim.withdraw(share=1.0 if victim.is_stuck else 0.5)
                for part in parts:
                    self._call.give_back(part)
                if parts:
                    self._feed(lane)
                    break
        if idle:
            self._call.cut_short(_STEAL_LOOK_S)

    # Receiving.

    def receive(self, lane: Lane) -> None:
        """Take an answer from a lane."""
        if lane not in self.lanes:
            return
        try:
            received = lane.receive()
        except LostError:
            self._lost(lane)
            return
        if received is None:
            return
        batch, answer = received
        batch.close()
        if answer.unopened:
            assert answer.trouble is not None
            self._unopened(lane, batch, _load(answer.trouble), "argument")
        elif answer.trouble is not None:
            self._call.fail(_load(answer.trouble))
        else:
            self._open(lane, batch, answer)
        if lane.is_retiring and not lane.batches:
            self._drop(lane)

    def _open(self, lane: Lane, batch: Batch, answer: Answer) -> None:
        """Keep the results of a batch."""
        call = self._call
        results: Any = []
        if answer.payload is not None:
            try:
                results = open_sent(answer.payload)
            except (Exception, SystemExit) as reason:  # noqa: BLE001 - whatever a user's class raises
                self._unopened(lane, batch, reason, "result")
                return
        for index, dumped, attempts in answer.failures:
            error = _load(dumped)
            item = batch.part.items[index - batch.part.start]
            n_before = index - answer.start
            failure = call.note(index, item, error, lane.where, attempts, n_before)
            if call.job.collect and call.job.combine is None:
                results[index - answer.start] = failure
        n_executed = answer.stop - answer.start
        part = batch.part.between(answer.start, batch.stop)
        if answer.failures and not call.job.collect:
            n_executed += 1
        is_combined = call.job.combine is not None and answer.payload is not None
        if n_executed:
            assert self._batches is not None
            self._batches.ended(n_executed, answer.wall_s)
            self._n_answers += 1
            self._items_s += answer.items_s
            self._lanes_s += answer.wall_s
        call.store(part, results, n_executed, is_combined=is_combined)

    def _unopened(
        self, lane: Lane, batch: Batch, error: BaseException, what: str
    ) -> None:
        """Find out which item can't be rebuilt on the other side: one by one."""
        part = batch.part.between(batch.part.start, batch.stop)
        if part.stop - part.start != 1:
            for index in range(part.start, part.stop):
                single = part.between(index, index + 1)
                self._call.give_back(single.marked(is_suspect=True))
            return
        side = "in a worker" if what == "argument" else "in this process"
        name = f"{type(error).__name__}: {error}"
        raised = TransportError(
            f"the {what} of item {part.start} can't be rebuilt {side}: {name}"
        )
        raised.__cause__ = error
        self._fail_item(part, raised, lane.where, 1)

    def _fail_item(
        self, part: Part, error: BaseException, where: str, attempts: int
    ) -> None:
        """Keep the error of a part of one item."""
        call = self._call
        failure = call.note(part.start, part.items[0], error, where, attempts)
        results = [failure] if call.job.collect else []
        call.store(part, results, 1)

    # Losing.

    def check_time_outs(self) -> None:
        """End the process of an item that takes too long."""
        timeout = self._call.job.timeout
        if timeout is None:
            return
        for lane in self.lanes:
            if not isinstance(lane, ProcessLane) or lane.pid in self._overdue:
                continue
            running = lane.running
            if running is None:
                # Code of its class may hang, too; large items just take their time.
                more_s = _TRIED_S if lane.is_trying else _HANDLED_S
                if lane.handled_s > timeout + more_s:
                    self._end_overdue(lane, None)
            elif time.perf_counter() - running[2] > timeout:
                self._end_overdue(lane, running)

    def _end_overdue(self, lane: ProcessLane, running: Running | None) -> None:
        """End a process, and keep what for: it may get to something else until then."""
        handled = lane.handled if running is None else None
        self._overdue[lane.pid] = running, handled
        lane.kill()

    def check_freezes(self) -> None:
        """End a process that was stopped with something to do, and is not thawed."""
        lanes = [
            lane
            for lane in self.lanes
            if isinstance(lane, ProcessLane) and lane.batches
        ]
        frozen = self._freezes.find(lane.pid for lane in lanes)
        for lane in lanes:
            if lane.pid in frozen:
                lane.kill()

    def _lost(self, lane: Lane) -> None:
        """Go on without a lane whose process has ended; its items are not lost."""
        running, handling = lane.running, ""
        handled = lane.handled if running is None else None
        if isinstance(lane, ProcessLane):
            handling = lane.describe_handling("{}")
            lane.is_lost = True
            self._drop(lane)
        else:  # a share of the cluster, and no process: only its batches are taken
            lane.close()
        cause = None
        overdue = self._overdue.pop(getattr(lane, "pid", -1), None)
        if overdue is None:
            cause = lane.cause()
        else:
            running, handled = overdue
        for batch in lane.batches.values():
            batch.close()
            start, stop = batch.part.start, batch.stop
            if batch is handled and start < stop:
                part = batch.part.between(start, stop)
                self._suspect_whole(part, lane, cause, handling)
                continue
            first, end = (start, stop)  # of a task of Dask nobody knows how far it got
            if isinstance(lane, ProcessLane):
                first, end = (start, start) if running is None else running[:2]
                first, end = max(start, min(first, stop)), max(start, min(end, stop))
            for one, other in ((start, first), (end, stop)):
                if one < other:
                    part = batch.part.between(one, other)
                    self._call.give_back(part.marked(is_suspect=False))
            if first < end:
                suspect = batch.part.between(first, end).marked(is_suspect=True)
                self._suspect(suspect, lane, cause)
        lane.batches.clear()
        self.expect()

    def _suspect_whole(
        self, part: Part, lane: Lane, cause: str | None, doing: str
    ) -> None:
        """Try parts again of what a process has died with before or after it ran."""
        n_items = part.stop - part.start
        if n_items == 1:
            part = part.marked(is_suspect=True)
            self._suspect(part, lane, cause, doing=doing)
            return
        size = -(-n_items // _N_CUTS)
        for start in range(part.start, part.stop, size):
            piece = part.between(start, min(start + size, part.stop))
            self._call.give_back(piece.marked(is_suspect=True))

    def _suspect(
        self,
        part: Part,
        lane: Lane,
        cause: str | None,
        *,
        doing: str = "ran {}",
    ) -> None:
        """Try again what a process has died with, until the guilty item is alone.

        Without a cause it was ended for its time-out.
        """
        index = part.start
        if cause is None:
            timeout = self._call.job.timeout
            text = (
                f"{self._call.job.name_item(index, part.items[0])} took longer than "
                f"its time-out of {timeout} s; its process was ended"
            )
            if doing != "ran {}":
                text += f" while it {doing.replace('{}', f'item {index}')}"
            self._fail_item(part, ItemTimeoutError(text), lane.where, 1)
            return
        if len(part.items) > 1:
            if not isinstance(lane, ProcessLane):  # each half by itself
                middle = (part.start + part.stop) // 2
                self._call.give_back(part.between(part.start, middle))
                self._call.give_back(part.between(middle, part.stop))
            else:  # they are claimed one by one from now on
                self._call.give_back(part)
            return
        self._deaths[index] = self._deaths.get(index, 0) + 1
        if self._deaths[index] < _MOST_DEATHS:
            self._call.give_back(part)
            return
        what = self._call.job.name_item(index, part.items[0])
        text = (
            f"a worker process died while it {doing.replace('{}', what)}, "
            f"{self._deaths[index]} times; the last time: {cause}"
        )
        error = WorkerDiedError(text)
        self._fail_item(part, error, lane.where, self._deaths[index])

    def _drop(self, lane: Lane) -> None:
        if lane in self.lanes:
            self.lanes.remove(lane)
            if isinstance(lane, ProcessLane):
                self._mailbox.ignore(lane.link)
            lane.close()

    def await_returns(self) -> None:
        """Look for lanes that take the place of lost ones, for some time."""
        if self._returns_by_s == math.inf:
            return
        now = time.monotonic()
        if now > self._returns_by_s:
            self._returns_by_s = math.inf
            if self.lanes:
                return
            if self._find_lanes():  # they are there, but busy
                self.expect()
                return
            if self._call.source.has_suspects:
                msg = (
                    "a worker process died, and no other came up within "
                    f"{_RETURN_S:.0f} s to try its items again; look at its log"
                )
                raise WorkerDiedError(msg)
            if self._call.is_paused:
                msg = (
                    f"no worker has taken an item within {_RETURN_S:.0f} s; are there "
                    "workers, and what keeps them busy? (client.processing())"
                )
                raise ClusterError(msg)
        elif now >= self._next_return_s:
            self._next_return_s = now + _RETURN_LOOK_S
            self._find_lanes()


def _load(dumped: bytes) -> BaseException:
    """Return an error from `dump_error`; only those import that who need it."""
    from daskkit.run.exceptions import load_error

    return load_error(dumped)
