"""The contract of a back end: start, run, stop.

A back end is made for one number of workers, started for one workload, run as often
as wanted and stopped. It knows how its library is started and fed, as that library's
own documentation recommends, and nothing about clocks: `compare` measures it from
outside, in a process of its own.
"""

from __future__ import annotations

import abc
import importlib.util
from typing import TYPE_CHECKING, Any, ClassVar

from daskkit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskkit.records import Workload

__all__ = ["Backend", "chunksize_for"]


class Backend(abc.ABC):
    """One way to run a workload.

    Parameters
    ----------
    n_workers : int
        Workers to start, at least 1.
    **options : str
        Settings of this back end; see its `options`.

    Raises
    ------
    BackendError
        If an option is unknown or its value isn't allowed.
    """

    #: What it is called in tables and on the command line.
    name: ClassVar[str]
    #: One line for `daskkit list`.
    summary: ClassVar[str]
    #: Modules that have to be importable, with the distribution that brings each.
    requires: ClassVar[Mapping[str, str]] = {}
    #: Options by name, with their allowed values; the first is the default.
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: True if it always uses one worker, whatever is asked for.
    single: ClassVar[bool] = False

    def __init__(self, n_workers: int, **options: str) -> None:
        for option, value in options.items():
            check_option(type(self), option, value)
        self.n_workers = 1 if self.single else n_workers
        self._options = {
            option: options.get(option, allowed[0])
            for option, allowed in self.options.items()
        }

    @classmethod
    def unavailable(cls, workload: Workload) -> str | None:
        """Return why this back end can't run a workload here, or None if it can.

        Parameters
        ----------
        workload : Workload
            Nothing of it is executed.

        Returns
        -------
        str or None
            One sentence that says what to install or to add.
        """
        del workload
        for module, distribution in cls.requires.items():
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed; pip install {distribution}"
        return None

    @property
    def setting(self) -> str:
        """How it cuts the work, in its library's terms; may be empty."""
        return ""

    @abc.abstractmethod
    def start(self, workload: Workload) -> None:
        """Start workers and whatever else a user would start once.

        Parameters
        ----------
        workload : Workload
            What `run` will execute.
        """

    @abc.abstractmethod
    def run(self) -> Any:
        """Execute the whole workload and return its answer.

        Returns
        -------
        object
            What `Workload.loop` would return.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """End everything that `start` started; a second call does nothing."""


def check_option(backend: type[Backend], option: str, value: str) -> None:
    """Raise BackendError unless a back end has an option with this value.

    Parameters
    ----------
    backend : type
        A subclass of `Backend`.
    option, value : str
        As given by the user.

    Raises
    ------
    BackendError
        Naming what is allowed.
    """
    allowed = backend.options.get(option)
    if allowed is None:
        names = ", ".join(backend.options) or "none"
        msg = f"back end {backend.name!r} has no option {option!r}; it has: {names}"
        raise BackendError(msg)
    if value not in allowed:
        msg = (
            f"option {option!r} of back end {backend.name!r} can't be {value!r}; "
            f"allowed: {', '.join(allowed)}"
        )
        raise BackendError(msg)


def chunksize_for(n_items: int, n_workers: int) -> int:
    """Return the chunk size that `multiprocessing.Pool.map` chooses by itself.

    Four chunks a worker, rounded up.

    Parameters
    ----------
    n_items : int
        Length of the input.
    n_workers : int
        Workers of the pool, at least 1.

    Returns
    -------
    int
        At least 1.

    References
    ----------
    CPython, ``multiprocessing/pool.py``, ``Pool._map_async``.

    Examples
    --------
    >>> chunksize_for(100, 2), chunksize_for(0, 2)
    (13, 1)
    """
    return max(1, -(-n_items // (4 * n_workers)))
