"""What the back ends on Ray share: starting and ending it, on this machine alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from daskkit.backends.chunks import ChunkedBackend
from daskkit.backends.environment import restore_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskkit.records import Workload

__all__ = ["RayBackend", "original_errors"]

# Ray's processes get this long to end by themselves once Ray has been shut down.
_PATIENCE_S = 10.0
_POLL_S = 0.02
_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - the name of a variable


class RayBackend(ChunkedBackend):
    """A back end on a Ray of its own, started by ``ray.init``."""

    requires = {"ray": "ray>=2.60"}  # noqa: RUF012 - ClassVar in the base
    environment = {  # noqa: RUF012 - ClassVar in the base
        "RAY_USAGE_STATS_ENABLED": "0",
        # On a machine of a network Ray takes that network's address and listens on
        # all of them, even if it is given 127.0.0.1. With its clusters switched off,
        # as they are on macOS and Windows, it stays on the loopback interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Else it would make a token in the user's home, or use the one there.
        _TOKEN_PATH: "{folder}/ray-token",
    }
    # The environment before the start; None while it isn't running.
    _variables: dict[str, str] | None = None
    # The children that this process had before.
    _others: frozenset[psutil.Process] = frozenset()

    def start(self, workload: Workload) -> None:
        """Start Ray, with one CPU a worker."""
        # Importing and starting Ray sets variables that all later children inherit.
        self._variables = dict(os.environ)
        self._workload = workload
        self._others = frozenset(psutil.Process().children())
        if token := os.environ.get(_TOKEN_PATH):
            _write_token(Path(token))
        import ray

        ray.init(
            address="local",
            num_cpus=self.n_workers,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=tempfile.gettempdir(),
        )

    def stop(self) -> None:
        """End all processes of Ray."""
        if self._variables is not None:
            import ray

            processes = self._processes()
            ray.shutdown()
            _wait_for(processes)
            restore_environment(self._variables)
            self._variables = None

    def _processes(self) -> list[psutil.Process]:
        """Return the processes of Ray, and what they have started."""
        mine = set(psutil.Process().children()) - self._others
        found = list(mine)
        for process in mine:
            with contextlib.suppress(psutil.Error):
                found += process.children(recursive=True)
        return found


def _wait_for(processes: list[psutil.Process]) -> None:
    """Wait until processes have ended; kill what has not.

    Ray kills the parent of its workers. They see that once a second, and end.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while left := list(filter(_is_alive, processes)):
        if time.monotonic() > deadline:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            return
        time.sleep(_POLL_S)


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; one that nobody has waited for doesn't."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def original_errors() -> Iterator[None]:
    """Raise what an item raised, in place of Ray's wrapper around it."""
    from ray.exceptions import RayTaskError

    try:
        yield
    except RayTaskError as error:
        cause: Any = error.cause
        if not isinstance(cause, BaseException):
            raise
        raise cause from error


def _write_token(path: Path) -> None:
    """Write a token of its own, which only this Ray knows; readable by its owner."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
