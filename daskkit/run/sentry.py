"""Who watches the first calls of a program, until it is worth to import the feeder.

That takes 15 ms, a third of what many a loop takes that is over before a feeder could
bring anything. Calls after the one that brings it in have it at hand.
"""

from __future__ import annotations

import _thread
import contextlib
import math
import sys
import threading
import time

from daskkit.run.known import recall
from daskkit.run.quick import is_quick
from daskkit.run.switching import quick_switching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from daskkit.run.call import Call
    from daskkit.run.feeder import Feeder

__all__ = ["Sentry"]

# What takes no longer is left to the calling thread: import, decision and forks take 50
# to 100 ms together, in which it gets on only half as fast.
_WORTH_S = 0.25
# The first look. How long the call has taken by then has doubled until the next one.
_LOOK_S = 0.005
# Where an earlier call of the function began with a short item, the calling thread
# looks by itself, between its parts, while what is left takes no longer. Another thread
# takes 0.1 ms to start, and 0.5 for each look where items release the GIL all the time.
_WATCHED_S = 0.1
# To import a module gives the GIL away some ten times, and each time has to wait for
# so long to have it again.
_INTERVAL_S = 0.00005
# What releases the GIL all the time never lets the import have it. The calling thread
# then waits for it between two parts, up to so long.
_STARVED_S, _YIELD_S = 0.005, 0.05


class Sentry:
    """Brings in the feeder of a call where what is left may be worth it.

    Parameters
    ----------
    call : Call
        The call.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        #: Who has taken over, if that came about.
        self.feeder: Feeder | None = None
        # Held until the call is over; while a feeder is made.
        self._gate = threading.Lock()
        self._making = threading.Lock()
        # While another thread watches: to have the GIL, to begin and for a look, would
        # take it 5 ms each time (CPython's default).
        self._hurry: contextlib.ExitStack | None = None
        self._known = recall(call.job.func)
        self._has_begun = self._is_watched = False
        # When the calling thread looks next.
        self._next_look_s = 0.0
        # Since when it is being imported; held meanwhile.
        self._since_s = 0.0
        self._importing = threading.Lock()
        # Items that had begun at the last look, and when that was.
        self._seen = (0.0, 0.0)
        # What each has taken since then.
        self._item_s = 0.0
        # Of that time, what one item took that told nothing of the others.
        self._left_out_s = 0.0

    @staticmethod
    def is_due(call: Call) -> bool:
        """Return whether the feeder of a call would have to be imported."""
        return (
            "daskkit.run.feeder" not in sys.modules
            and call.client is None
            and call.where == "auto"
            and not call.is_paused
        )

    def start(self) -> None:
        """Watch the calling thread; from another one if its items may be long ones."""
        self._gate.acquire()
        began_s = self._call.pilot.began
        self._seen, self._next_look_s = (0.0, began_s), began_s + _LOOK_S
        self._call.after_part = self._look_between
        first_s = self._known.first_s
        if first_s is None or first_s > _LOOK_S:
            self._watch()

    def close(self) -> None:
        """Watch no longer, as the call is over; `feeder` stays what it is."""
        with self._making:
            if self._gate.locked():
                self._gate.release()
        if self._hurry is not None:
            self._hurry.close()
        if self.feeder is None:
            self._call.after_part = None

    def _look_between(self) -> None:
        """Look between two parts, as long as nobody else does; let an import go on."""
        call = self._call
        now_s = time.perf_counter()
        since_s = now_s - call.pilot.began
        if not self._has_begun:
            self._has_begun, self._known.first_s = True, since_s
        if self._since_s:
            # It has taken too long already.
            is_late = now_s - self._since_s > _STARVED_S
            if is_late and self._importing.acquire(timeout=_YIELD_S):
                self._importing.release()
            return
        if self._is_watched:
            return
        sequence = call.source.sequence
        if sequence is not None and is_quick(call.job, sequence):
            self._watch()
        elif now_s >= self._next_look_s:
            left_s = self._estimate_left_s()
            self._next_look_s = now_s + self._find_patience_s(left_s)
            if left_s > _WORTH_S:
                self._is_watched = True
                self._begin_import()
                _thread.start_new_thread(self._bring_in, ())
            elif left_s > _WATCHED_S:
                self._watch()

    def _watch(self) -> None:
        """Have another thread look, also amid a part."""
        self._is_watched = True
        self._hurry = contextlib.ExitStack()
        self._hurry.enter_context(quick_switching())
        _thread.start_new_thread(self._wait, ())

    def _wait(self) -> None:
        look_s = _LOOK_S
        while not self._gate.acquire(timeout=look_s):
            left_s = self._estimate_left_s()
            if left_s > _WORTH_S:
                self._begin_import()
                self._bring_in()
                return
            look_s = self._find_patience_s(left_s)

    def _find_patience_s(self, left_s: float) -> float:
        """Return how long to wait until the next look."""
        since_s = time.perf_counter() - self._call.pilot.began
        return max(_LOOK_S, min(left_s, since_s))

    def _begin_import(self) -> None:
        self._importing.acquire()
        self._since_s = time.perf_counter()

    def _bring_in(self) -> None:
        """Import the feeder, and start it unless the call is over by then."""
        try:
            self._call.pilot.disturbed_until_s = math.inf
            # The calling thread has to come to the end of a part to let this one in.
            self._call.cut(self._item_s)
            with quick_switching(_INTERVAL_S):
                from daskkit.run.feeder import Feeder

                self._call.pilot.disturbed_until_s = time.perf_counter()
                with self._making:
                    if self._gate.locked():
                        feeder = Feeder(self._call)
                        feeder.start()
                        self.feeder = feeder
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._call.fail(error)
        finally:
            self._importing.release()

    def _estimate_left_s(self) -> float:
        """Return how long the calling thread is going to take for the rest, if alone.

        As long for each item as since the last look, as heavy ones may come last;
        where their number isn't known, for as many as until now.
        """
        call = self._call
        pilot, n_left = call.pilot, call.source.n_left
        part, quick = pilot.part, pilot.quick
        n_begun = float(pilot.n_items)
        now_s = time.perf_counter()
        if n_left is None:
            return now_s - pilot.began
        n_rest = float(n_left)
        if part is not None:
            # Of a part that can't be looked into, half is as likely as not.
            n_open = len(part.items)
            n_of_part = n_open / 2 if quick is None else quick.n_begun
            n_begun += n_of_part
            n_rest += n_open - n_of_part
        n_before, seen_s = self._seen
        if n_begun - n_before >= 1.0:
            self._seen = (n_begun, now_s)
        took_s = now_s - seen_s - (pilot.freak_s - self._left_out_s)
        self._left_out_s = pilot.freak_s
        self._item_s = max(0.0, took_s) / max(n_begun - n_before, 0.5)
        if quick is None and pilot.is_freak(now_s - pilot.part_began):
            self._item_s = pilot.item_s
        return self._item_s * n_rest
