"""The second thread of a call: it watches the caller, decides, and feeds the lanes."""

from __future__ import annotations

import _thread
import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING

from daskkit.run.crew import Crew
from daskkit.run.forks import note_ending
from daskkit.run.interrupts import deferred_interrupt
from daskkit.run.mailbox import Mailbox
from daskkit.run.news import News
from daskkit.run.parking import count_parked
from daskkit.run.plan import Means, count_threads, forecast, is_worth_a_look
from daskkit.run.probation import SHORT_S, Probation, judge
from daskkit.run.scout import Scout
from daskkit.run.switching import quick_switching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskkit.run.call import Call
    from daskkit.run.dispatch import Dispatcher
    from daskkit.run.plan import Facts, Forecast

__all__ = ["Feeder"]

# The first look at the caller: long enough for the clock, short beside a hand-over.
_LOOK_S = 0.003
_LONG_LOOK_S = 0.02
# The same where an earlier call has shown what items cost: it need but be no other.
_KNOWN_LOOK_S = 0.0003
# How large a result is makes a difference; for a first item that ends by then, the
# decision waits.
_FIRST_ITEM_S = 0.02
# A first item that takes less may have prepared what the others need: the first row of
# a DataFrame takes 0.6 ms, and each of the others 0.014.
_FIRST_ALONE_S = 0.01
# What is over by then is left to the caller: a closer look takes 2 ms, workers begin
# some milliseconds after it, and first items may take twice as long as the others.
_SOON_S = 0.05
# A part that takes so long has items that are not like those before it.
_LONG_S = 0.03
# And the next ones, while it stays on its own: at most this long.
_MOST_LOOK_S = 0.2
# A decision takes 2 to 5 ms. If it has not come to an end by then, the caller waits for
# it between two parts, up to so long.
_STARVED_S = 0.004
_YIELD_S = 0.05
# From then on a call is watched also amid an item, if what is left seems to take as
# long: that costs 0.3 ms where items release the GIL all the time.
_WATCH_S = 0.01
# While the one who watches is let in.
_TURN_S = 0.00002
# While workers are about to come, others in this process are let in for so long.
_LET_IN_S = 0.0002
# Items that take so much longer, or compute so much less of their time, are others.
_SAME_COST, _SAME_SHARE = 1.3, 0.2
# What is left for so long is looked at again after a decision that saw few items.
_UNSURE_S = 0.1
# Items of a part that take so many times what those before it took are others.
_SURPRISE = 4
# What has been executed for so long tells something.
_SEEN_S = 0.0005


class Feeder:
    """Feeds the lanes of one call.

    Parameters
    ----------
    call : Call
        The call.
    only_look : bool, default False
        Measure and forecast, but leave the items to the caller.
    """

    def __init__(self, call: Call, *, only_look: bool = False) -> None:
        self._call = call
        self._only_look = only_look
        # From the start of the thread on.
        self._mailbox: Mailbox
        self._crew: Crew | None = None
        self._probation: Probation | None = None
        self._look_s = _LOOK_S
        self._first_look_s = _LONG_LOOK_S if only_look else _LOOK_S
        self._next_look_s = 0.0
        self._is_suspended = False
        #: What the cluster is told of the call.
        self.news = News(call)
        self._quick = contextlib.ExitStack()
        self._is_hurried = self._is_watched = self._has_begun = False
        self._is_joined = False
        self._thread: threading.Thread | None = None
        # When the one who watches wants the GIL next; never if there is nobody.
        self._wakes_s = math.inf
        # Held until nobody need watch any more; by whoever looks at the thread or makes
        # it; while a decision is made, which began then.
        self._gate = threading.Lock()
        self._making = threading.Lock()
        self._deciding = threading.Lock()
        self._decides_since_s = math.inf
        self._is_letting_in = False
        self._decided = threading.Event()
        self._scout = Scout(call, only_look=only_look, soon_s=_SOON_S)
        if self._scout.earlier is not None:
            quarter_s = self._scout.earlier.item_s / 4
            self._first_look_s = min(_LOOK_S, max(_KNOWN_LOOK_S, quarter_s))

    # What the caller calls.

    def start(self) -> None:
        """Start the thread, after the time that the caller has for itself."""
        call = self._call
        self._gate.acquire()
        if call.is_paused or call.where == "threads":
            self._hurry()
            self._start_thread()
            return
        call.after_part = self._look_between
        # A sentry may have seen to that.
        self._has_begun = call.pilot.n_items > 0
        # Only where an item may be a long one: between short ones the caller looks up
        # by itself.
        first_s = self._scout.known.first_s
        if self._only_look or first_s is None or first_s > self._first_look_s:
            self._scout.begin_to_watch()
            if self._scout.earlier is not None:
                self._hurry()  # it is as good as decided
            self._watch()

    @property
    def is_at_work(self) -> bool:
        """Whether its thread has been started."""
        return self._thread is not None

    def wake(self) -> None:
        """Have it look up."""
        if self._thread is not None:
            self._mailbox.post(_nothing)

    def join(self) -> None:
        """Wait for its end, which `Call.close` brings about, and let go of the call.

        What refers to one another stays until garbage is collected, and so would the
        call with all its items and results.
        """
        with self._making:
            self._is_joined = True
        self._dismiss()
        if self._thread is not None:
            self._thread.join()
            self._let_go()
        self._quick.close()
        self._call.after_part = self._call.chore = None
        self._crew = None
        self._let_watch(math.inf)

    def _look_between(self) -> None:
        """Start the thread between two parts if that pays, and let it do its work.

        Who releases the GIL all the time for a moment, as items of NumPy and pandas do,
        never lets another thread have it: that one has to wait for some milliseconds in
        one go to be let in, and is asleep each time.
        """
        since_s = time.perf_counter() - self._call.pilot.began
        if not self._has_begun:
            self._has_begun = True
            self._scout.known.first_s = since_s
        self._let_watch(time.perf_counter())
        if self._thread is None:
            self._look_first(since_s)
        elif self._deciding.locked():
            self._let_decide()
        elif self._crew is not None:
            dispatcher = self._crew.dispatcher
            if dispatcher is not None and dispatcher.is_one_idle:
                self.wake()  # a core may have become free for it
            elif self._crew.n_expected:
                time.sleep(_LET_IN_S)  # as well as Dask's threads of this process

    def _look_first(self, since_s: float) -> None:
        """Start the thread if that pays, or have somebody watch."""
        if self._call.source.n_left == 0:
            return
        left_s = self._estimate_left_s()
        if left_s > _SOON_S and not self._has_seen_first_only():
            self._scout.begin_to_watch()
        if since_s > self._first_look_s and self._may_pay():
            with self._making:
                self._hurry()
                if self._thread is None:
                    self._start_thread()
            self._dismiss()  # with him around there can be no fork
            if self._scout.earlier is not None or self._call.client is None:
                self._decided.wait(_YIELD_S)
        elif min(since_s, left_s) > _WATCH_S or self._call.is_alone:
            self._watch()
            self._let_watch(time.perf_counter())

    def _let_decide(self) -> None:
        """Wait for the first decision without a cluster, or one that takes too long.

        The former is made in two milliseconds if nobody else wants the GIL, and in ten
        otherwise; forks come after it.
        """
        took_s = time.perf_counter() - self._decides_since_s
        is_first = self._call.client is None and not self._decided.is_set()
        if is_first or took_s > _STARVED_S:
            self._is_letting_in = True
            if self._deciding.acquire(timeout=_YIELD_S):
                self._deciding.release()
            self._is_letting_in = False

    @contextlib.contextmanager
    def _caller_works(self) -> Iterator[None]:
        """Have the caller go on with its items amid a decision, to be watched at it."""
        self._decided.set()
        self._deciding.release()
        try:
            until_s = time.perf_counter() + _YIELD_S
            while (
                self._is_letting_in or self._call.pilot.part is None
            ) and time.perf_counter() < until_s:
                time.sleep(_LET_IN_S)
            yield
        finally:
            self._deciding.acquire()

    def _watch(self) -> None:
        """Have a thread look up also amid an item."""
        if not self._is_watched:
            self._is_watched = True
            self._wakes_s = 0.0
            # Not a `Thread`, whose start and end take as long as many a small call. It
            # has the GIL after 5 ms (CPython's default) of one item, and no sooner: to
            # hand it over and back takes 0.2 ms of the caller's.
            _thread.start_new_thread(self._wait, ())

    def _dismiss(self) -> None:
        """Have the one end who watches."""
        with contextlib.suppress(RuntimeError):  # nobody does any more
            self._gate.release()

    def _let_watch(self, by_s: float) -> None:
        """Let the one in who watches, if he wants to be by then.

        Items that release the GIL for moments don't let him in by themselves, and each
        time that they do it is signalled to him: a window of pandas takes half as long
        again.
        """
        until_s = time.perf_counter() + _YIELD_S
        while self._wakes_s < by_s and time.perf_counter() < until_s:
            time.sleep(_TURN_S)

    def _hurry(self) -> None:
        """Have threads hand on the GIL soon, until the call is over."""
        if not self._is_hurried:
            self._is_hurried = True
            self._quick.enter_context(quick_switching())

    def _wait(self) -> None:
        """Start the thread if the call isn't over soon, also amid a long part."""
        try:
            if not self._is_over_soon():
                with self._making:
                    if not self._is_joined and self._thread is None:
                        note_ending()
                        self._hurry()
                        self._start_thread()
        finally:
            self._wakes_s = math.inf

    def _is_over_soon(self) -> bool:
        """Return whether the call ends before there is something to decide; wait."""
        # This thread may have had to wait for the GIL.
        pilot = self._call.pilot
        since_s = time.perf_counter() - pilot.began
        look_s = max(0.0, self._first_look_s - since_s)
        while not self._acquire_gate(look_s):
            since_s = time.perf_counter() - pilot.began
            is_known = self._scout.earlier is not None
            if pilot.n_items == 0 and since_s < _FIRST_ITEM_S and not is_known:
                look_s = _FIRST_ITEM_S - since_s
                continue
            if self._may_pay():
                return False
            look_s = _LOOK_S
            if not self._has_seen_first_only():
                look_s = max(look_s, min(2 * self._estimate_left_s(), _MOST_LOOK_S))
        return True

    def _acquire_gate(self, timeout_s: float) -> bool:
        """Wait for so long; return whether nobody need watch any more."""
        self._wakes_s = time.perf_counter() + timeout_s
        return self._gate.acquire(timeout=timeout_s)

    def _may_pay(self) -> bool:
        """Return whether there could be something to decide.

        A thread that looked for nothing would take two per cent of trivial items.
        """
        if self._only_look:
            return True
        pilot = self._call.pilot
        if pilot.part is None and pilot.wall_s < _SEEN_S:
            return False  # it has no core just now, and its first items tell nothing
        if self._has_seen_first_only():
            return False
        if self._estimate_left_s() <= _SOON_S:
            return False
        facts, n_cores = self._scout.gather_facts(), self._scout.n_cores
        self._call.is_alone = not is_worth_a_look(facts, n_cores)
        if self._call.is_alone:
            return False
        return is_worth_a_look(facts, n_cores, self._scout.soonest_s)

    def _has_seen_first_only(self) -> bool:
        """Return whether all that is known of a function is one short item."""
        pilot = self._call.pilot
        if pilot.n_items != 1 or self._scout.earlier is not None:
            return False
        is_amid = pilot.part is not None
        running_s = time.perf_counter() - pilot.part_began if is_amid else 0.0
        return pilot.item_s + running_s < _FIRST_ALONE_S

    def _estimate_left_s(self) -> float:
        """Return how long the caller is going to take for the rest by itself."""
        pilot, n_left = self._call.pilot, self._call.source.n_left
        running_s = time.perf_counter() - pilot.part_began
        if n_left is None or pilot.n_items == 0 or running_s > _LONG_S:
            return math.inf
        return n_left * pilot.item_s

    def _start_thread(self) -> None:
        if self._crew is None:
            self._mailbox = Mailbox()
            self._crew = Crew(
                self._call,
                self._scout,
                self._mailbox,
                self.news,
                self._suspend,
                self._start_thread,
            )
        thread = threading.Thread(target=self._run, name="daskkit-feeder", daemon=True)
        with deferred_interrupt():  # one that has not been started can't be joined
            thread.start()
            self._thread = thread

    def _suspend(self) -> None:
        """End the thread for a while; called by the calling thread."""
        self._is_suspended = True
        self.wake()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        try:
            self._feed()
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._call.fail(error)
        finally:
            self._decided.set()
            if not self._is_suspended:
                self._let_go()

    def _let_go(self) -> None:
        """End the lanes, in whatever state; a second call does nothing."""
        self.news.close()
        if self._crew is not None:
            self._crew.close()
        self._mailbox.close()

    def _begin(self, crew: Crew) -> None:
        """Do what comes before the first look at what there is to do."""
        call = self._call
        if self._is_suspended:
            self._is_suspended = False
            return
        if call.is_paused:
            crew.hand_over()
            return
        if call.where != "threads":
            return
        call.help(self._scout.n_cores)
        with call.changed:
            call.changed.wait_for(self._is_over, _LOOK_S)
        if not self._is_over():
            # More where they wait most of the time.
            means = Means(self._scout.n_cores, 0, 0.0)
            n_threads = count_threads(self._scout.gather_facts(), means)
            call.help(n_threads - self._scout.n_cores)

    def _feed(self) -> None:
        crew = self._crew
        assert crew is not None
        self._begin(crew)
        while not self._is_over() and not self._is_suspended:
            if self._may_decide(crew) and time.perf_counter() >= self._next_look_s:
                self._decides_since_s = time.perf_counter()
                with self._deciding:
                    self._decide(crew)
                self._decided.set()
                if self._only_look:
                    return
            crew.fill()
            for event in self._mailbox.wait(self._patience_s(crew)):
                event()
            self.news.look(crew.dispatcher)
            crew.work()
            if crew.dispatcher is not None:
                self._settle(crew, crew.dispatcher)

    def _is_over(self) -> bool:
        return self._call.is_closed or self._call.is_over

    def _patience_s(self, crew: Crew) -> float:
        """Return how long nothing may happen before this thread looks up."""
        patience_s = crew.patience_s
        if self._may_decide(crew):
            patience_s = min(patience_s, self._next_look_s - time.perf_counter())
        return max(0.0, patience_s)

    def _settle(self, crew: Crew, dispatcher: Dispatcher) -> None:
        """Pause the caller while others use all cores; think of a cluster."""
        call = self._call
        if call.where == "auto" and call.job.timeout is None:
            # From the first lane on, if enough are about to come: they come sooner.
            n_lanes = len(dispatcher.lanes)
            if n_lanes:
                n_lanes += crew.n_expected
            is_paused = (
                n_lanes >= self._scout.n_cores and not self._scout.processes_failed
            )
            if call.is_paused and not is_paused:
                with call.changed:
                    call.is_paused = False
                    call.changed.notify_all()
            call.is_paused = is_paused
            self._judge_lanes(dispatcher)
        crew.consider_cluster()

    # Deciding.

    def _may_decide(self, crew: Crew) -> bool:
        return self._call.where == "auto" and not crew.is_sent_for

    def _decide(self, crew: Crew) -> None:
        """Look at what the caller has measured, and go the way that pays."""
        call = self._call
        if self._probation is not None:
            self._judge_threads()
            if call.n_helpers:
                return
        facts = self._scout.gather_facts()
        self._end_surprising_part(facts)
        self._look_s = min(_MOST_LOOK_S, 2 * self._look_s)
        # Each look takes some milliseconds of the caller's: not before it should be
        # done, if it goes on as it does.
        left_s = min(_MOST_LOOK_S, facts.n_left * facts.item_s)
        self._next_look_s = time.perf_counter() + max(self._look_s, left_s)
        call.is_alone = not is_worth_a_look(facts, self._scout.n_cores)
        if not self._only_look and (call.is_alone or self._is_settled(facts)):
            return
        means = self._scout.find_means()
        facts = self._scout.look_closer(facts, means, self._caller_works)
        self._look_s *= 2
        self._next_look_s = time.perf_counter() + max(self._look_s, left_s)
        if not self._only_look and not is_worth_a_look(facts, self._scout.n_cores):
            return  # they have turned out to be cheaper than they seemed
        best = forecast(facts, means)
        self._note_obstacle(facts, means, best)
        call.pilot.facts, call.pilot.means = facts, means
        call.pilot.forecast = best
        if best.way != "inline":
            self._stop_caller(best, facts.item_s)
        self._scout.note_choice(facts, means, best)
        if self._only_look:
            with call.changed:
                call.changed.notify_all()
        elif best.way == "threads":
            self._try_threads(facts, best.n_threads)
        elif best.way == "processes":
            crew.hand_over()
        elif self._is_unsure(facts):
            self._next_look_s = time.perf_counter() + self._look_s

    def _end_surprising_part(self, facts: Facts) -> None:
        """Have the caller look up where its items have become far dearer.

        From then on each of them is looked at, and others are let in between: items
        that hold the GIL for long would keep them from a decision.
        """
        if facts.item_s > _SURPRISE * self._call.pilot.item_s > 0:
            self._call.cut(facts.item_s)

    def _stop_caller(self, best: Forecast, item_s: float) -> None:
        """Have the caller look up, and wait if workers are about to begin.

        They begin in a millisecond if nobody else wants the GIL, and in five otherwise.
        """
        call = self._call
        if best.way == "processes" and not self._only_look and call.client is not None:
            call.is_paused = count_parked(call.client) >= self._scout.n_cores
        call.cut(item_s)  # the items were not as trivial as they seemed

    def _note_obstacle(self, facts: Facts, means: Means, best: Forecast) -> None:
        """Keep what alone is in the way of processes, so that the user hears of it."""
        if self._scout.obstacle is not None and best.way == "inline":
            others = facts._replace(obstacle=None)
            if forecast(others, means).way == "processes":
                self._call.obstacle = self._scout.obstacle

    def _is_settled(self, facts: Facts) -> bool:
        """Return whether items that cost no more than these were left to the caller."""
        best, seen = self._call.pilot.forecast, self._call.pilot.facts
        return (
            not self._is_unsure(facts)
            and best is not None
            and seen is not None
            and best.way == "inline"
            and facts.n_left <= seen.n_left
            and facts.item_s < _SAME_COST * seen.item_s
            and facts.cpu_share > seen.cpu_share - _SAME_SHARE
        )

    def _is_unsure(self, facts: Facts) -> bool:
        """Return whether a second look may be worth what it takes."""
        return self._scout.has_seen_few and facts.n_left * facts.item_s > _UNSURE_S

    def _try_threads(self, facts: Facts, n_threads: int) -> None:
        """Have threads of this process help, and look soon whether they do."""
        call, now = self._call, time.perf_counter()
        needs_cpu = facts.cpu_share > 0.5  # noqa: PLR2004 - mostly
        self._probation = Probation(
            now, call.n_done, facts.item_s, needs_cpu, time.process_time()
        )
        self._next_look_s = now + max(SHORT_S, 3 * facts.item_s)
        call.help(n_threads)

    def _judge_threads(self) -> None:
        """Send threads away that don't bring what they promised."""
        assert self._probation is not None
        call, before = self._call, self._probation
        now, cpu_s = time.perf_counter(), time.process_time()
        goes_on = judge(before, call.n_done, call.n_helpers, now, cpu_s)
        if goes_on is None:
            self._next_look_s = now + SHORT_S
        elif goes_on:
            self._scout.known.note_success()
            self._next_look_s = math.inf
        else:
            self._scout.known.note_failure(before.item_s)
            self._scout.known.note_shared(None)
            call.stop_helping()
            self._probation = None

    def _judge_lanes(self, dispatcher: Dispatcher) -> None:
        """Go on in this process alone if lanes bring less than one core does."""
        if not self._call.is_paused:
            return  # they work beside the caller: all that they bring is gain
        n_cores = dispatcher.measure_use()
        if n_cores is not None and n_cores < 1 and not self._scout.processes_failed:
            self._scout.processes_failed = True
            self._scout.known.note_shared(None)
            dispatcher.retire(list(dispatcher.lanes))


def _nothing() -> None:
    """Do nothing; waiting is over all the same."""
