"""Lanes that wait for the next call: threads of workers that are connected already.

A new lane is a task of Dask, which takes some 10 ms to begin and 5 ms of CPU. Most
calls end before that is earned; so lanes stay, each a thread of its worker that waits
for a message, until their client is closed.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from distributed import Client

    from daskkit.run.board import Board
    from daskkit.run.link import Link

__all__ = ["Parked", "close_parked", "count_parked", "park", "take_parked"]


class Parked(NamedTuple):
    """A lane without a call."""

    link: Link
    board: Board
    pid: int
    #: Of its worker.
    address: str

    def close(self) -> None:
        """Have its thread end."""
        self.link.close()
        self.board.close()


_lock = threading.Lock()
_parked: weakref.WeakKeyDictionary[Client, list[Parked]] = weakref.WeakKeyDictionary()


def park(client: Client, lane: Parked, n_threads: int) -> bool:
    """Keep a lane for the client's next call.

    Parameters
    ----------
    client : distributed.Client
        Whose workers.
    lane : Parked
        It has been told to wait.
    n_threads : int
        How many lanes its worker may have.

    Returns
    -------
    bool
        Whether it is kept; False if there are enough.
    """
    with _lock:
        if client.status != "running":
            return False
        if client not in _parked:
            _parked[client] = []
            # Sockets that are just forgotten would warn.
            weakref.finalize(client, _close_all, _parked[client]).atexit = False
        known = _parked[client]
        if sum(other.address == lane.address for other in known) >= n_threads:
            return False
        known.append(lane)
        return True


def take_parked(client: Client) -> list[Parked]:
    """Return the lanes that wait, for one call to use, without those that are gone.

    Parameters
    ----------
    client : distributed.Client
        Whose workers.

    Returns
    -------
    list of Parked
    """
    with _lock:
        lanes, alive = _parked.get(client, []), []
        for lane in lanes:
            # They have nothing to say: what can be read is the end.
            if lane.link.has_message(0.0):
                lane.close()
            else:
                alive.append(lane)
        lanes.clear()
    return alive


def count_parked(client: Client) -> int:
    """Return how many lanes of a client wait.

    Parameters
    ----------
    client : distributed.Client
        Whose workers.

    Returns
    -------
    int
    """
    return len(_parked.get(client, ()))


def close_parked(client: Client) -> None:
    """End the lanes of a client that is about to be closed.

    Parameters
    ----------
    client : distributed.Client
        Whose workers.
    """
    with _lock:
        _close_all(_parked.get(client, []))


def _close_all(lanes: list[Parked]) -> None:
    for lane in lanes:
        lane.close()
    lanes.clear()
