"""What a call's items cost, and what there is to run them on: the facts of a forecast.

`run.feeder` looks, `run.plan` does the arithmetic.
"""

from __future__ import annotations

import functools
import math
import time
from types import FunctionType
from typing import TYPE_CHECKING, Any

from daskkit.run.clocks import read_cpu_s, read_queued_s, read_state
from daskkit.run.forks import can_fork, expect_forks_s
from daskkit.run.grip import find_gil_share
from daskkit.run.known import recall
from daskkit.run.parking import count_parked
from daskkit.run.plan import Facts, Means, forecast, least_gil_share
from daskkit.run.probe import Pickled, measure_pickle
from daskkit.run.session import find_workers
from daskkit.run.threads import usable_cores
from daskkit.transport import wire
from daskkit.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from daskkit.run.call import Call
    from daskkit.run.plan import Forecast
    from daskkit.run.quick import Comprehension

__all__ = ["Scout"]

# Seconds until lanes take their first batch.
_READY_PARKED_S = 0.001
_READY_CLUSTER_S = 0.006
_READY_FORK_S = 0.0175  # and the forks
_READY_SPAWN_S = 0.3
# How old a list of workers may be.
_KNOWN_S = 2.0
# So few elements take no longer to pickle than what comes with any number of them.
_FEW = 8
# Shorter looks tell nothing of an item.
_SEEN_S = 0.001
# An item that is slow is one of so many.
_MANY = 64
# Whoever looks may have kept the GIL from the items for so long; and items that compute
# for a smaller share of their time mostly wait.
_GIL_S, _LEAST_SHARE = 0.005, 0.05


class Scout:
    """Finds out about one call, while the calling thread executes its items.

    Parameters
    ----------
    call : Call
        The call.
    only_look : bool, default False
        Whether somebody waits for all facts, also those that would change nothing.
    soon_s : float, default 0.0
        What an earlier call has shown is of no use if this one takes no longer, in
        seconds.
    """

    def __init__(
        self, call: Call, *, only_look: bool = False, soon_s: float = 0.0
    ) -> None:
        self._call = call
        self._only_look = only_look
        #: Why items can't be sent to another process, if so.
        self.obstacle: str | None = None
        #: Whether processes were tried and brought nothing.
        self.processes_failed = False
        self.known = recall(call.job.func)
        earlier, n_left = self.known.facts(), call.source.n_left
        is_short = (
            earlier is not None
            and n_left is not None
            and n_left * earlier.item_s <= soon_s
        )
        #: What was found out in an earlier call, if that is of use.
        self.earlier = None if only_look or is_short else earlier
        # Whether what is sent was taken for what it was then, and not measured.
        self._has_remembered = False
        #: Whether what is sent was measured of too few items to tell of the others.
        self.has_seen_few = False
        self._soonest_s: float | None = None
        self._func_bytes = 0.0
        self._pickles = (Pickled(), Pickled())
        # How long the calling thread had waited for a core by then, and when.
        self._queued: tuple[float, float] | None = None
        # What was seen of a part that can be cut short: items begun, when, what one of
        # the latest took, and the CPU seconds of the calling thread by then.
        self._seen: tuple[Comprehension, int, float, float, float] | None = None

    @functools.cached_property
    def n_cores(self) -> int:
        """Cores that this process may use."""
        return usable_cores()

    def begin_to_watch(self) -> None:
        """Note how long the calling thread has waited for a core by now."""
        if self._queued is None:
            queued_s = read_queued_s(self._call.pilot.native_id)
            self._queued = queued_s, time.perf_counter()

    def _measure_queued_share(self) -> float:
        """Return the share of the time since then in which it had no core."""
        if self._queued is None:
            return 0.0
        before_s, since_s = self._queued
        queued_s = read_queued_s(self._call.pilot.native_id) - before_s
        share = queued_s / max(time.perf_counter() - since_s, 1e-9)
        return 0.0 if math.isnan(share) else min(1.0, share)

    def gather_facts(self, *, is_amid: bool = False) -> Facts:
        """Return what is known of the items, the one that is running included.

        `is_amid` says that a decision has kept the calling thread from its items since
        it was looked at last, which makes them no dearer.
        """
        call, pilot = self._call, self._call.pilot
        now = time.perf_counter()
        part, began = pilot.part, pilot.part_began
        item_s, wall_s, cpu_s = pilot.item_s, pilot.wall_s, pilot.cpu_s
        n_left, quick = call.source.n_left, pilot.quick
        if quick is not None and part is not None and n_left is not None:
            n_begun = quick.n_begun
            n_left += len(part.items) - n_begun
            watched_s = self._watch_item_s(quick, now, began, is_amid=is_amid)
            # A few short items may have been disturbed; these are many more.
            item_s = 0.0 if n_begun > pilot.n_items else item_s
            item_s = max(item_s, watched_s, self._mean_cpu_s(n_begun))
        else:
            # The latest may all be short ones.
            item_s = max(item_s, pilot.mean_cpu_s(0, 0.0))
            running_s = 0.0 if part is None else now - began
            # At least this long, and as likely as not as long again. What starts at
            # once may begin with the others meanwhile; to start children takes longer.
            if part is not None and (
                call.client is not None or not pilot.is_freak(running_s)
            ):
                item_s = max(item_s, running_s / len(part.items))
        if pilot.n_items == 0:
            wall_s = now - pilot.began
            cpu_s = read_cpu_s(pilot.thread_id) - pilot.cpu_began
            item_s *= 2
            if self.earlier is not None:
                item_s = max(item_s, self.earlier.item_s)
                cpu_s = self.earlier.cpu_share * wall_s
        elif pilot.n_items == 1 and self.earlier is not None:
            # The first one may have prepared what all the others need.
            item_s = min(item_s, self.earlier.item_s)
        if n_left is None:
            n_left = max(1, call.n_done)
        # An item doesn't wait while its thread does, for a core that others have.
        wall_s *= 1.0 - self._measure_queued_share()
        return Facts(
            n_left=n_left,
            item_s=item_s,
            cpu_share=_share(cpu_s, wall_s),
            gil_share=1.0 if pilot.gil_share is None else pilot.gil_share,
            obstacle=self.obstacle,
            threads_failed=self.known.have_threads_failed(item_s),
            processes_failed=self.processes_failed,
        )

    def _mean_cpu_s(self, n_begun: int) -> float:
        """Return the CPU time of an item, of all but the first; 0 if it isn't known."""
        pilot = self._call.pilot
        running_s = read_cpu_s(pilot.thread_id) - pilot.part_cpu_s
        return 0.0 if math.isnan(running_s) else pilot.mean_cpu_s(n_begun, running_s)

    def _watch_item_s(
        self, quick: Comprehension, now: float, began: float, *, is_amid: bool = False
    ) -> float:
        """Return what an item of a part takes that runs, since it was looked at last.

        The average of all that have begun would hide a few heavy ones at the end.
        """
        pilot = self._call.pilot
        if self._seen is None or self._seen[0] is not quick:
            # A part that has begun amid a decision: its items are at least no dearer
            # than those of the part before it.
            before_s = pilot.item_s if is_amid else 0.0
            self._seen = quick, 0, began, before_s, pilot.part_cpu_s
        _, n_before, seen_s, item_s, seen_cpu_s = self._seen
        if now - seen_s > _SEEN_S:
            n_begun, cpu_s = quick.n_begun, read_cpu_s(pilot.thread_id)
            took_s = now - seen_s
            is_ready = read_state(pilot.native_id) == "R"
            if (is_ready or took_s < _GIL_S) and not math.isnan(cpu_s):
                # It doesn't wait, so others had the core for the rest of its time; or
                # for no longer than this thread may have kept the GIL from it. Then
                # items wait as much as those before them did.
                before = _share(pilot.cpu_s, pilot.wall_s)
                share = 1.0 if is_ready else max(before, _LEAST_SHARE)
                took_s = min(took_s, (cpu_s - seen_cpu_s) / share)
            if n_begun - n_before > 1:
                new_s = took_s / (n_begun - n_before)
                item_s = min(item_s, new_s) if is_amid else new_s
                self._seen = quick, n_begun, now, item_s, cpu_s
            elif not is_amid:
                # Of an item that has not ended, a moment tells only that it isn't over;
                # and a short one not that all others take as long.
                if took_s < _GIL_S:
                    took_s = (took_s + _MANY * pilot.item_s) / (1 + _MANY)
                item_s = max(item_s, took_s)
        return item_s

    def look_closer(
        self,
        facts: Facts,
        means: Means,
        caller_works: Callable[[], AbstractContextManager[None]],
    ) -> Facts:
        """Return the facts with what takes time to find out.

        Within ``caller_works()`` the calling thread executes items, and does not wait
        for a decision.
        """
        if self.obstacle is None:
            try:
                self._measure_pickles(facts.item_s, knows_items=means.knows_items)
            except TransportError as error:
                self.obstacle = str(error)
        facts = facts._replace(obstacle=self.obstacle, func_bytes=self._func_bytes)
        argument, result = self._pickles
        facts = facts._replace(
            argument_dump_s=argument.dump_s,
            argument_load_s=argument.load_s,
            argument_bytes=argument.n_bytes,
            result_dump_s=result.dump_s,
            result_load_s=result.load_s,
            result_bytes=result.n_bytes,
        )
        pilot = self._call.pilot
        if pilot.gil_share is None and not self._only_look:
            pilot.gil_share = self.known.gil_share(facts.item_s)
        if pilot.gil_share is None:
            # Only where it could make a difference: it takes some milliseconds.
            at_best = facts._replace(gil_share=least_gil_share(facts))
            if self._only_look or forecast(at_best, means).way == "threads":
                with caller_works():
                    # Or else all is done.
                    if pilot.part is not None:
                        find_gil_share(pilot, self.known, pilot.item_s)
        if pilot.gil_share is not None:
            facts = facts._replace(gil_share=pilot.gil_share)
        # All that has taken some milliseconds, and more where cores are busy.
        latest = self.gather_facts(is_amid=True)
        return facts._replace(
            n_left=latest.n_left,
            item_s=min(facts.item_s, latest.item_s),
            cpu_share=latest.cpu_share,
        )

    def _measure_pickles(self, item_s: float, *, knows_items: bool) -> None:
        """Measure what would be sent; raises TransportError if something can't be."""
        job, pilot = self._call.job, self._call.pilot
        earlier = None if self._only_look else self.known.facts(item_s)
        needs_func = earlier is None or job.each is not None or _captures(job.func)
        if needs_func and not knows_items and not self._func_bytes:
            self._func_bytes = float(wire.dump(job).n_bytes)
        self.has_seen_few = False
        if earlier is not None:
            self._has_remembered = True
            self._pickles = _remember_pickles(earlier)
            return
        items, results = pilot.sample
        part = pilot.part
        if not len(results) and part is not None:
            items = part.items
        needs_items = len(items) > 0 and not knows_items
        self.has_seen_few = len(results) < _FEW
        self._pickles = (
            measure_pickle(items) if needs_items else Pickled(),
            measure_pickle(results) if len(results) else Pickled(),
        )

    def note_choice(self, facts: Facts, means: Means, best: Forecast) -> None:
        """Keep what was measured for later calls, if others are the better choice."""
        was_measured = not (self._has_remembered or means.knows_items)
        if best.way != "inline" and was_measured:
            self.known.note_shared(facts)

    @property
    def soonest_s(self) -> float:
        """Seconds until processes could take a batch, if that is known at once."""
        if self._soonest_s is None:
            client = self._call.client
            is_open = client is not None and client.status == "running"
            self._soonest_s = 0.0 if is_open else self.find_means().ready_s
        return self._soonest_s

    def find_means(self) -> Means:
        """Return what there is to run on."""
        call = self._call
        client = call.client
        if client is not None and client.status == "running":
            is_connected = count_parked(client) > 0
            ready_s = _READY_PARKED_S if is_connected else _READY_CLUSTER_S
            # Asking takes some milliseconds.
            max_age_s = math.inf if is_connected else _KNOWN_S
            n_workers = sum(find_workers(client, max_age_s=max_age_s).values())
            name = f"a cluster of {n_workers} workers, which is open"
            return Means(self.n_cores, n_workers, ready_s, workers=name)
        name = f"{self.n_cores} child processes"
        if self.n_cores == 1:
            return Means(1, 0, 0.0)
        if can_fork(besides=1):
            knows = call.source.sequence is not None
            ready_s = _READY_FORK_S + expect_forks_s()
        else:
            knows, ready_s = False, _READY_SPAWN_S
        return Means(self.n_cores, self.n_cores, ready_s, knows, workers=name)


def _share(cpu_s: float, wall_s: float) -> float:
    """Return the share of some time that was CPU time; 1 if that isn't known.

    Examples
    --------
    >>> _share(1.0, 4.0), _share(math.nan, 4.0)
    (0.25, 1.0)
    """
    if math.isnan(cpu_s) or wall_s <= 0:
        return 1.0
    return min(1.0, max(0.0, cpu_s / wall_s))


def _captures(func: Any) -> bool:
    """Return whether a function may hold more than its code: a closure, a method.

    Examples
    --------
    >>> _captures(_captures), _captures([].append)
    (False, True)
    """
    return type(func) is not FunctionType or func.__closure__ is not None


def _remember_pickles(facts: Facts) -> tuple[Pickled, Pickled]:
    """Return what it costs to send an argument and a result, as it did once."""
    return (
        Pickled(facts.argument_dump_s, facts.argument_load_s, facts.argument_bytes),
        Pickled(facts.result_dump_s, facts.result_load_s, facts.result_bytes),
    )
