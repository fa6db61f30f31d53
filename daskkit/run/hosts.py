"""Who is at the other end: this machine or another one, this user or another one."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

__all__ = ["host_of", "is_own_connection", "is_own_user", "own_hosts"]

_CONNECTIONS = Path("/proc/net/tcp")
# Of the kernel's tcp_states.h. A connection that has ended belongs to nobody.
_ESTABLISHED = "01"


def host_of(address: str) -> str:
    """Return the host of an address.

    Parameters
    ----------
    address : str
        Such as Dask's schedulers and workers have.

    Returns
    -------
    str
        A name or a number.

    Examples
    --------
    >>> host_of("tcp://127.0.0.1:8786"), host_of("tls://[::1]:8786")
    ('127.0.0.1', '::1')
    """
    return address.rpartition("://")[2].rpartition(":")[0].strip("[]")


def own_hosts() -> set[str]:
    """Return the addresses of this machine.

    Returns
    -------
    set of str
        And some of its names.
    """
    import psutil

    own = {a.address for each in psutil.net_if_addrs().values() for a in each}
    return own | {"localhost", "127.0.0.1", "::1", socket.gethostname()}


def is_own_user(end: socket.socket) -> bool:
    """Return whether the other end of a local socket belongs to this user.

    Parameters
    ----------
    end : socket.socket
        Connected, of the family AF_UNIX.

    Returns
    -------
    bool
        True where that can't be asked; there the socket's folder is closed to others.
    """
    if sys.platform != "linux":
        return True
    credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, user, _ = struct.unpack("3i", credentials)
    return bool(user == os.getuid())


def is_own_connection(end: socket.socket) -> bool:
    """Return whether this user, or root, is at the other end of a loopback connection.

    Parameters
    ----------
    end : socket.socket
        Connected, of the family AF_INET, on the same machine.

    Returns
    -------
    bool
        True where the system doesn't tell, as without ``/proc``.
    """
    try:
        ours, theirs = _as_in_table(end.getsockname()), _as_in_table(end.getpeername())
        table = _CONNECTIONS.read_text(encoding="ascii")
    except OSError:
        return not _CONNECTIONS.exists()
    for line in table.splitlines():
        fields = line.split()
        if fields[1:4] == [theirs, ours, _ESTABLISHED]:
            return int(fields[7]) in {os.getuid(), 0}
    return False


def _as_in_table(address: tuple[str, int]) -> str:
    """Return an address as the table of connections has it."""
    (host,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{host:08X}:{address[1]:04X}"
