"""Carrying out one call of a verb: who works on it, from beginning to end.

The calling thread executes items itself, a few milliseconds' worth at a time, until
there is nothing left or others are quicker. A second thread, the `Feeder`, watches it
and brings in threads, child processes or the workers of a cluster where they pay. What
the calling thread has executed are results, never repeated.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import threading
import time

from daskkit.run.hearing import listeners, tell_call
from daskkit.run.job import is_executing
from daskkit.run.sentry import Sentry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from daskkit.run.call import Call
    from daskkit.run.feeder import Feeder
    from daskkit.run.plan import Forecast, Way

__all__ = ["Engine"]

# How long a pilot executes items before it forecasts the rest, at least one item.
_LOOK_S = 0.02
# After Ctrl-C a thread has so long to end its item. Nothing can break that off: then it
# goes on by itself, and ends with its item or the program.
_INTERRUPTED_S = 0.5


class Engine:
    """Carries out one call.

    Parameters
    ----------
    call : Call
        Its items, and what to do with them.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        # One of them at a time: the sentry of a program's first call brings in the
        # feeder.
        self._sentry: Sentry | None = None
        self._feeder: Feeder | None = None
        # Whether somebody hears of this call when it ends.
        self._is_heard = False

    def run(self) -> Any:
        """Return the answer, all items executed."""
        try:
            self.start()
            self.call.work_here()
            answer = self.call.finish()
        except KeyboardInterrupt:
            self.close(patience_s=_INTERRUPTED_S)
            raise
        finally:
            self.close()
        if self.call.obstacle is not None:
            import warnings

            text = (
                f"{self.call.job.name} ran in this process alone, as nothing can be "
                f"sent to another one: {self.call.obstacle}"
            )
            warnings.warn(text, RuntimeWarning, stacklevel=_find_user())
        return answer

    def iterate(self, *, ordered: bool) -> Iterator[Any]:
        """Yield results while others are computed; closing it drops what is pending."""
        try:
            self.start()
            following = 0
            while True:
                wanted = following if ordered else None
                self.call.work_here(until=functools.partial(self.call.has_next, wanted))
                answer = self.call.take_answer(wanted)
                if answer is None:
                    return
                n_items, results = answer
                following += n_items
                feeder = self._find_feeder()
                if feeder is not None:
                    feeder.wake()  # there is room for more
                yield from results
        except KeyboardInterrupt:
            self.close(patience_s=_INTERRUPTED_S)
            raise
        finally:
            self.close()

    def look(self) -> Forecast:
        """Execute the first items and forecast the others; `run` then goes on.

        Returns
        -------
        Forecast
        """
        from daskkit.run.plan import Facts, Forecast, Means, forecast
        from daskkit.run.threads import usable_cores

        pilot = self.call.pilot
        if self.call.is_paused or self.call.where == "threads":
            way: Way = "threads" if self.call.where == "threads" else "processes"
            reason = "That was asked for; nothing was measured."
            pilot.facts = Facts(
                self.call.source.n_left or 0, math.nan, math.nan, math.nan
            )
            unknown = math.nan
            pilot.forecast = Forecast(
                way, unknown, unknown, unknown, usable_cores(), reason
            )
            return pilot.forecast
        try:
            self.start(only_look=True)
            stops_s = time.perf_counter() + _LOOK_S
            self.call.work_here(
                until=lambda: (
                    pilot.forecast is not None
                    or (self._feeder is None and time.perf_counter() > stops_s)
                )
            )
        except BaseException:
            self.close()
            raise
        if self._feeder is not None:
            self._feeder.join()
            self._feeder = None
        # What was executed since the feeder looked is done, too.
        n_left = self.call.source.n_left or 0
        if pilot.facts is None:
            pilot.facts = Facts(n_left, pilot.item_s)
        pilot.facts = pilot.facts._replace(n_left=n_left)
        means = pilot.means or Means(1, 0, 0.0, threads=False)
        pilot.forecast = forecast(pilot.facts, means)
        return pilot.forecast

    def start(self, *, only_look: bool = False) -> None:
        """Bring in a feeder, unless everything is going to be done here anyway."""
        self.call.pilot.began = time.perf_counter()
        self.call.pilot.thread_id = threading.get_ident()
        self.call.pilot.native_id = threading.get_native_id()
        self.call.pilot.cpu_began = time.thread_time()
        if is_executing() or _is_in_task():
            # Whoever called the outer verb keeps the cores busy, and might be waiting
            # for this very thread.
            self.call.is_paused = False
            return
        self._is_heard = bool(listeners)
        if self.call.where == "inline" or self.call.source.is_empty:
            return
        if self.call.source.n_items == 1 and not self.call.is_paused and not only_look:
            return
        if self.call.where == "cluster" and self.call.client is None:
            from daskkit.run.session import session

            self.call.client = session.wait()
        if not only_look and Sentry.is_due(self.call):
            self._sentry = Sentry(self.call)
            self._sentry.start()
            return
        from daskkit.run.feeder import Feeder

        self._feeder = Feeder(self.call, only_look=only_look)
        self._feeder.start()

    def close(self, *, patience_s: float | None = None) -> None:
        """End all that works on this call; a second time does nothing.

        Parameters
        ----------
        patience_s : float, optional
            How long to wait for threads to end their items; by default, for ever.
        """
        self.call.close()
        if self._sentry is not None:
            self._sentry.close()
        feeder = self._feeder = self._find_feeder()
        self._sentry = None
        if self._feeder is not None:
            # It ends processes, and that is soon done. Where it has not begun there are
            # none, and the call is a short one: 20 us would be much.
            from daskkit.run.interrupts import deferred_interrupt

            is_at_work = self._feeder.is_at_work
            with deferred_interrupt() if is_at_work else contextlib.nullcontext():
                self._feeder.wake()
                self._feeder.join()
                self._feeder = None
        self.call.join_helpers(patience_s)
        if self._is_heard:
            from daskkit.run.news import News

            self._is_heard = False
            news = News(self.call) if feeder is None else feeder.news
            news.close()
            tell_call(news.compose(), news.client)

    def _find_feeder(self) -> Feeder | None:
        """Return the feeder, if there is one by now."""
        return self._feeder if self._sentry is None else self._sentry.feeder


def _is_in_task() -> bool:
    """Return whether this thread executes a task of Dask."""
    if "distributed" not in sys.modules:
        return False
    from daskkit.run.session import is_in_task

    return is_in_task()


def _find_user() -> int:
    """Return the stack level of a warning's caller that isn't of daskkit.

    Verbs for arrays and frames call `Engine.run` from deeper down than `map` does.
    """
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - the documented way to see callers
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "daskkit"
