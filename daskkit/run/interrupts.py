"""Ctrl-C at a moment when it would leave something half done."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["block_interrupt", "deferred_interrupt", "ignore_interrupt"]


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Have Ctrl-C wait until the context is left; pressed again, it doesn't wait.

    Python raises `KeyboardInterrupt` wherever the main thread happens to be. Between
    the start of a process and the note of who has to end it, nobody would. What is done
    in the context should be short, and end by itself.

    Yields
    ------
    None

    Notes
    -----
    Does nothing in other threads, which are never interrupted, and where the program
    handles SIGINT outside Python or ignores it.

    Examples
    --------
    >>> done = []
    >>> try:
    ...     with deferred_interrupt():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("all")
    ... except KeyboardInterrupt:
    ...     done
    ['all']
    """
    before = signal.getsignal(signal.SIGINT)
    # `current_thread` would register for good a thread that is none of `Thread`.
    is_main = threading.get_ident() == threading.main_thread().ident
    if not is_main or not callable(before):
        yield
        return
    pressed: list[tuple[int, Any]] = []

    def note(number: int, frame: Any) -> None:
        pressed.append((number, frame))
        if len(pressed) > 1:
            before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        # Unless the body has set another.
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, before)
        if len(pressed) == 1:
            before(*pressed[0])


def block_interrupt(how: int = signal.SIG_BLOCK) -> None:
    """Keep Ctrl-C from the processes that this thread and those of its making start.

    A terminal sends it to all processes that were started from there. Python's handlers
    run in the main thread whichever thread receives a signal.

    Parameters
    ----------
    how : int, default signal.SIG_BLOCK
        `signal.SIG_UNBLOCK` takes it back.
    """
    if sys.platform != "win32":
        signal.pthread_sigmask(how, {signal.SIGINT})


def ignore_interrupt() -> None:
    """Leave Ctrl-C to the caller of this process, for good.

    Where it was blocked until now; that would be passed on to children unseen.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        block_interrupt(signal.SIG_UNBLOCK)
