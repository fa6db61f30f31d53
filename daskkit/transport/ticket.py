"""A segment's file: what is in it, who may open it, how it is known to be the one.

Whoever makes a file calls `open_new`, writes the content and calls `finish`; whoever
has a `Ticket` calls `open_checked`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from daskkit.transport import files
from daskkit.transport.errors import NoRoomError
from daskkit.units import format_bytes

if TYPE_CHECKING:
    from daskkit.transport import contact

__all__ = ["HEADER", "Ticket", "finish", "open_checked", "open_file", "open_new"]

#: Bytes before the content: a magic number, the token and the size, padded so that the
#: content starts on a cache line, as NumPy and Arrow like it.
HEADER = 64
_MAGIC = b"daskkit transport\0"


class Ticket(NamedTuple):
    """All that another process needs to find a segment and to know that it is it."""

    #: Random; also stands in the file, so a recycled pid, descriptor or file name can't
    #: pass for the segment.
    token: bytes
    #: Size of the content.
    n_bytes: int
    #: The holder's process and its descriptor there.
    pid: int
    fd: int
    #: File name, None for an anonymous file.
    path: str | None
    #: Where the holder runs.
    place: contact.Place
    #: Whom to ask where it can't be opened.
    contact: contact.Contact | None
    #: The object's description, for errors.
    what: str


def open_new(n_bytes: int, what: str, *, named: bool) -> tuple[int, str | None] | None:
    """Return a new empty file for a segment: its descriptor, and its path if any.

    Parameters
    ----------
    n_bytes : int
        Size of the content to come.
    what : str
        The object's description, for errors.
    named : bool
        A temporary file, for processes that can't open an anonymous one.

    Returns
    -------
    tuple of int and (str or None), or None
        None where no more files can be opened.

    Raises
    ------
    NoRoomError
        If there surely is not that much memory.
    """
    try:
        if named or not files.have_memfd():
            return files.make_named_file()
        files.check_room(n_bytes, what)
        return files.make_memory_file(), None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return None
        raise


def finish(fd: int, token: bytes, n_bytes: int, path: str | None, what: str) -> None:
    """Complete a segment's file: its exact size, its header, its seals.

    The header comes last: a file that is not complete has none and is not accepted.

    Parameters
    ----------
    fd : int
        Descriptor, all content written.
    token : bytes
        The segment's.
    n_bytes : int
        Size of the content; the file is extended by zeros to it.
    path : str or None
        None for an anonymous file, which is sealed.
    what : str
        The object's description, for errors.
    """
    try:
        os.ftruncate(fd, HEADER + n_bytes)
    except OSError as error:
        msg = f"No room for {what} ({format_bytes(n_bytes)}): {error.strerror}"
        raise NoRoomError(msg) from error
    header = memoryview(_header(token, n_bytes))
    files.write_all(fd, [(0, header)], what=what, n_bytes=n_bytes)
    if path is None:
        files.seal(fd)


def open_checked(path: str, ticket: Ticket) -> int | None:
    """Return a descriptor of the file at `path` if it is the ticket's segment.

    Parameters
    ----------
    path : str
        Of a temporary file, or of another process's descriptor.
    ticket : Ticket
        What it has to be.

    Returns
    -------
    int or None
        Open for reading only.
    """
    fd = open_file(path, (os.geteuid(), ticket.place.user))
    if fd is None:
        return None
    if os.fstat(fd).st_size == HEADER + ticket.n_bytes and os.pread(
        fd, HEADER, 0
    ) == _header(ticket.token, ticket.n_bytes):
        return fd
    os.close(fd)
    return None


def open_file(
    path: str, users: tuple[int, ...], *, writable: bool = False
) -> int | None:
    """Return a descriptor of a file that one of our processes may have made.

    Parameters
    ----------
    path : str
        Of a temporary file, or of another process's descriptor.
    users : tuple of int
        Who may own it.
    writable : bool, default False
        Open it for writing, too.

    Returns
    -------
    int or None
        None if it can't be opened, or can't be ours. Whether it is the right one, only
        its content tells.
    """
    flags = os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY)
    try:
        if path.startswith("/proc/"):
            # Look before opening: by a recycled pid this may be a pipe or a device.
            link = os.readlink(path)  # noqa: PTH115 - a magic link, not a real path
            if not link.startswith(f"/memfd:{files.MEMFD_NAME}"):
                return None
            fd = os.open(path, flags | os.O_NONBLOCK)
        else:
            fd = os.open(path, flags | os.O_NOFOLLOW)
    except OSError:  # gone, another user's, another namespace's: all the same to us
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_uid in users:
        return fd
    os.close(fd)
    return None


def _header(token: bytes, n_bytes: int) -> bytes:
    header = _MAGIC + token + n_bytes.to_bytes(8, "little")
    return header.ljust(HEADER, b"\0")
