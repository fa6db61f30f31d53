"""Clusters that `daskkit cluster` has started, found by their names.

Each has a file in a folder of the user's that nobody else can read: whoever can talk to
a scheduler can run code as its owner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from daskkit.errors import ClusterError
from daskkit.files import write_text
from daskkit.loop import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_NAME", "NamedCluster", "find", "is_name", "list_names", "publish"]

#: What a cluster is called that was given no name.
DEFAULT_NAME = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ENDING = ".json"


@dataclasses.dataclass(frozen=True)
class NamedCluster:
    """Where a cluster can be reached."""

    #: Of its scheduler, and of the page Daskkit.
    address: str
    dashboard: str
    #: Process that started it, when that began (seconds since the epoch), its host.
    pid: int
    began: float
    host: str
    #: Who knows it is let in, in hexadecimal digits; empty for all.
    secret: str = dataclasses.field(default="", repr=False)


def is_name(text: str) -> bool:
    """Return whether a text may be a cluster's name; an address never is one.

    Parameters
    ----------
    text : str
        Up to 64 letters, digits, ``-`` and ``_`` make a name.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_name("my-cluster"), is_name("tcp://127.0.0.1:8786"), is_name("a/b")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


@contextlib.contextmanager
def publish(
    name: str, address: str, dashboard: str, secret: str = ""
) -> Iterator[None]:
    """Make a cluster of this process known by a name, as long as the context is open.

    Parameters
    ----------
    name : str
        See `is_name`.
    address, dashboard, secret : str
        As in `NamedCluster`.

    Raises
    ------
    ClusterError
        If the name isn't allowed, or a cluster that runs has it.
    """
    check_free(name)
    began = _birth_of(os.getpid())
    cluster = NamedCluster(
        address, dashboard, os.getpid(), began or 0.0, socket.gethostname(), secret
    )
    path = _path_of(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(path, json.dumps(dataclasses.asdict(cluster), indent=2))
    try:
        yield
    finally:
        # Not that of a later one, should somebody have removed ours by hand.
        if _read(path) == cluster:
            path.unlink(missing_ok=True)


def check_free(name: str) -> None:
    """Raise if a cluster can't have a name.

    Parameters
    ----------
    name : str
        See `is_name`.

    Raises
    ------
    ClusterError
        If it isn't allowed, or a cluster that runs has it.
    """
    if not is_name(name):
        msg = (
            f"a cluster can't be named {short_repr(name)}; a name has up to 64 "
            "letters, digits, '-' and '_', and begins with a letter or digit"
        )
        raise ClusterError(msg)
    known = _read(_path_of(name))
    if known is not None:
        msg = (
            f"a cluster named {name!r} runs already (process {known.pid} on "
            f"{known.host}); end it, or choose another name"
        )
        raise ClusterError(msg)


def find(name: str) -> NamedCluster:
    """Return a cluster that runs, by its name.

    Parameters
    ----------
    name : str
        See `is_name`.

    Returns
    -------
    NamedCluster

    Raises
    ------
    ClusterError
        If there is none.
    """
    known = _read(_path_of(name)) if is_name(name) else None
    if known is None:
        names = ", ".join(map(repr, list_names())) or "none"
        msg = (
            f"no cluster named {short_repr(name)} runs here; those that do: {names}. "
            f"Start one with `daskkit cluster --name NAME`, or pass an address such as "
            "'tcp://127.0.0.1:8786'"
        )
        raise ClusterError(msg)
    return known


def list_names() -> list[str]:
    """Return the names of the clusters that run.

    Returns
    -------
    list of str
    """
    paths = sorted(_folder().glob(f"*{_ENDING}"))
    return [path.stem for path in paths if is_name(path.stem) and _read(path)]


def _folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "daskkit" / "clusters"


def _path_of(name: str) -> Path:
    return _folder() / f"{name}{_ENDING}"


def _read(path: Path) -> NamedCluster | None:
    """Return what a file says; None if it is none of ours, or its process has ended."""
    try:
        if path.stat().st_uid != os.getuid():
            return None
        cluster = NamedCluster(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if cluster.host != socket.gethostname():
        return cluster  # a home that several machines share
    birth = _birth_of(cluster.pid)
    # A second's doubt, as clocks are set; a number that is used again differs by more.
    return cluster if birth and abs(birth - cluster.began) < 1.0 else None


def _birth_of(pid: int) -> float | None:
    """Return when a process began, None if there is none."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
