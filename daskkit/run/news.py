"""What a call tells the cluster that it runs on, for whoever watches: how far it is.

The scheduler keeps it as events of the topic `TOPIC`, whether or not somebody shows
them (see `daskkit.dashboard`). Runs in the thread that feeds the lanes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

    from daskkit.run.call import Call
    from daskkit.run.dispatch import Dispatcher

__all__ = ["TOPIC", "News"]

#: Topic of the events; each is a dict as by `News.compose`.
TOPIC = "daskkit"
# A call that is over before is not news: a message takes 1 ms of CPU in all.
_FIRST_S = 0.2
_EVERY_S = 0.5


class News:
    """Sends messages about one call now and then, and one at its end.

    Parameters
    ----------
    call : Call
        The call.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        #: Of the cluster that hears of it; None for nobody.
        self.client: Client | None = call.client
        # The call has begun before it was known to last.
        self._began = time.time() - (time.perf_counter() - call.pilot.began)
        self._next_s = time.monotonic() + _FIRST_S
        self._n_sent = 0
        self._size: tuple[int, str] = (0, "")
        self._n_lanes = 0
        self._is_closed = False

    @functools.cached_property
    def _id(self) -> str:
        return os.urandom(16).hex()  # 12 us, and most calls are over before the first

    def look(self, dispatcher: Dispatcher | None) -> None:
        """Send a message if it is time for one; never waits.

        Parameters
        ----------
        dispatcher : Dispatcher or None
            Feeds the lanes, if there are any.
        """
        if dispatcher is not None and dispatcher.lanes:
            self._size, self._n_lanes = dispatcher.last_size, len(dispatcher.lanes)
        if time.monotonic() >= self._next_s and not self._is_closed:
            self._next_s = time.monotonic() + _EVERY_S
            self._send(self.compose())

    def close(self) -> None:
        """Send the last message, unless the call was short; once."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._n_sent or time.monotonic() >= self._next_s:
            self._send(self.compose())

    def compose(self) -> dict[str, Any]:
        """Return what there is to say.

        Returns
        -------
        dict
            ``id`` and ``name`` of the call; ``t``: when this was so, and ``began``:
            when the call did, seconds since the epoch; ``state``: "running", "done",
            "failed" or "stopped"; items: ``total`` (None if nobody knows), ``done``,
            ``failed``, ``open`` (somebody has them); ``size`` of the last batch and
            ``why``; number of ``lanes``, the last one if there are none any more.
        """
        call = self._call
        size, reason = self._size
        with call.changed:
            return {
                "id": self._id,
                "name": call.job.name,
                "t": time.time(),
                "began": self._began,
                "state": self._name_state(),
                "total": call.source.n_items,
                "done": call.n_done,
                "failed": len(call.failures),
                "open": call.n_open if call.error is None else 0,
                "size": size,
                "why": reason,
                "lanes": self._n_lanes,
            }

    def _name_state(self) -> str:
        if self._call.error is not None:
            return "failed"
        if not self._is_closed:
            return "running"
        return "done" if self._call.is_complete else "stopped"

    def _send(self, message: dict[str, Any]) -> None:
        client = self.client
        if client is None or client.status != "running":
            return
        self._n_sent += 1
        scheduler: Any = client.scheduler
        loop: Any = client.loop

        async def send() -> None:
            # Nobody misses it where the scheduler has just gone.
            with contextlib.suppress(OSError, RuntimeError):
                await scheduler.log_event(topic=TOPIC, msg=message)

        with contextlib.suppress(RuntimeError):  # the loop has just been closed
            loop.add_callback(send)
