"""The contract of a back end: start, run, stop.

A back end is made for one number of workers, started for one workload, run as often
as wanted and stopped. It knows how its library is started and fed, as that library's
own documentation recommends, and nothing about clocks: `compare` measures it from
outside, in a process of its own.
"""

from __future__ import annotations

import abc
import importlib.metadata
import importlib.util
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from daskkit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskkit.records import Workload

__all__ = ["COUNT", "Backend", "check_option", "explain_missing"]

#: Stands among the values of an option for every whole number of at least 1.
COUNT = "N"


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
    #: Modules that have to be importable, with the requirement (a distribution and its
    #: lowest version) that brings each.
    requires: ClassVar[Mapping[str, str]] = {}
    #: Options by name, with their allowed values; the first is the default, and `COUNT`
    #: stands for any whole number of at least 1.
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: Environment variables that a comparison sets for its process and for no other;
    #: ``{folder}`` in a value stands for a private folder that goes with the process.
    environment: ClassVar[Mapping[str, str]] = {}
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
        reasons = (explain_missing(*pair) for pair in cls.requires.items())
        return next(filter(None, reasons), None)

    @property
    def setting(self) -> str:
        """How it cuts the work, in its library's terms; may be empty."""
        return ""

    def set_chunksize(self, value: str) -> None:
        """Use another chunk size from the next run on; only with that option.

        Parameters
        ----------
        value : str
            ``"default"``, or a whole number of at least 1.

        Raises
        ------
        BackendError
            If it is neither, or there is no such option.
        """
        check_option(type(self), "chunksize", value)
        self._options["chunksize"] = value

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

    def observe(self) -> dict[str, float]:
        """Return what the library itself says its workers have done since the start.

        Returns
        -------
        dict of str to float
            Core-seconds by activity, only ever growing; empty where it says nothing.
        """
        return {}

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
    listed = value in allowed and value != COUNT
    if not listed and not (COUNT in allowed and _is_count(value)):
        msg = (
            f"option {option!r} of back end {backend.name!r} can't be {value!r}; "
            f"allowed: {', '.join(map(_describe_value, allowed))}"
        )
        raise BackendError(msg)


def _describe_value(value: str) -> str:
    return "a whole number of at least 1" if value == COUNT else value


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdecimal() and int(value) >= 1


def explain_missing(module: str, requirement: str) -> str | None:
    """Return why a library can't be used, or None if it can.

    Imports nothing of it.

    Parameters
    ----------
    module : str
        Its module, at the top level.
    requirement : str
        Its distribution, with a lowest version where one is known to be too old.

    Returns
    -------
    str or None
        One sentence that ends in the command which installs it.

    Examples
    --------
    >>> explain_missing("numpy", "numpy>=1.0")
    >>> explain_missing("no_such_module", "nosuch")
    'no_such_module is not installed; pip install nosuch'
    """
    # Part of Dask's own dependencies, and needed here only.
    from packaging.requirements import Requirement

    install = f"pip install {shlex.quote(requirement)}"
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed; {install}"
    wanted = Requirement(requirement)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return None  # importable without being installed, from a source tree
    if wanted.specifier.contains(version, prereleases=True):
        return None
    return f"{module} {version} is installed, {wanted.specifier} is needed; {install}"
