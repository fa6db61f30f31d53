"""A folder that is gone when its process is gone, however that ended.

A process beside this one waits for the end of a pipe, which no fork may hold open.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import weakref
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["keep_from_forks", "watched_folder"]

# Removes a folder as soon as its standard input is closed: by the owner who has no need
# of it any more, or by the system because the owner was killed. Those who write there
# see the same and end, too; until then, again. Workers that have a page in there (see
# `transport.deaths`) lead sessions; what their items have started is ended after them,
# as by `run.offspring`. (A shell: it takes 1 MB and is there in a millisecond, Python
# needs ten times as much of either.)
_SCRIPT = r"""
look() {
    state= session=
    read -r stat < "/proc/$1/stat" || return
    set -- ${stat##*) }
    state=$1 session=$4
}
read -r _
folder=$1 leaders=
for page in "$folder"/*/tasks-*; do
    [ -e "$page" ] && leaders="$leaders ${page##*-}"
done
for i in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$folder" && gone=yes || gone=
    ended=
    for leader in $leaders; do
        look "$leader"
        case "$state" in ''|Z) ended="$ended $leader" ;; *) gone= ;; esac
    done
    [ -n "$ended" ] && for process in /proc/[0-9]*; do
        look "${process#/proc/}"
        [ -n "$session" ] && [ "$state" != Z ] || continue
        case "$ended " in *" $session "*) ;; *) continue ;; esac
        case "$(tr '\0' ' ' < "$process/cmdline")" in
            *resource_tracker* | *'rm -rf -- "$0"'*) continue ;;
        esac
        kill -9 "${process#/proc/}"
    done
    [ -n "$gone" ] && exit
    sleep 0.5
done
"""
_SHELL = "/bin/sh"

# Files of this process that no fork may hold open.
_own: weakref.WeakSet[IO[Any]] = weakref.WeakSet()


def keep_from_forks(file: IO[Any]) -> None:
    """Let this process alone hold a file open, such as a pipe whose end means its end.

    A fork of the user's, such as the processes of `multiprocessing.Pool`, would have it
    open as well, for as long as it lives.

    Parameters
    ----------
    file : file object
        With a descriptor. In forks it leads nowhere.
    """
    _own.add(file)


def _let_go() -> None:
    # Nobody else may get their numbers, which their objects would close one day. (And
    # to close an object may wait for a thread that doesn't exist in a fork.)
    files = [file for file in list(_own) if not file.closed]
    if files:
        null = os.open(os.devnull, os.O_RDWR)
        for file in files:
            os.dup2(null, file.fileno(), inheritable=False)
        os.close(null)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def watched_folder(prefix: str) -> Iterator[str]:
    """Yield the path of a new folder, which is removed in any case.

    Also if this process is killed, by a process beside it that waits for that. Without
    a shell there is no such process.

    Parameters
    ----------
    prefix : str
        What its name begins with.

    Yields
    ------
    str
        Readable by its owner only.

    Examples
    --------
    >>> from pathlib import Path
    >>> with watched_folder("daskkit-") as folder:
    ...     Path(folder).is_dir()
    True
    >>> Path(folder).exists()
    False
    """
    folder = tempfile.mkdtemp(prefix=prefix)
    warden: subprocess.Popen[bytes] | None = None
    try:
        with contextlib.suppress(OSError):
            warden = subprocess.Popen(
                [_SHELL, "-c", _SCRIPT, "daskkit-warden", folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # Neither Ctrl-C nor the end of a terminal reaches it.
                start_new_session=True,
            )
            assert warden.stdin is not None
            keep_from_forks(warden.stdin)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if warden is not None:
            assert warden.stdin is not None
            warden.stdin.close()
            warden.wait()
