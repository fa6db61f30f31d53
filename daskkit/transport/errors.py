"""What can go wrong between two processes; imports `daskkit.errors` only.

Each message names the object, its size where that matters, and what to do.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from daskkit.errors import DaskkitError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NoRoomError", "TransportError", "UnpicklableError", "clear_errors"]


class TransportError(DaskkitError, RuntimeError):
    """An object can't be had any more: released, lost with its process, or damaged."""


class UnpicklableError(TransportError, TypeError):
    """An object can't be pickled; the message says which part of it, and why."""


class NoRoomError(TransportError, MemoryError):
    """Memory or disk is full; the message names the object and its size."""


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Raise our own error where distributed wraps it while it sends a graph.

    It says "Could not serialize object of type _HLGExprSequence" and logs three
    tracebacks; which object, and which part of it, stands in the cause.

    Raises
    ------
    TransportError
        The cause of what was raised in the context, if it is one.
    """
    import logging

    logger = logging.getLogger("distributed.protocol.pickle")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    except TypeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, TransportError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise cause from None
    finally:
        logger.disabled = was_disabled
