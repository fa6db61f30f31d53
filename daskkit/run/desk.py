"""Where items speak: output, log records and warnings of a process, while lanes serve.

What is exchanged for that in the process is put back when the last lane has ended.
What a thread says goes to its voice (`run.voice`): that of its lane, or in a child
process that of the call. So does what threads of items say in a worker that serves one
lane at the time; its other threads are left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from daskkit.run.rules import find_action, load_rules, resolve_filters
from daskkit.run.voice import Voice

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence

    from daskkit.run.rules import Rules
    from daskkit.run.voice import Said

__all__ = ["speaking", "tidy"]

# Names of threads that Dask or daskkit may start while items are executed.
_NOT_OF_ITEMS = ("Dask-", "daskkit-", "Profile", "asyncio_", "AsyncProcess")


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
        # What is in the place of what: owner, name and ours; empty if nothing is.
        self._ours: list[tuple[Any, str, Any]] = []
        self._handler: logging.Handler | None = None
        #: Of threads that have none.
        self.default: Voice | None = None
        # Of threads that have been started since, while there is one lane only.
        self._alone: Voice | None = None
        self._strangers: set[threading.Thread] = set()
        # Rules that are in force; filters that come of them, and as Python has them.
        self._rules: bytes | None = None
        self._wanted: list[tuple[Any, ...]] = []
        self._filters: list[tuple[Any, ...]] = []

    @property
    def voice(self) -> Voice | None:
        """The voice of the calling thread."""
        return _local.voice or self.default or self._find_alone()

    def open(self, voice: Voice, rules: bytes | None) -> None:
        """Begin to listen; without rules, in a fork of the caller."""
        with self._lock:
            self._n_users += 1
            self._alone = None
            if self._n_users == 1:
                self._strangers = set(threading.enumerate())
                self._alone = voice
                if rules != self._rules or not self._is_intact():
                    self._put_back()
                if not self._ours:
                    self._exchange_all(rules)
            if rules is not None:
                known = load_rules(rules)
                is_new = rules != self._rules
                if is_new or len(self._wanted) < len(known.filters):
                    self._wanted = resolve_filters(known)
                    self._set_levels(known)
                    self._set_filters()
                    self._rules = rules
                voice.filters = self._wanted

    def close(self, *, stays: bool) -> None:
        """Put everything back when the last lane has ended, unless that stays."""
        with self._lock:
            self._n_users -= 1
            self._alone = None
            if self._n_users == 0:
                self._strangers = set()
                if not stays:
                    self._put_back()

    def tidy(self) -> None:
        """Put back what has stayed after a call."""
        with self._lock:
            if self._n_users == 0:
                self._put_back()

    def forget(self) -> None:
        """Leave a fork of this process to itself."""
        _local.voice = self.default = self._alone = None

    def _find_alone(self) -> Voice | None:
        """Return the voice of a thread that an item has started, if that is sure."""
        if self._alone is None:
            return None
        thread = threading.current_thread()
        if thread in self._strangers or any(
            one in thread.name for one in _NOT_OF_ITEMS
        ):
            return None
        return self._alone

    def _exchange_all(self, rules: bytes | None) -> None:
        for name in ("stdout", "stderr"):
            self._exchange(sys, name, _Stream(getattr(sys, name), name))
        show = warnings.showwarning
        self._exchange(warnings, "showwarning", _make_hook(show))
        # Who knows nothing of logging has no handlers; records then are printed. Its
        # import is something that a first call would wait for.
        has_levels = rules is not None and bool(load_rules(rules).levels)
        if has_levels or "logging" in sys.modules:
            from daskkit.run.handler import VoiceHandler, remove_handlers

            if rules is None:
                remove_handlers()
            self._handler = handler = VoiceHandler(lambda: self.voice)
            root = _get_logger()
            root.addHandler(handler)
            self._undo.callback(root.removeHandler, handler)

    def _exchange(self, owner: Any, name: str, ours: Any) -> None:
        before = getattr(owner, name)
        setattr(owner, name, ours)
        self._ours.append((owner, name, ours))

        def undo() -> None:
            if getattr(owner, name) is ours:  # or an item has put its own there
                setattr(owner, name, before)

        self._undo.callback(undo)

    def _put_back(self) -> None:
        self._undo.close()
        self._ours.clear()
        self._handler = None
        self._rules, self._wanted, self._filters = None, [], []

    def _is_intact(self) -> bool:
        """Return whether all is there that was put there; items may do anything."""
        return (
            all(getattr(owner, name) is ours for owner, name, ours in self._ours)
            and (self._handler is None or self._handler in _get_logger().handlers)
            and warnings.filters[: len(self._filters)] == self._filters
        )

    def _set_levels(self, rules: Rules) -> None:
        """Let loggers say what the caller's do, where this process has no levels."""
        if self._handler is None:
            return
        import logging

        for name, level in rules.levels.items():
            logger = logging.getLogger(name)
            if logger.level != level and (not name or logger.level == logging.NOTSET):
                self._undo.callback(logger.setLevel, logger.level)
                logger.setLevel(level)
        before = logging.root.manager.disable
        if before != rules.disabled:
            self._undo.callback(logging.disable, before)
            logging.disable(rules.disabled)

    def _set_filters(self) -> None:
        # To change them makes Python forget what it has shown once.
        if self._wanted == list(warnings.filters):
            return
        for action, message, category, module, line in self._wanted[::-1]:
            # Not for the whole process; see `_make_hook`.
            kind = "always" if action == "error" else action
            texts = _to_text(message), _to_text(module)
            warnings.filterwarnings(kind, texts[0], category, texts[1], line)  # type: ignore[arg-type]
            self._undo.callback(_remove_filter, warnings.filters[0])
        self._filters = list(warnings.filters[: len(self._wanted)])


def _get_logger() -> logging.Logger:
    """Return the root logger."""
    import logging

    return logging.getLogger()


def _to_text(wanted: Any) -> str:
    """Return the pattern of a filter, as `warnings.filterwarnings` takes it."""
    if wanted is None:
        return ""
    if isinstance(wanted, str):
        return re.escape(wanted) + r"\Z"
    pattern: str = wanted.pattern
    return pattern


@contextlib.contextmanager
def speaking(
    send: Callable[[Said], Any], rules: bytes | None, *, is_child: bool
) -> Iterator[Voice]:
    """Yield a voice that the calling thread has while in the context.

    Parameters
    ----------
    send : callable
        As for `Voice`.
    rules : bytes or None
        Of the caller, as by `dump_rules`; None in a fork of it, which has them all.
    is_child : bool
        Whether all threads of this process belong to the call.

    Yields
    ------
    Voice
    """
    voice = Voice(send)
    _desk.open(voice, rules)
    _local.voice = voice
    if is_child:
        _desk.default = voice
    try:
        yield voice
    finally:
        _local.voice = None
        if is_child:
            _desk.default = None
        _desk.close(stays=voice.stays)


def tidy() -> None:
    """Put back what has stayed in this process after a call; see `Voice.stays`."""
    _desk.tidy()


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


def _remove_filter(known: Any) -> None:
    with contextlib.suppress(ValueError):
        warnings.filters.remove(known)  # type: ignore[attr-defined] # a list


_desk = _Desk()
# Processes that an item forks speak for themselves.
os.register_at_fork(after_in_child=_desk.forget)
