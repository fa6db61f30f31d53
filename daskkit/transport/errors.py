"""What can go wrong between two processes; imports `daskkit.errors` only.

Each message names the object, its size where that matters, and what to do.
"""

from daskkit.errors import DaskkitError

__all__ = ["NoRoomError", "TransportError", "UnpicklableError"]


class TransportError(DaskkitError, RuntimeError):
    """An object can't be had any more: released, lost with its process, or damaged."""


class UnpicklableError(TransportError, TypeError):
    """An object can't be pickled; the message says which part of it, and why."""


class NoRoomError(TransportError, MemoryError):
    """Memory or disk is full; the message names the object and its size."""
