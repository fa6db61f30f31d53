"""The list of back ends, and the specifications that choose one of them.

A back end is added by a file of its own and one line in `_CLASSES`, and is found in
the groups that name it.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from typing import TYPE_CHECKING

from daskkit.backends.base import Backend, check_option
from daskkit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT_SPECS",
    "GROUPS",
    "BackendSpec",
    "load_backend",
    "names",
    "parse_spec",
    "parse_specs",
]

_CLASSES = {
    "serial": "daskkit.backends.serial:Serial",
    "numpy": "daskkit.backends.numpy:Numpy",
    "numpy-threads": "daskkit.backends.numpy_threads:NumpyThreads",
    "numba": "daskkit.backends.numba:Numba",
    "threads": "daskkit.backends.threads:Threads",
    "joblib-threads": "daskkit.backends.joblib_threads:JoblibThreads",
    "dask-threads": "daskkit.backends.dask_threads:DaskThreads",
    "multiprocessing": "daskkit.backends.multiprocessing:Multiprocessing",
    "futures": "daskkit.backends.futures:Futures",
    "joblib-loky": "daskkit.backends.joblib_loky:JoblibLoky",
    "mpire": "daskkit.backends.mpire:Mpire",
    "ipyparallel": "daskkit.backends.ipyparallel:Ipyparallel",
    "ray": "daskkit.backends.ray:Ray",
    "ray-pool": "daskkit.backends.ray_pool:RayPool",
    "dask-processes": "daskkit.backends.dask_processes:DaskProcesses",
    "dask-bag": "daskkit.backends.dask_bag:DaskBag",
    "dask-delayed": "daskkit.backends.dask_delayed:DaskDelayed",
    "dask-futures": "daskkit.backends.dask_futures:DaskFutures",
    "joblib-dask": "daskkit.backends.joblib_dask:JoblibDask",
    "daskkit": "daskkit.backends.daskkit:Daskkit",
}

#: What a comparison runs when nothing else is asked for: Dask's collections on a
#: single worker and on many, all others on many.
DEFAULT_SPECS = (
    "serial",
    "numpy",
    "threads",
    "multiprocessing",
    "futures",
    "dask-bag@1",
    "dask-bag",
    "dask-delayed@1",
    "dask-delayed",
    "daskkit",
)

#: Several at once. The loop is in each of them, as it is in every comparison.
GROUPS: Mapping[str, tuple[str, ...]] = {
    # What needs nothing but daskkit.
    "builtin": DEFAULT_SPECS,
    # Worker processes; `daskkit` chooses among them and threads.
    "processes": (
        "serial",
        "multiprocessing",
        "futures",
        "joblib-loky",
        "mpire",
        "ipyparallel",
        "ray",
        "ray-pool",
        "dask-processes",
        "dask-bag",
        "dask-delayed",
        "dask-futures",
        "joblib-dask",
        "daskkit",
    ),
    # Threads of one process. Not called "threads": that is a back end.
    "threading": (
        "serial",
        "numpy-threads",
        "numba",
        "threads",
        "joblib-threads",
        "dask-threads",
        "daskkit",
    ),
    # All that Dask's schedulers run.
    "dask": (
        "serial",
        "dask-threads",
        "dask-processes",
        "dask-bag@1",
        "dask-bag",
        "dask-delayed@1",
        "dask-delayed",
        "dask-futures",
        "joblib-dask",
        "daskkit",
    ),
    "all": (
        "serial",
        "numpy",
        "numpy-threads",
        "numba",
        "threads",
        "joblib-threads",
        "dask-threads",
        "multiprocessing",
        "futures",
        "joblib-loky",
        "mpire",
        "ipyparallel",
        "ray",
        "ray-pool",
        "dask-processes",
        "dask-bag@1",
        "dask-bag",
        "dask-delayed@1",
        "dask-delayed",
        "dask-futures",
        "joblib-dask",
        "daskkit",
    ),
}


@dataclasses.dataclass(frozen=True)
class BackendSpec:
    """A back end with its settings; text form ``name@n_workers:option=value,...``."""

    #: Name in the registry.
    name: str
    #: Workers, or None for the comparison's number.
    n_workers: int | None = None
    #: Pairs of option and value, in the order given.
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        text = self.name
        if self.n_workers is not None:
            text += f"@{self.n_workers}"
        if self.options:
            text += ":" + ",".join(f"{key}={value}" for key, value in self.options)
        return text

    def make(self, n_workers: int) -> Backend:
        """Return the back end, not yet started.

        Parameters
        ----------
        n_workers : int
            The comparison's number of workers, used unless the specification has
            its own.

        Returns
        -------
        Backend
        """
        return load_backend(self.name)(
            n_workers if self.n_workers is None else self.n_workers,
            **dict(self.options),
        )


def names() -> tuple[str, ...]:
    """Return the names of all back ends, in the order in which tables show them.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> names()[:2]
    ('serial', 'numpy')
    """
    return tuple(_CLASSES)


def load_backend(name: str) -> type[Backend]:
    """Return the class of a back end; imports its file and no other.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    type

    Raises
    ------
    BackendError
        If there is no such back end.
    """
    if name in GROUPS:
        msg = (
            f"{name!r} is a group of back ends, where one is needed; it holds: "
            f"{', '.join(GROUPS[name])}"
        )
        raise BackendError(msg)
    if name not in _CLASSES:
        close = difflib.get_close_matches(name, [*_CLASSES, *GROUPS], n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        msg = (
            f"unknown back end {name!r}{hint}; available: {', '.join(_CLASSES)}; "
            f"groups: {', '.join(GROUPS)}"
        )
        raise BackendError(msg)
    module, attribute = _CLASSES[name].split(":")
    backend: type[Backend] = getattr(importlib.import_module(module), attribute)
    return backend


def parse_spec(text: str) -> BackendSpec:
    """Return the specification that a text such as ``"dask-bag@1"`` stands for.

    Parameters
    ----------
    text : str
        ``name[@n_workers][:option=value[,option=value...]]``.

    Returns
    -------
    BackendSpec

    Raises
    ------
    BackendError
        If the text has another form, or names an unknown back end, option or value.

    Examples
    --------
    >>> parse_spec("multiprocessing@3:start_method=spawn")
    BackendSpec(name='multiprocessing', n_workers=3,
                options=(('start_method', 'spawn'),))
    """
    name, n_workers, tail = _split(text)
    backend = load_backend(name)
    options = []
    for pair in filter(None, tail.split(",")):
        option, _, value = pair.partition("=")
        check_option(backend, option.strip(), value.strip())
        options.append((option.strip(), value.strip()))
    return BackendSpec(name, n_workers, tuple(options))


def parse_specs(text: str) -> list[BackendSpec]:
    """Return the specifications of one back end or of a group such as ``"all"``.

    Parameters
    ----------
    text : str
        As for `parse_spec`, or a key of `GROUPS`, with ``@n_workers`` or without: a
        number of workers for those of its back ends that don't bring their own.

    Returns
    -------
    list of BackendSpec
        In the order of the table.

    Raises
    ------
    BackendError
        If the text has another form, or names an unknown back end, group, option or
        value.

    Examples
    --------
    >>> [str(spec) for spec in parse_specs("threading@3")][:3]
    ['serial', 'numpy-threads@3', 'numba@3']
    >>> [str(spec) for spec in parse_specs("dask-bag@1")]
    ['dask-bag@1']
    """
    name, n_workers, options = _split(text)
    if name not in GROUPS:
        return [parse_spec(text)]
    if options:
        msg = (
            f"a group of back ends has no options, received {text!r}; name the back "
            f"ends that have it: {', '.join(GROUPS[name])}"
        )
        raise BackendError(msg)
    specs = [parse_spec(member) for member in GROUPS[name]]
    if n_workers is None:
        return specs
    wanted = [
        spec
        if load_backend(spec.name).single or spec.n_workers is not None
        else dataclasses.replace(spec, n_workers=n_workers)
        for spec in specs
    ]
    return list(dict.fromkeys(wanted))


def _split(text: object) -> tuple[str, int | None, str]:
    """Return name, number of workers and options of a specification, or raise."""
    if not isinstance(text, str):
        msg = (
            f"a back end is chosen by its name, received {text!r} of type "
            f"{type(text).__name__}; available: {', '.join(_CLASSES)}; "
            f"groups: {', '.join(GROUPS)}"
        )
        raise BackendError(msg)
    head, _, tail = text.partition(":")
    name, at, workers = head.partition("@")
    if not at:
        return name.strip(), None, tail
    if not workers.isdecimal() or int(workers) < 1:
        msg = (
            f"the number of workers after '@' in {text!r} must be a whole number "
            f"of at least 1, received {workers!r}"
        )
        raise BackendError(msg)
    return name.strip(), int(workers), tail
