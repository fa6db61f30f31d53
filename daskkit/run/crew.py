"""The lanes of one call: where they come from, and who takes the place of lost ones."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING

from daskkit.run.forks import can_fork, note_forks
from daskkit.run.session import session
from daskkit.run.switching import sparing_garbage
from daskkit.run.threads import usable_cores
from daskkit.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributed import Client

    from daskkit.run.call import Call
    from daskkit.run.dispatch import Dispatcher
    from daskkit.run.lanes import ProcessLane
    from daskkit.run.mailbox import Mailbox
    from daskkit.run.news import News
    from daskkit.run.scout import Scout
    from daskkit.run.workers import Workers

__all__ = ["Crew"]

# A cluster is started if what is left keeps all lanes busy so many times as long.
_CLUSTER_WORTH = 5
# How long the calling thread may take to come to the end of its items and fork.
_FORK_PATIENCE_S = 0.05
# How long nothing may happen where nobody waits for anything.
_REST_S = 0.5


class Crew:
    """Opens lanes at a cluster, forks or starts them; used by the feeder's thread.

    Parameters
    ----------
    call : Call
        The call.
    scout : Scout
        Is told why there can be no lanes, if that is so.
    mailbox : Mailbox
        Of the feeder's thread.
    news : News
        Is told of the cluster.
    suspend, resume : callable
        End the feeder's thread and start it again, without arguments: the calling
        thread forks in between, with no other one there.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        call: Call,
        scout: Scout,
        mailbox: Mailbox,
        news: News,
        suspend: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._call = call
        self._scout = scout
        self._mailbox = mailbox
        self._news = news
        self._suspend = suspend
        self._resume = resume
        self._n_cores = usable_cores()
        self._children: list[ProcessLane] = []
        self._workers: Workers | None = None
        self._stack = contextlib.ExitStack()
        # Since when the calling thread has been asked to fork, and how often.
        self._asked_s = math.inf
        self._n_wanted = 0
        self._waits_for_cluster = False
        #: Feeds the lanes, once there are or will be some.
        self.dispatcher: Dispatcher | None = None
        #: Whether others have been sent for.
        self.is_sent_for = False

    @property
    def n_expected(self) -> int:
        """Lanes at a cluster that were asked for and are not ready."""
        return 0 if self._workers is None else self._workers.n_expected

    @property
    def patience_s(self) -> float:
        """How long nothing may happen before `work` has to look."""
        patience_s = _REST_S if self.dispatcher is None else self.dispatcher.patience_s
        if self._workers is not None:
            patience_s = min(patience_s, self._workers.patience_s)
        if self._asked_s < math.inf:
            patience_s = min(patience_s, _FORK_PATIENCE_S)
        return patience_s

    def hand_over(self) -> None:
        """Open lanes at a cluster, or have children made."""
        self.is_sent_for = True
        call, client = self._call, self._call.client
        if client is None:
            self._find_children(self._n_cores)
            return
        try:
            self._prepare().pack_job()
        except TransportError as error:
            if call.where == "cluster" or call.job.timeout is not None:
                raise
            # It was another function that could be sent a call ago.
            call.obstacle, call.is_paused = str(error), False
            self._cannot_start(error)
            return
        self._open_workers(client)

    def fill(self) -> None:
        """Give lanes more to do, and start children where no fork has come about."""
        self._await_fork()
        if self.dispatcher is not None:
            self.dispatcher.fill()

    def work(self) -> None:
        """Look which lanes have come, and which are late."""
        if self._workers is not None:
            self._workers.poll()
        if self.dispatcher is not None:
            self.dispatcher.check_time_outs()
            self.dispatcher.check_freezes()
            self.dispatcher.await_returns()

    def consider_cluster(self) -> None:
        """Have a cluster started where what is left would keep it busy for long."""
        if self.dispatcher is None or not self._children or self._waits_for_cluster:
            return
        call, n_lanes = self._call, len(self.dispatcher.lanes)
        n_left = call.source.n_left
        n_left = call.n_done if n_left is None else n_left
        if n_left * call.pilot.item_s > _CLUSTER_WORTH * session.start_s * n_lanes > 0:
            self._waits_for_cluster = True
            session.start(lambda: self._mailbox.post(self._change_over))

    def close(self) -> None:
        """End the lanes, in whatever state; a second call does nothing."""
        if self.dispatcher is not None:
            self.dispatcher.close()
            # It refers to this object; both would stay until garbage is collected.
            self.dispatcher = None
        if self._children:
            from daskkit.run.children import end_lanes

            end_lanes(self._children)
            self._children.clear()
        if self._workers is not None:
            self._workers.close()
            self._workers = None
        self._stack.close()

    def _prepare(self) -> Dispatcher:
        if self.dispatcher is None:
            from daskkit.run.dispatch import Dispatcher

            self.dispatcher = Dispatcher(self._call, self._mailbox, self._replace_lanes)
        return self.dispatcher

    def _open_workers(self, client: Client) -> None:
        from daskkit.run.workers import Workers

        dispatcher = self._prepare()
        self._news.client = client
        self._stack.enter_context(session.used())
        self._workers = Workers(
            client,
            dispatcher.pack_job(),
            self._call.job.name,
            self._mailbox,
            dispatcher.add,
            dispatcher.receive,
            dispatcher.retire,
        )
        self._workers.open(is_first=True)

    def _find_children(self, n_lanes: int) -> None:
        """Have the calling thread fork where that is safe, or start children."""
        if can_fork(besides=1):
            self._n_wanted = n_lanes
            self._asked_s = time.monotonic()
            with self._call.changed:
                self._call.chore = self._fork
                self._call.changed.notify_all()
        else:
            self._spawn(n_lanes)

    def _await_fork(self) -> None:
        """Start children after all if the calling thread is busy with a long item."""
        if not time.monotonic() - self._asked_s >= _FORK_PATIENCE_S:
            return
        self._asked_s = math.inf
        try:
            self._prepare().pack_job()
        except TransportError:
            return  # only a fork can have it, so it is waited for
        with self._call.changed:
            if self._call.chore is None:
                return  # it is about to do it, and waits for this thread to end
            self._call.chore = None
        self._spawn(self._n_wanted)

    def _fork(self) -> None:
        """Make children; called by the calling thread, with nobody else here."""
        with sparing_garbage():
            from daskkit.run.children import fork_lanes

        self._suspend()
        self._asked_s = math.inf
        call = self._call
        if call.is_over:
            return
        if can_fork():
            call.job.prepare_to_leave()
            sequence = call.source.sequence
            began_s = time.perf_counter()
            try:
                lanes = fork_lanes(self._n_wanted, call.job, sequence)
                note_forks(time.perf_counter() - began_s)
            except OSError as error:
                self._cannot_start(error)
                lanes = []
            for lane in lanes:
                lane.knows_items = sequence is not None
            self._take_in(lanes)
        else:
            self._spawn(self._n_wanted)
        self._resume()

    def _spawn(self, n_lanes: int) -> None:
        from daskkit.run.children import spawn_lanes

        try:
            self._take_in(spawn_lanes(n_lanes, self._prepare().pack_job()))
        except (OSError, TransportError) as error:
            self._cannot_start(error)

    def _take_in(self, lanes: Sequence[ProcessLane]) -> None:
        dispatcher = self._prepare()
        for lane in lanes:
            self._children.append(lane)
            dispatcher.add(lane)
        if self._call.where == "auto" and len(dispatcher.lanes) >= self._n_cores:
            # At once, not when the feeder looks next: the caller would keep cores from
            # them, and the GIL from the one who sends them their first items.
            self._call.is_paused = True

    def _cannot_start(self, error: Exception) -> None:
        """Stay in this process if that is allowed, and say why if it is not."""
        if self._call.is_paused:
            raise error
        self._scout.obstacle = str(error)
        self.is_sent_for = False

    def _replace_lanes(self) -> bool:
        """Look for lanes in place of those that have died; return whether some come."""
        assert self.dispatcher is not None
        if self._workers is not None:
            return self._workers.open()
        if self._asked_s == math.inf:
            n_missing = self._n_cores - len(self.dispatcher.lanes)
            if n_missing > 0:
                self._find_children(n_missing)
        return True

    def _change_over(self) -> None:
        """Hand what remains to the cluster that has started meanwhile."""
        client, call = session.client, self._call
        if (
            client is None
            or self._workers is not None
            or call.is_closed
            or call.is_over
        ):
            return  # it did not start, and the children go on
        self._open_workers(client)
        assert self.dispatcher is not None
        self.dispatcher.retire(list(self._children))
