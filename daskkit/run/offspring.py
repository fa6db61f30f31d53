"""Processes that a function has started, when the process that executed it is gone.

A worker leads a session of its own: what its tasks start belongs to it, and still does
when its parent is dead. What was started in a session of its own was meant to stay.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["end_offspring", "lead_session"]

# What tidies up after a process that was killed, and then ends by itself: Python's and
# joblib's trackers of shared memory, and the guardian of `transport.files`.
_TIDIES = ("resource_tracker", 'rm -rf -- "$0"')
# They might start others meanwhile.
_N_LOOKS = 3


def lead_session() -> None:
    """Put this process into a session of its own, if it isn't in one."""
    with contextlib.suppress(OSError, AttributeError):
        os.setsid()


def end_offspring(leader: int) -> int:
    """Kill all processes that are left of the session of a process that has ended.

    Parameters
    ----------
    leader : int
        Process number of one that has called `lead_session`, and has ended. As long as
        there are others of its session the system gives its number to nobody else.

    Returns
    -------
    int
        How many were killed; 0 if the leader is alive, or has led no session.

    Examples
    --------
    >>> import subprocess, sys
    >>> code = "import os; os.setsid(); os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '99')"
    >>> leader = subprocess.Popen([sys.executable, "-S", "-c", code])
    >>> leader.wait(), end_offspring(leader.pid)
    (0, 1)
    """
    killed = set[int]()
    for _ in range(_N_LOOKS):
        pids = list(_session(leader))
        if not pids or leader in pids:
            break
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    return len(killed)


def _session(leader: int) -> Iterator[int]:
    """Yield the processes of a session, without those that tidy up or are dead."""
    import psutil

    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) != leader:
                continue
            process = psutil.Process(pid)
            if pid != leader and process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            if not any(one in command for one in _TIDIES):
                yield pid
