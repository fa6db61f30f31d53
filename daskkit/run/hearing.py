"""Who in this process wants to hear of its clusters and calls: a list of listeners.

`daskkit.dashboard.report` is told of the clusters that are opened while it records, in
time before they close, and of the calls of verbs, also of those that are too short for
`run.news` or that run without any cluster. Costs nothing while nobody listens.
"""

from __future__ import annotations

import contextlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from distributed import Client

__all__ = ["Listener", "announced", "listeners", "tell_call"]


class Listener:
    """Hears; raises nothing. Called by whichever thread does what it hears of."""

    def hear_open(self, client: Client) -> None:
        """Hear that a client of a cluster can be used."""

    def hear_closing(self, client: Client) -> None:
        """Hear that it is about to close."""

    def hear_call(self, message: dict[str, Any], client: Client | None) -> None:
        """Hear how a call ended; see `daskkit.run.news.News.compose`."""


#: Those that listen at the moment.
listeners: list[Listener] = []


@contextlib.contextmanager
def announced(client: Client) -> Iterator[Client]:
    """Tell of a client that is open as long as the context.

    Parameters
    ----------
    client : distributed.Client

    Yields
    ------
    distributed.Client
    """
    for listener in listeners.copy():
        listener.hear_open(client)
    try:
        yield client
    finally:
        for listener in listeners.copy():
            listener.hear_closing(client)


def tell_call(message: dict[str, Any], client: Client | None) -> None:
    """Tell of a call that is over.

    Parameters
    ----------
    message : dict
        As by `daskkit.run.news.News.compose`.
    client : distributed.Client or None
        Of the cluster that it ran on, if it did.
    """
    for listener in listeners.copy():
        listener.hear_call(message, client)
