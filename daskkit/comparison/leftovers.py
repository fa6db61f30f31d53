"""What a contestant can leave behind, and how it is found and removed.

A peer may start processes in sessions of their own, write into shared memory and die
before it can clean up. Its processes are known by their session, or by an environment
that names the contestant's folder, which every child inherits; its segments by the
processes that had them open.

Nothing but the standard library is imported: run as a script, this module is the
warden, a process that has to be there at once and to outlive everything.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = [
    "end_processes",
    "find_processes",
    "find_segments",
    "is_tracker",
    "remove_segments",
    "start_of",
]

_PROC = Path("/proc")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written to
# A tracker removes what processes that were killed have left, and ends by itself.
_TRACKER_PATIENCE_S = 4.0
# What can't be killed in this time can't be killed (it waits for a device).
_PATIENCE_S = 10.0
_POLL_S = 0.01
_START = 19


def find_processes(folder: str, sessions: Mapping[int, bytes]) -> list[int]:
    """Return the living processes that belong to a contestant.

    Parameters
    ----------
    folder : str
        The contestant's private folder, which its environment names.
    sessions : mapping of int to bytes
        Sessions known to be its own, with the start of each one's leader, by
        `start_of`: its number may since have been given to somebody else.

    Returns
    -------
    list of int
        Process ids. Where there is no ``/proc``, those of its sessions only.
    """
    mark = os.fsencode(folder)
    theirs = {s for s, start in sessions.items() if start_of(s) in {b"", start}}
    return [
        pid
        for pid in _pids()
        if pid != os.getpid()
        and not _is_zombie(pid)
        and (_session(pid) in theirs or _names(pid, mark))
    ]


def start_of(pid: int) -> bytes:
    """Return when a process began, which tells it from a later one of its number.

    Parameters
    ----------
    pid : int
        Process id.

    Returns
    -------
    bytes
        Clock ticks since the machine was started; empty if the process is gone, or
        where there is no ``/proc``.

    Examples
    --------
    >>> start_of(os.getpid()) == start_of(os.getpid())
    True
    """
    # Field 22 of all, and the 20th after the name, which may hold spaces and brackets.
    fields = _read(pid, "stat").rpartition(b") ")[2].split()
    return fields[_START] if len(fields) > _START else b""


def find_segments(pids: Iterable[int]) -> set[str]:
    """Return the files in shared memory that some processes have mapped or open.

    Parameters
    ----------
    pids : iterable of int
        Process ids; one that has just gone has none.

    Returns
    -------
    set of str
        Paths in ``/dev/shm`` that still have a name; empty where there is no ``/proc``.
    """
    found = set()
    shared = f"{_SHARED_MEMORY}/"
    for pid in pids:
        with contextlib.suppress(OSError):
            maps = _PROC.joinpath(str(pid), "maps").read_text(errors="replace")
            found |= {shared + part for part in re.findall(rf" {shared}(.*)", maps)}
        with contextlib.suppress(OSError):
            for entry in _PROC.joinpath(str(pid), "fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(str(entry.readlink()))
    return {path for path in found if path.startswith(shared) and Path(path).exists()}


def remove_segments(
    segments: Collection[str], pids: Collection[int], since_s: float
) -> list[str]:
    """Remove what dead processes have left in shared memory.

    Parameters
    ----------
    segments : collection of str
        Paths that they had open, by `find_segments`.
    pids : collection of int
        Their ids, which some libraries put into names.
    since_s : float
        When the first of them began, as ``time.time()`` tells it: what is older isn't
        theirs; nor is what a living process has open.

    Returns
    -------
    list of str
        What was removed.
    """
    theirs = [
        entry
        for entry in _list_shared_memory()
        if (str(entry) in segments or set(pids) & _numbers_in(entry.name))
        and _is_younger(entry, since_s)
    ]
    in_use = find_segments(_pids()) if theirs else set()
    removed = []
    for entry in theirs:
        if any(Path(path).is_relative_to(entry) for path in in_use):
            continue
        with contextlib.suppress(OSError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
            removed.append(str(entry))
    return removed


def end_processes(find: Callable[[], list[int]]) -> None:
    """Kill processes until none is found any more.

    Trackers of shared memory come last: they end by themselves, when they have removed
    what those have left that were killed.

    Parameters
    ----------
    find : callable
        Returns the ids of those that are left.
    """
    began = time.monotonic()
    while (pids := find()) and (waited_s := time.monotonic() - began) < _PATIENCE_S:
        for pid in pids:
            # One that has yet to become what it is to be has no command line.
            may_be_one = is_tracker(pid) or not _read(pid, "cmdline")
            spared = waited_s < _TRACKER_PATIENCE_S and may_be_one
            with contextlib.suppress(OSError):
                # A tracker may be frozen like all others.
                os.kill(pid, signal.SIGCONT if spared else signal.SIGKILL)
        time.sleep(_POLL_S)


def is_tracker(pid: int) -> bool:
    """Return whether a process is a tracker of `multiprocessing` or of loky.

    Parameters
    ----------
    pid : int
        Process id.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_tracker(os.getpid())
    False
    """
    return b"resource_tracker" in _read(pid, "cmdline")


def _list_shared_memory() -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(_SHARED_MEMORY.iterdir())
    return []


def _numbers_in(name: str) -> set[int]:
    return {int(word) for word in re.split(r"[^0-9A-Za-z]", name) if word.isdecimal()}


def _is_younger(path: Path, since_s: float) -> bool:
    """Return whether a file of this user is not older than a time."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        # The clock of a file system lags by some milliseconds.
        return status.st_uid == os.getuid() and status.st_ctime >= since_s - 1
    return False


def _pids() -> list[int]:
    if _PROC.joinpath("self").exists():
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    listed = subprocess.run(
        ["/bin/ps", "-axo", "pid="], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def _session(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return None


def _is_zombie(pid: int) -> bool:
    """Return whether a process has ended, and only waits to be asked for."""
    return _read(pid, "stat").rpartition(b") ")[2].startswith(b"Z")


def _names(pid: int, mark: bytes) -> bool:
    """Return whether the environment of a process names a folder or what is in it."""
    environment = _read(pid, "environ")
    return mark in environment and any(
        value == mark or value.startswith(mark + b"/")
        for _, _, value in (pair.partition(b"=") for pair in environment.split(b"\0"))
    )


def _read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return _PROC.joinpath(str(pid), name).read_bytes()
    return b""


def _watch(folder: str) -> None:
    """Serve as the warden: hear of sessions, and end them when the caller is gone.

    Lines of standard input are sessions to watch, or the negatives of those to forget.
    It is closed when the comparison's process is gone, however that went.
    """
    began_s = time.time()
    sessions: dict[int, bytes] = {}
    for line in sys.stdin:
        session = int(line)
        if session > 0:
            sessions[session] = start_of(session)
        else:
            sessions.pop(-session, None)
    pids = find_processes(folder, sessions)
    segments = find_segments(pids)
    end_processes(lambda: find_processes(folder, sessions))
    remove_segments(segments, pids, began_s)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch(sys.argv[1])
