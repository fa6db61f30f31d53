"""Log records of items, on their way to the caller.

Apart from `run.desk`, since it imports logging.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from daskkit.loop import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.run.voice import Voice

__all__ = ["VoiceHandler", "remove_handlers"]

# What travels of a log record as it is; anything else as text.
_PLAIN = (str, int, float, bool, type(None))


class VoiceHandler(logging.Handler):
    """Sends log records of threads that have a voice.

    Parameters
    ----------
    find_voice : callable
        ``find_voice()`` returns that of the calling thread, or None.
    """

    def __init__(self, find_voice: Callable[[], Voice | None]) -> None:
        super().__init__()
        self._find_voice = find_voice

    def handle(self, record: logging.LogRecord) -> Any:
        """Send a record; without a lock, as another thread may wait for its caller."""
        voice = self._find_voice()
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


def remove_handlers() -> None:
    """Leave the caller's handlers to the caller."""
    loggers: list[Any] = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        if getattr(logger, "handlers", None):
            logger.handlers = []
            logger.propagate = True
