"""What items say in a worker: log records, warnings and printed lines, on their way.

A lane has a `Voice`. As long as the lane serves a call, what its items say goes to the
caller, each line as soon as it is whole: a worker that dies has said all before.
`run.desk` has them speak to it, `run.echo` is the other side.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized

__all__ = [
    "MOST_BYTES",
    "MOST_LINES",
    "Limit",
    "Line",
    "Said",
    "Voice",
]

#: A call, and each of its lanes, may say so much a second; the rest is counted.
MOST_LINES = 2_000
MOST_BYTES = 4 * 2**20
# A line without an end is sent when it has so many characters.
_MOST_UNENDED = 1_000_000


class Line(NamedTuple):
    """One message of an item."""

    #: "stdout", "stderr", "log" or "warning".
    kind: str
    #: Index of the item; None if it was said before or after all items of a batch.
    item: int | None
    #: A line without its end; attributes of a log record; or text, names of the classes
    #: from the most special to `Warning`, file and line of a warning.
    content: Any


class Said(NamedTuple):
    """What a lane sends to the caller beside its answers."""

    lines: list[Line]
    #: Lines that were too many, and their characters.
    n_dropped: int
    dropped_bytes: int


class Limit:
    """Admits so many lines and characters a second, and counts the rest.

    Parameters
    ----------
    clock : callable, default time.monotonic
        Seconds.

    Examples
    --------
    >>> limit = Limit(clock=lambda: 0.0)
    >>> sum(limit.admits(10) for _ in range(MOST_LINES + 5)) == MOST_LINES
    True
    >>> limit.take_dropped(), limit.take_dropped()
    ((5, 50), (0, 0))
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._n_lines = self._n_bytes = 0
        self._dropped = (0, 0)

    def admits(self, n_bytes: int) -> bool:
        """Return whether a line of that length may pass."""
        now = self._clock()
        if now - self._since >= 1.0:
            self._since, self._n_lines, self._n_bytes = now, 0, 0
        self._n_lines += 1
        self._n_bytes += n_bytes
        # A single line may be as long as it likes.
        is_few = self._n_lines <= MOST_LINES and self._n_bytes <= MOST_BYTES
        if is_few or self._n_lines == 1:
            return True
        self.drop(1, n_bytes)
        return False

    def drop(self, n_lines: int, n_bytes: int) -> None:
        """Count lines that somebody else has left out."""
        self._dropped = (self._dropped[0] + n_lines, self._dropped[1] + n_bytes)

    def take_dropped(self) -> tuple[int, int]:
        """Return lines and characters that were left out since this was asked last."""
        dropped, self._dropped = self._dropped, (0, 0)
        return dropped


class Voice:
    r"""Sends what one lane says.

    Parameters
    ----------
    send : callable
        ``send(said)`` takes a `Said` to the caller; an `OSError` means that the caller
        is gone.

    Examples
    --------
    >>> heard = []
    >>> voice = Voice(heard.append)
    >>> voice.place(7, [])
    >>> voice.write("stdout", "one "); voice.write("stdout", "line\nand a half")
    >>> heard[0].lines
    [Line(kind='stdout', item=7, content='one line')]
    >>> voice.flush(); heard[1].lines[0].content
    'and a half'
    """

    def __init__(self, send: Callable[[Said], Any]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._unended: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._limit = Limit()
        self._start: int | None = None
        self._results: Sized = ()
        #: Whether what was exchanged for it may stay, as another call may follow soon.
        self.stays = False
        #: Filters of the caller, if this process has to be told.
        self.filters: list[tuple[Any, ...]] = []

    def place(self, start: int | None, results: Sized = ()) -> None:
        """Note which items follow: as many are done as `results` has by then."""
        self._results = results
        self._start = start

    def write(self, kind: str, text: str) -> None:
        """Take in what is printed, and send the lines that are whole."""
        with self._lock:
            unended = self._unended[kind]
            unended.append(text)
            if "\n" in text:
                *lines, rest = "".join(unended).split("\n")
                unended[:] = [rest] if rest else []
                self.say([(kind, _shown(line)) for line in lines])
            elif sum(map(len, unended)) > _MOST_UNENDED:
                self._end_line(kind)

    def flush(self) -> None:
        """Send lines that have no end, and how many were left out."""
        if any(self._unended.values()):
            with self._lock:
                for kind in self._unended:
                    self._end_line(kind)
        dropped = self._limit.take_dropped()
        if dropped[0]:
            self._deliver(Said([], *dropped))

    def say(self, messages: Sequence[tuple[str, Any]]) -> None:
        """Send messages, each a kind and its content, as far as they may pass."""
        item = None if self._start is None else self._start + len(self._results)
        lines = [
            Line(kind, item, content)
            for kind, content in messages
            if self._limit.admits(_length(content))
        ]
        if lines:
            self._deliver(Said(lines, *self._limit.take_dropped()))

    def _end_line(self, kind: str) -> None:
        text = "".join(self._unended[kind])
        self._unended[kind].clear()
        if text:
            self.say([(kind, _shown(text))])

    def _deliver(self, said: Said) -> None:
        # The item goes on although nobody wants it any more.
        with contextlib.suppress(OSError):
            self._send(said)


def _shown(line: str) -> str:
    r"""Return what a terminal shows of a line in the end: bars overwrite themselves.

    Examples
    --------
    >>> _shown("10 %\r20 %"), _shown("Windows\r")
    ('20 %', 'Windows')
    """
    return line.rstrip("\r").rpartition("\r")[2]


def _length(content: Any) -> int:
    if isinstance(content, dict):
        return len(content["msg"]) + len(content["exc_text"] or "")
    return len(content) if isinstance(content, str) else len(content[0])
