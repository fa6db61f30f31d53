"""What a process has of its parent, and a fork of another process would not have."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Surroundings"]


class Surroundings(NamedTuple):
    """The surroundings of a process, on Linux; the working folder aside."""

    environ: dict[str, str]
    #: Cores that it may use.
    affinity: set[int]
    umask: int
    #: What it may use of the system: limits and highest limits by their number.
    limits: dict[int, tuple[int, int]]

    @classmethod
    def look(cls) -> Surroundings:
        """Return those of this process.

        Examples
        --------
        >>> Surroundings.look() == Surroundings.look()
        True
        """
        import resource  # not on every system

        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        umask = status.partition("Umask:")[2].split(maxsplit=1)[0]
        return cls(
            dict(os.environ),
            os.sched_getaffinity(0),
            int(umask, 8),
            {
                number: resource.getrlimit(number)
                for name, number in vars(resource).items()
                if name.startswith("RLIMIT_")
            },
        )

    def apply(self) -> None:
        """Give this process the same, as far as it may have them."""
        import resource

        os.environ.clear()
        os.environ.update(self.environ)
        time.tzset()
        os.umask(self.umask)
        for number, limits in self.limits.items():
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(number, limits)
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, self.affinity)
