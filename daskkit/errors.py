"""Every exception that daskkit raises itself; lowest layer, no imports.

An error says what was wrong, what was received, what is allowed and what to do.
"""

__all__ = [
    "BackendError",
    "BackendUnavailableError",
    "CheckError",
    "ClusterError",
    "DaskkitError",
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
