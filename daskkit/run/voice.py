"""What items say in a worker: log records, warnings and printed lines, on their way.

A lane has a `Voice`. As long as the lane serves a call, what its thread says goes to
the caller, each line as soon as it is whole: a worker that dies has said all before.
Other threads of a worker are left alone; in a child process all belong to the call.
`run.echo` is the other side.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.loop import short_repr
from daskkit.run.rules import describe_filters, find_action, resolve_filters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence, Sized

    from daskkit.run.rules import Rules

__all__ = [
    "MOST_BYTES",
    "MOST_LINES",
    "Limit",
    "Line",
    "Said",
    "Voice",
    "speaking",
]

#: A call, and each of its lanes, may say so much a second; the rest is counted.
MOST_LINES = 2_000
MOST_BYTES = 4 * 2**20
# A line without an end is sent when it has so many characters.
_MOST_UNENDED = 1_000_000
# What travels of a log record as it is; anything else as text.
_PLAIN = (str, int, float, bool, type(None))


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
        #: Filters of the caller, if this process has to be told.
        self.filters: Sequence[tuple[Any, ...]] = ()

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


class _Local(threading.local):
    """The voice of this thread."""

    voice: Voice | None = None


_local = _Local()


class _Desk:
    """What is exchanged in this process while lanes serve in it, and put back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._undo = contextlib.ExitStack()
        #: Of threads that have none.
        self.default: Voice | None = None

    @property
    def voice(self) -> Voice | None:
        """The voice of the calling thread."""
        return _local.voice or self.default

    def open(self, rules: Rules | None) -> None:
        """Begin to listen; without rules, in a fork of the caller."""
        with self._lock:
            self._n_users += 1
            if self._n_users == 1:
                for name in ("stdout", "stderr"):
                    self._exchange(sys, name, _Stream(getattr(sys, name), name))
                show = warnings.showwarning
                self._exchange(warnings, "showwarning", _make_hook(show))
                if rules is None:
                    _remove_handlers()
                handler = _Handler()
                logging.getLogger().addHandler(handler)
                self._undo.callback(logging.getLogger().removeHandler, handler)
            if rules is not None:
                self._set_levels(rules)
                self._set_filters(rules)

    def close(self) -> None:
        """Put everything back when the last lane has ended."""
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                self._undo.close()

    def _exchange(self, owner: Any, name: str, ours: Any) -> None:
        before = getattr(owner, name)
        setattr(owner, name, ours)

        def undo() -> None:
            if getattr(owner, name) is ours:  # or an item has put its own there
                setattr(owner, name, before)

        self._undo.callback(undo)

    def _set_levels(self, rules: Rules) -> None:
        """Let loggers say what the caller's do, where this process has no levels."""
        for name, level in rules.levels.items():
            logger = logging.getLogger(name)
            if logger.level != level and (not name or logger.level == logging.NOTSET):
                self._undo.callback(logger.setLevel, logger.level)
                logger.setLevel(level)
        before = logging.root.manager.disable
        if before != rules.disabled:
            self._undo.callback(logging.disable, before)
            logging.disable(rules.disabled)

    def _set_filters(self, rules: Rules) -> None:
        wanted = resolve_filters(rules)
        # To change them makes Python forget what it has shown once.
        if describe_filters(wanted) == describe_filters(warnings.filters):
            return
        for action, message, category, module, line in wanted[::-1]:
            # Not for the whole process; see `_make_hook`.
            kind = "always" if action == "error" else action
            texts = (one.pattern if one else "" for one in (message, module))
            warnings.filterwarnings(kind, next(texts), category, next(texts), line)  # type: ignore[arg-type]
            self._undo.callback(_remove_filter, warnings.filters[0])


_desk = _Desk()


def _forget() -> None:
    """Have a process that an item has forked speak for itself."""
    _local.voice = _desk.default = None


os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def speaking(
    send: Callable[[Said], Any], rules: Rules | None, *, is_child: bool
) -> Iterator[Voice]:
    """Yield a voice that the calling thread has while in the context.

    Parameters
    ----------
    send : callable
        As for `Voice`.
    rules : Rules or None
        Of the caller; None in a fork of it, which has them all.
    is_child : bool
        Whether all threads of this process belong to the call.

    Yields
    ------
    Voice
    """
    voice = Voice(send)
    if rules is not None:
        voice.filters = resolve_filters(rules)
    _desk.open(rules)
    _local.voice = voice
    if is_child:
        _desk.default = voice
    try:
        yield voice
    finally:
        _local.voice = None
        if is_child:
            _desk.default = None
        _desk.close()


class _Stream:
    """Stands in for `sys.stdout` or `sys.stderr`; most of it is the original's.

    Parameters
    ----------
    stream : file
        The original; None where there is none.
    kind : str
        "stdout" or "stderr".
    """

    def __init__(self, stream: Any, kind: str) -> None:
        self._stream = stream
        self._kind = kind

    def write(self, text: str) -> int:
        """Print where the calling thread's output belongs."""
        voice = _desk.voice
        if not isinstance(text, str):
            msg = f"write() argument must be str, not {type(text).__name__}"
            raise TypeError(msg)
        if voice is not None:
            voice.write(self._kind, text)
        elif self._stream is not None:
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Print several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing for lines that are sent."""
        if _desk.voice is None and self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    """Sends log records of threads that have a voice."""

    def handle(self, record: logging.LogRecord) -> Any:
        """Send a record; without a lock, as another thread may wait for its caller."""
        voice = _desk.voice
        if voice is None:
            # Logging has a handler for who has none, which this one has put aside.
            last = logging.lastResort
            is_alone = logging.getLogger().handlers == [self]
            if is_alone and last is not None and record.levelno >= last.level:
                last.handle(record)
            return record
        try:
            content = _describe_record(record)
        except Exception:  # noqa: BLE001 - a wrong format, or a user's class
            self.handleError(record)
        else:
            voice.say([("log", content)])
        return record


def _describe_record(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's attributes as plain data, its text complete."""
    text = record.exc_text
    if record.exc_info and not text:
        text = logging.Formatter().formatException(record.exc_info)
    ready = {
        "msg": record.getMessage(),
        "args": None,
        "exc_info": None,
        "exc_text": text,
    }
    return {
        name: value if isinstance(value, _PLAIN) else short_repr(value)
        for name, value in {**record.__dict__, **ready}.items()
    }


def _make_hook(before: Callable[..., Any]) -> Callable[..., Any]:
    """Return what takes the place of `warnings.showwarning`."""

    def show(  # noqa: PLR0917 - as Python calls it
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        voice = _desk.voice
        if voice is None or file is not None:
            before(message, category, filename, lineno, file, line)
            return
        module = _find_module(filename)
        text = str(message)
        if find_action(voice.filters, text, category, module, lineno) == "error":
            # As the caller wants it; as a filter of this process it would hit all of
            # its threads.
            raise message if isinstance(message, Warning) else category(message)
        names = [(one.__module__, one.__qualname__) for one in category.__mro__[:-3]]
        voice.say([("warning", (text, names, filename, lineno))])

    return show


def _find_module(filename: str) -> str:
    """Return the name of the module that warns, from the frames that lead here."""
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to see callers
    while frame is not None:
        if frame.f_code.co_filename == filename:
            return str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back  # type: ignore[assignment]
    return filename.removesuffix(".py")


def _remove_handlers() -> None:
    """Leave the caller's handlers to the caller."""
    loggers: list[Any] = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        if getattr(logger, "handlers", None):
            logger.handlers = []
            logger.propagate = True


def _remove_filter(known: Any) -> None:
    with contextlib.suppress(ValueError):
        warnings.filters.remove(known)  # type: ignore[attr-defined] # a list
