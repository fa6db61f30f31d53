"""From the messages of callers to the rows of the page: pure arithmetic.

`Calls` is fed with the messages of `run.news`, in whatever order they come. No clock,
no cluster, no Bokeh.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

__all__ = ["CallRow", "Calls"]

# Calls that are over stay on the page for that many more.
_N_KEPT = 12
# The rate is that of about so many last seconds.
_WINDOW_S = 5.0
# A caller says something every half second; one that is silent for so long has gone.
_SILENT_S = 15.0


@dataclasses.dataclass(frozen=True)
class CallRow:
    """One call of a verb, as it is shown."""

    name: str
    #: "running", "done", "failed", "stopped", or "silent" if nothing is heard of it.
    state: str
    #: Items; `n_items` is None if nobody knows how many there are.
    n_items: int | None
    n_done: int
    n_failed: int
    n_open: int
    #: Items a second lately, or over the whole call once that is over.
    rate: float
    #: Seconds that the rest takes at this rate; None if that can't be said.
    left_s: float | None
    #: Since its beginning, until now or its end.
    wall_s: float
    batch_size: int
    reason: str
    n_lanes: int
    #: Tells calls of one name apart.
    id: str = ""
    unit: str = "item"


class Calls:
    """The calls of one cluster, the latest first.

    Parameters
    ----------
    n_kept : int, default 12
        How many are kept that are over.

    Examples
    --------
    >>> calls = Calls()
    >>> message = {"id": "1", "name": "square", "began": 0.0, "t": 1.0, "total": 100,
    ...            "state": "running", "done": 20, "failed": 0, "open": 8, "size": 4,
    ...            "why": "as asked for", "lanes": 2}
    >>> calls.hear(message)
    >>> calls.hear({**message, "t": 2.0, "done": 40})
    >>> (row,) = calls.rows(now=2.0)
    >>> row.rate, row.left_s
    (20.0, 3.0)
    """

    def __init__(self, n_kept: int = _N_KEPT) -> None:
        self._n_kept = n_kept
        self._latest: dict[str, dict[str, Any]] = {}
        self._history: dict[str, deque[tuple[float, int]]] = {}

    def hear(self, message: dict[str, Any]) -> None:
        """Take in a message; one that is older than what is known changes nothing.

        Parameters
        ----------
        message : dict
            As by `daskkit.run.news.News.compose`; it may have ``before``, the number
            that was done when the call began, and ``unit``, what is counted.
        """
        key = message["id"]
        known = self._latest.get(key)
        if known is not None and known["t"] > message["t"]:
            return
        self._latest[key] = message
        first = (message["began"], message.get("before", 0))
        history = self._history.setdefault(key, deque([first]))
        history.append((message["t"], message["done"]))
        while len(history) > 2 and message["t"] - history[1][0] >= _WINDOW_S:  # noqa: PLR2004 - two points make a rate
            history.popleft()
        self._drop_old()

    def rows(self, now: float) -> list[CallRow]:
        """Return what is to be shown, the latest call first.

        Parameters
        ----------
        now : float
            Seconds since the epoch.

        Returns
        -------
        list of CallRow
        """
        ordered = sorted(self._latest.values(), key=lambda one: -one["began"])
        return [self._make_row(message, now) for message in ordered]

    def _make_row(self, message: dict[str, Any], now: float) -> CallRow:
        state = message["state"]
        is_running = state == "running"
        if is_running and now - message["t"] > _SILENT_S:
            state = "silent"
        wall_s = max(0.0, message["t"] - message["began"])
        n_new = message["done"] - message.get("before", 0)
        rate = n_new / wall_s if wall_s else 0.0
        if is_running:
            (began, first), (ended, last) = (
                self._history[message["id"]][0],
                self._history[message["id"]][-1],
            )
            rate = (last - first) / (ended - began) if ended > began else 0.0
        left_s = None
        if state == "running" and message["total"] is not None and rate > 0:
            left_s = (message["total"] - message["done"]) / rate
        return CallRow(
            message["name"],
            state,
            message["total"],
            message["done"],
            message["failed"],
            message["open"],
            rate,
            left_s,
            wall_s,
            message["size"],
            message["why"],
            message["lanes"],
            message["id"],
            message.get("unit", "item"),
        )

    def _drop_old(self) -> None:
        over = [k for k, one in self._latest.items() if one["state"] != "running"]
        over.sort(key=lambda key: self._latest[key]["t"])
        # Also those of callers that were killed, and never said that they are over.
        excess = len(self._latest) - 2 * self._n_kept
        running = [k for k in self._latest if k not in set(over)]
        for key in over[: -self._n_kept] + running[: max(0, excess)]:
            del self._latest[key], self._history[key]
