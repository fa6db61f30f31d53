"""Every exception that daskkit raises itself; lowest layer, no imports.

An error says what was wrong, what was received, what is allowed and what to do.
"""

__all__ = [
    "ArgumentError",
    "BackendError",
    "BackendUnavailableError",
    "CheckError",
    "ClusterError",
    "DaskkitError",
    "ItemTimeoutError",
    "RemoteError",
    "WorkerDiedError",
    "WorkloadError",
]


class DaskkitError(Exception):
    """Base of all errors that daskkit raises on its own account."""


class WorkloadError(DaskkitError, ValueError):
    """A workload is malformed, or its own function fails on one of its items."""


class CheckError(DaskkitError, AssertionError):
    """A result isn't the plain loop's; the message shows the first difference."""


class ClusterError(DaskkitError, RuntimeError):
    """A cluster can't be started or reached."""


class BackendError(DaskkitError, ValueError):
    """A back end is unknown, or was given an option that it doesn't have."""


class BackendUnavailableError(DaskkitError, RuntimeError):
    """A back end can't run here; the message says why and what to install."""


class ArgumentError(DaskkitError, ValueError):
    """A verb was given an argument that it can't use; the message says what it can."""


class ItemTimeoutError(DaskkitError, TimeoutError):
    """An item took longer than its time-out; the message names the item."""


class WorkerDiedError(DaskkitError, RuntimeError):
    """A worker process died while it ran an item; the message names item and cause."""


class RemoteError(DaskkitError, RuntimeError):
    """An exception that can't travel between processes, as text.

    The message names the original class, its text and why it couldn't travel; a note
    shows the original traceback.
    """
