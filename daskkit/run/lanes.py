"""The caller's side of lanes: whatever takes batches, one interface.

`ProcessLane` talks to a process of this machine by a socket of its own; `TaskLane`
sends batches to any Dask worker as tasks. `run.children` and `run.workers` make them.
"""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from daskkit.run.batches import DIRECT, TASK, HandOver
from daskkit.run.board import N_SLOTS, OPENS, SENDS, TRIES, Board
from daskkit.run.lane import Order
from daskkit.run.voice import Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.run.lane import Answer
    from daskkit.run.link import Link
    from daskkit.run.source import Part
    from daskkit.transport.auto import Packed
    from daskkit.transport.plain import Sent

    # First and end of what a lane executes, and since when.
    Running = tuple[int, int, float]

__all__ = ["Batch", "Lane", "LostError", "ProcessLane", "TaskLane"]

# An item is stuck if it takes this long: whoever is idle may take what waits behind it.
_STUCK_S = 0.01
# An answer without items takes as long as a message.
_DRAIN_S = 0.05
# Who has begun to send a message has sent it by then, or was stopped.
_REST_S = 0.5


class LostError(Exception):
    """A lane's process is gone; only seen within `daskkit.run`."""


class Batch:
    """Items that a lane has."""

    def __init__(self, part: Part, packed: Packed | None) -> None:
        self.part = part
        #: First index that the lane may not execute any more: what follows was
        #: withdrawn.
        self.stop = part.stop
        #: The items as they were sent, to be closed when they are done, if need be.
        self.packed = packed

    def close(self) -> None:
        """Free the memory that the items were sent in."""
        if self.packed is not None:
            self.packed.close()
            self.packed = None


class Lane(abc.ABC):
    """Takes up to two batches at a time and answers each."""

    #: What handing over a batch costs.
    hand_over: HandOver

    def __init__(self, where: str) -> None:
        #: Where items are executed, for messages.
        self.where = where
        #: Batches by slot, in the order in which they were sent.
        self.batches: dict[int, Batch] = {}
        #: Whether it gets no more batches.
        self.is_retiring = False
        #: Whether its process has ended.
        self.is_lost = False
        #: Whether it finds the items by their index, and need not be sent them.
        self.knows_items = False
        #: ``hear(said)`` takes what its items say.
        self.hear: Callable[[Said], Any] = _ignore

    @property
    def has_room(self) -> bool:
        """Whether it takes another batch."""
        return not self.is_retiring and len(self.batches) < N_SLOTS

    def send(self, part: Part, items: Sent | None, n_claim: int, n_beyond: int) -> bool:
        """Hand over a batch; raises `LostError` if nobody is there to take it.

        Parameters
        ----------
        part : Part
            Its items.
        items : Packed or bytes, optional
            The same, as they are sent; None for a lane that knows them.
        n_claim, n_beyond : int
            As of `Order`.

        Returns
        -------
        bool
            Whether it is through; if not, call `flush` when there is room.
        """
        slot = next(slot for slot in range(N_SLOTS) if slot not in self.batches)
        packed = None if isinstance(items, bytes) else items
        self.batches[slot] = Batch(part, packed)
        order = Order(slot, part.start, part.stop, n_claim, n_beyond, items)
        try:
            return self._send(order)
        except OSError as error:
            raise LostError from error

    def flush(self) -> bool:
        """Go on handing over; return whether all is through."""
        return True

    def withdraw(self, *, share: float = 0.5) -> list[Part]:
        """Return a share of the items that it has not begun, and have it drop them."""
        del share  # a lane that can't give anything back
        return []

    @property
    def running(self) -> Running | None:
        """First and end of what it executes now, and since when; None if unknown."""
        return None

    @property
    def handled(self) -> Batch | None:
        """The batch whose items it opens or results it packs; None if unknown."""
        return None

    @abc.abstractmethod
    def receive(self) -> tuple[Batch, Answer] | None:
        """Return a batch and its answer; raises `LostError` if the lane is gone.

        None if it was something else that has arrived.
        """

    def drain(self) -> None:
        """Take the answers to batches of which nothing was left."""
        return

    def hear_rest(self) -> None:
        """Take what items have said by now of a call that is broken off."""
        return

    @abc.abstractmethod
    def kill(self) -> None:
        """End its process, whatever it does."""

    @abc.abstractmethod
    def close(self) -> None:
        """Have it end after the item that it executes; a second call does nothing."""

    @abc.abstractmethod
    def cause(self) -> str:
        """Return why its process ended, for a message; call it once it is gone."""

    @abc.abstractmethod
    def _send(self, order: Order) -> bool: ...


class ProcessLane(Lane):
    """A lane in another process of this machine.

    Parameters
    ----------
    link : Link
        To the process; closed with the lane.
    board : Board
        Shared with it; closed with the lane.
    pid : int
        Of the process.
    where : str
        For messages.
    find_cause : callable
        ``find_cause(pid)`` waits for the end of the process, not for long, and says
        why it ended.
    keep : callable, optional
        ``keep(lane)`` keeps it for another call instead of closing it, if it returns
        True.
    """

    hand_over = DIRECT

    def __init__(
        self,
        link: Link,
        board: Board,
        pid: int,
        where: str,
        *,
        find_cause: Callable[[int], str],
        keep: Callable[[ProcessLane], bool] | None = None,
    ) -> None:
        super().__init__(where)
        self._keep = keep
        self.link = link
        self.board = board
        self.pid = pid
        self._is_closed = False
        self._find_cause = find_cause

    @property
    def running(self) -> Running | None:
        """First and end of what it executes now, and since when; None if idle."""
        if self._is_closed:
            return None
        start, stop, began = self.board.running
        return (start, stop, began) if stop > start else None

    @property
    def handled(self) -> Batch | None:
        """The batch whose items it opens or whose results it packs; None for none."""
        slot = None if self._is_closed else self.board.handling[0]
        return None if slot is None else self.batches.get(slot)

    @property
    def handled_s(self) -> float:
        """For how long it has been opening items or packing results, in seconds."""
        if self._is_closed:
            return 0.0
        handled, _, began_s = self.board.handling
        return 0.0 if handled is None else time.perf_counter() - began_s

    @property
    def is_trying(self) -> bool:
        """Whether it tries, or has tried last, if results can be rebuilt."""
        return not self._is_closed and self.board.handling[1] == TRIES

    def describe_handling(self, what: str) -> str:
        """Return what it was doing with an item that it did not execute."""
        if self._is_closed:
            return ""
        _, stage, _ = self.board.handling
        if stage == OPENS:
            return f"took in {what}"
        if stage == SENDS:
            return f"packed the result of {what}"
        return f"tried to rebuild the result of {what}, with {self.board.types}"

    @property
    def n_waiting(self) -> int:
        """Items that it has not begun, more or less."""
        running = self.running
        claimed = -1 if running is None else running[1]
        n_waiting = 0
        for batch in self.batches.values():
            start = batch.part.start
            if start <= claimed <= batch.stop:
                start = claimed
            if not batch.part.is_suspect:
                n_waiting += batch.stop - start
        return n_waiting

    @property
    def is_stuck(self) -> bool:
        """Whether the item that it executes takes long."""
        running = self.running
        return running is not None and time.perf_counter() - running[2] > _STUCK_S

    def withdraw(self, *, share: float = 0.5) -> list[Part]:
        """Return a share of the items that it has not begun, the last ones first."""
        parts = []
        # A lane that executes nothing is just taking in its first batch. Were an item
        # withdrawn that takes long to be taken in, it would go back and forth for ever.
        first = next(iter(self.batches), None) if self.running is None else None
        for slot, batch in list(self.batches.items())[::-1]:
            if batch.part.is_suspect:
                continue
            n_least = 1 if slot == first else 0
            start, stop = self.board.withdraw(slot, keep=1 - share, n_least=n_least)
            if start < stop:
                batch.stop = start
                parts.append(batch.part.between(start, stop))
                if share < 1:
                    break
        return parts

    def receive(self) -> tuple[Batch, Answer] | None:
        """Return a batch and its answer; raises `LostError` if the lane is gone.

        None if its items have said something. Raises what kept the other side from
        opening the job, if that happened.
        """
        try:
            answer: Answer | Said | bytes = self.link.receive()
        except (EOFError, OSError) as error:
            raise LostError from error
        if isinstance(answer, bytes):
            from daskkit.run.exceptions import load_error

            raise load_error(answer)
        if isinstance(answer, Said):
            self.hear(answer)
            return None
        return self.batches.pop(answer.slot), answer

    def drain(self) -> None:
        """Take the answers to batches of which nothing was left."""
        with contextlib.suppress(LostError):
            while self.batches and self.link.has_message(_DRAIN_S):
                received = self.receive()
                if received is not None:
                    received[0].close()

    def hear_rest(self) -> None:
        """Take what items have said by now of a call that is broken off."""
        if self._is_closed or not self.batches:
            return
        self.link.be_patient(_REST_S)
        with contextlib.suppress(EOFError, OSError):
            while self.link.has_message(0.0):
                message = self.link.receive()
                if isinstance(message, Said):
                    self.hear(message)

    def kill(self) -> None:
        """End its process, whatever it does; the lane then is lost."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Have it end after the items that it has claimed, or wait if it has none."""
        if self._is_closed:
            return
        self._is_closed = True
        is_idle = not self.batches and not self.is_lost
        if not (is_idle and self._keep is not None and self._keep(self)):
            for slot in self.batches:
                self.board.withdraw(slot)
            self.link.close()
            self.board.close()

    def cause(self) -> str:
        """Return why its process ended."""
        return self._find_cause(self.pid)

    def flush(self) -> bool:
        """Go on handing over; return whether all is through."""
        try:
            return self.link.flush()
        except OSError as error:
            raise LostError from error

    def _send(self, order: Order) -> bool:
        self.board.offer(order.slot, order.start, order.stop)
        return self.link.send(order)


class TaskLane(Lane):
    """A share of a cluster that is reached by Dask's tasks only.

    Parameters
    ----------
    submit : callable
        ``submit(lane, order)`` sends a batch; what comes of it is put into `arrived`.
    forget : callable
        ``forget(start)`` cancels the batch whose first item has that index.
    where : str
        For messages.
    """

    hand_over = TASK

    def __init__(
        self,
        submit: Callable[[TaskLane, Order], Any],
        forget: Callable[[int], None],
        where: str,
    ) -> None:
        super().__init__(where)
        self._submit = submit
        self._forget = forget
        #: What arrived and was not received yet: slot, and answer or exception.
        self.arrived: list[tuple[int, Any]] = []
        self._cause = "cause unknown"

    def receive(self) -> tuple[Batch, Answer]:
        """Return a batch and its answer; raises `LostError` if its worker died."""
        slot, outcome = self.arrived.pop(0)
        if isinstance(outcome, BaseException):
            self._cause = str(outcome)
            raise LostError from outcome
        return self.batches.pop(slot), outcome

    def kill(self) -> None:
        """Do nothing: the process belongs to others."""

    def close(self) -> None:
        """Cancel what has not begun."""
        for batch in self.batches.values():
            self._forget(batch.part.start)

    def cause(self) -> str:
        """Return what Dask says."""
        return self._cause

    def _send(self, order: Order) -> bool:
        self._submit(self, order)
        return True


def _ignore(said: Said) -> None:
    """Do nothing: nobody has asked for it."""
