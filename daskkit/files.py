"""Writing a file whole or not at all; the lowest layer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from daskkit.errors import DaskkitError

__all__ = ["check_writable", "write_bytes", "write_text"]


def check_writable(path: str | os.PathLike[str], example: str) -> Path:
    """Return a path as a `Path`, or raise if no file can be written there.

    Parameters
    ----------
    path : str or path-like
        Where a file is to be written.
    example : str
        A file name for the error message, such as ``"report.html"``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DaskkitError
        If it is a directory, or lies in none, or can't be written.
    """
    target = Path(path)
    if _is_directory(target):
        msg = f"{target} is a directory; name a file, such as {target / example}"
        raise DaskkitError(msg)
    if not _is_directory(target.parent):
        msg = f"{target} can't be written: there is no directory {target.parent}"
        raise DaskkitError(msg)
    place = target if os.path.exists(target) else target.parent  # noqa: PTH110 - False, not an error, for a name that is too long
    if not os.access(place, os.W_OK):
        msg = f"{target} can't be written: no permission"
        raise DaskkitError(msg)
    return target


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file, so that a reader finds the old one or the new one, whole.

    Parameters
    ----------
    path : str or path-like
        Replaced if it exists; only its owner can read the new file (mode 0600).
    text : str
        Written in UTF-8.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DaskkitError
        If the file can't be written; nothing is left of it.
    """
    # A name that came from undecodable bytes has surrogates, which UTF-8 lacks.
    return write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file, so that a reader finds the old one or the new one, whole.

    Parameters
    ----------
    path : str or path-like
        Replaced if it exists; only its owner can read the new file (mode 0600).
    content : bytes
        All of it.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DaskkitError
        If the file can't be written; nothing is left of it.
    """
    # A link is followed, not replaced.
    target = check_writable(path, "report.html").resolve()
    try:
        descriptor, name = tempfile.mkstemp(
            prefix=f".{target.name}.", dir=target.parent
        )
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        msg = f"{target} can't be written: {error.strerror or error}"
        raise DaskkitError(msg) from error
    return target


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long; writing will say so
        return False
