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
from daskkit.run.switching import quick_switching, sparing_garbage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from daskkit.run.call import Call
    from daskkit.run.feeder import Feeder

__all__ = ["Sentry"]

# What takes no longer is left to the calling thread: import, decision and forks take 35
# to 50 ms together, in which it executes nothing. Below the second one, a look has to
# be confirmed by the next: first items may have been disturbed, or unlike the others.
_WORTH_S, _SURE_S = 0.1, 0.25
# The first look. How long the call has taken by then has doubled until the next one.
_LOOK_S = 0.005
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
        self._has_begun = self._is_watched = self._is_wanted = False
        # When the calling thread looks next.
        self._next_look_s = 0.0
        # Whether it seemed to be worth it when somebody looked last.
        self._is_likely = False
        # Since when it is being imported; held meanwhile; held while somebody waits for
        # the calling thread to begin with it.
        self._since_s = 0.0
        self._importing = threading.Lock()
        self._asking = threading.Lock()
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
        """Watch the calling thread; from another one if its items may be long ones.

        Where an earlier call of the function began with a short item, the calling
        thread looks by itself, between its parts, while little is left. Another thread
        takes 0.1 ms to start, and 0.5 for each look where items release the GIL all the
        time.
        """
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
        self._answer()
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
        if self._is_wanted and not self._since_s:
            self._bring_in_here()
            return
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
            is_worth_it = self._is_worth_it(left_s)
            self._next_look_s = now_s + self._find_patience_s(left_s)
            if is_worth_it:
                self._bring_in_here()
            elif self._is_likely:
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
            if self._is_worth_it(left_s):
                self._call_in()
                return
            look_s = self._find_patience_s(left_s)

    def _call_in(self) -> None:
        """Have the calling thread bring in the feeder, or do it if that is busy."""
        from daskkit.run.grip import find_gil_share

        # While it is at work; else a decision would have to wait for that.
        find_gil_share(self._call.pilot, self._known, self._item_s)
        self._asking.acquire()
        self._is_wanted = True
        # It has to come to the end of a part.
        self._call.cut(self._item_s)
        is_here = self._asking.acquire(timeout=_STARVED_S) or not self._gate.locked()
        if not is_here and self._begin_import():
            self._bring_in()

    def _answer(self) -> None:
        """Have the one end who has called in: with him around there can be no fork."""
        with contextlib.suppress(RuntimeError):  # nobody is there
            self._asking.release()

    def _bring_in_here(self) -> None:
        """Bring in the feeder in the calling thread; have it look at once."""
        if self._begin_import():
            self._is_watched = True
            self._answer()
            self._bring_in()
            if self._call.after_part is not None:
                self._call.after_part()

    def _find_patience_s(self, left_s: float) -> float:
        """Return how long to wait until the next look."""
        if self._is_likely:
            return _LOOK_S
        since_s = time.perf_counter() - self._call.pilot.began
        return max(_LOOK_S, min(left_s, since_s))

    def _is_worth_it(self, left_s: float) -> bool:
        """Return whether others are to be brought in for what is left by this look."""
        was_likely, self._is_likely = self._is_likely, left_s > _WORTH_S
        return left_s > _SURE_S or (self._is_likely and was_likely)

    def _begin_import(self) -> bool:
        """Return whether it is for this thread to do."""
        if not self._importing.acquire(blocking=False):
            return False
        self._since_s = time.perf_counter()
        return True

    def _bring_in(self) -> None:
        """Import the feeder, and start it unless the call is over by then."""
        try:
            self._call.pilot.disturbed_until_s = math.inf
            with quick_switching(_INTERVAL_S), sparing_garbage():
                from daskkit.run.feeder import Feeder
                from daskkit.run.forks import note_ending

                self._call.pilot.disturbed_until_s = time.perf_counter()
                with self._making:
                    if self._gate.locked():
                        if threading.get_ident() != self._call.pilot.thread_id:
                            note_ending()
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
        if part is not None and quick is None:
            running_s = now_s - pilot.part_began
            is_stuck = n_begun - n_before < 1.0
            if is_stuck:
                # As likely as not they are in the midst of it.
                self._item_s = max(pilot.item_s, 2 * running_s / len(part.items))
            if pilot.is_freak(running_s) or (
                is_stuck and pilot.may_be_freak(running_s)
            ):
                self._item_s = pilot.item_s
        return self._item_s * n_rest
