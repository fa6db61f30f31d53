"""What a process does first that is to end with its parent, and may be a fork of it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

__all__ = ["die_with", "print_lines", "reseed"]

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the system end this process when its parent ends, even by SIGKILL.

    On Linux; when the thread ends, to be exact, that has started this process.

    Parameters
    ----------
    parent : int
        Process number of the parent. If it has ended already, so does this process.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def print_lines() -> None:
    """Write what is printed line by line: lines of several processes stay whole.

    A pipe or file would get it in blocks.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def reseed() -> None:
    """Give this fork random numbers of its own where they are global."""
    for name in ("random", "numpy.random"):
        module = sys.modules.get(name)
        if module is not None:
            module.seed()
