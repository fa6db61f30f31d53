"""What the scheduler sees of its workers and callers, kept for the page.

Runs in the scheduler's event loop, whether or not somebody looks at the page: the
figures of a run begin with it. Imports no Bokeh.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.ioloop import PeriodicCallback

from daskkit.dashboard.calls import Calls
from daskkit.dashboard.ledger import Ledger

__all__ = ["OBSERVER_NAME", "Observer"]

#: Under this name the scheduler has its observer.
OBSERVER_NAME = "daskkit-observer"
# Topic of `daskkit.run.news`, which a scheduler without daskkit can't ask.
_TOPIC = "daskkit"
# Workers report that often, if they aren't many.
_EVERY_S = 0.5
# A browser that is there answers a goodbye within milliseconds.
_GOODBYE_S = 0.5
# Five minutes are drawn.
_N_POINTS = 600


class Observer(SchedulerPlugin):
    """Scheduler plugin: listens to workers and callers.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        Whose.
    """

    name = OBSERVER_NAME

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.ledger = Ledger()
        self.calls = Calls()
        #: Seconds since the epoch, core-seconds a second by label, efficiency now.
        self.history: deque[tuple[float, list[float], float | None]] = deque(
            maxlen=_N_POINTS
        )
        #: Points that were ever added to it, for those who show them.
        self.n_points = 0
        self._ticker = PeriodicCallback(self.look, 1e3 * _EVERY_S)

    def begin(self) -> None:
        """Look at the workers from now on, until the scheduler closes."""
        self.look()
        # distributed stops what stands there when it closes.
        self.scheduler.periodic_callbacks[OBSERVER_NAME] = self._ticker
        self._ticker.start()

    def look(self) -> None:
        """Take in what workers have reported since the last look."""
        workers = self.scheduler.workers
        for address, state in list(workers.items()):
            report = (state.metrics or {}).get("daskkit")
            if report:
                self.ledger.hear(address, report)
        self.ledger.keep(workers)
        now = time.time()
        rates = self.ledger.rates(now)
        if self.history or any(rates):
            self.history.append((now, rates, self.ledger.efficiency_now(now)))
            self.n_points += 1

    def log_event(self, topic: str, msg: Any) -> None:
        """Take in what a caller says."""
        if topic == _TOPIC and isinstance(msg, dict):
            # Whoever may talk to the scheduler may send whatever he likes.
            with contextlib.suppress(KeyError, TypeError):
                self.calls.hear(msg)
                if msg["lanes"]:
                    # Starting the lanes and ending them is part of the run.
                    self.ledger.cover(msg["began"], msg["t"])

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Take in the last report of a worker that goes."""
        del scheduler, kwargs
        self.ledger.forget(worker)

    async def before_close(self) -> None:
        """Stop looking, and end the connections of all open pages.

        The dashboard leaves them open: in a program that goes on after its cluster they
        would last as long as the browser shows the pages.
        """
        self._ticker.stop()
        routes = getattr(self.scheduler, "http_application", None)
        for application in getattr(routes, "applications", ()):
            # No public name leads to them.
            for connection in list(getattr(application, "_clients", ())):
                connection._socket.close()  # noqa: SLF001 - as above
        server = getattr(self.scheduler, "http_server", None)
        if server is not None:
            server.stop()  # or a page that reloads would come again
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.close_all_connections(), _GOODBYE_S)
