"""The list of back ends, and the specifications that choose one of them.

A back end is added by a file of its own and one line in `_CLASSES`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib

from daskkit.backends.base import Backend, check_option
from daskkit.errors import BackendError

__all__ = ["DEFAULT_SPECS", "BackendSpec", "load_backend", "names", "parse_spec"]

_CLASSES = {
    "serial": "daskkit.backends.serial:Serial",
    "numpy": "daskkit.backends.numpy:Numpy",
    "threads": "daskkit.backends.threads:Threads",
    "multiprocessing": "daskkit.backends.multiprocessing:Multiprocessing",
    "futures": "daskkit.backends.futures:Futures",
    "dask-bag": "daskkit.backends.dask_bag:DaskBag",
    "dask-delayed": "daskkit.backends.dask_delayed:DaskDelayed",
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
    if name not in _CLASSES:
        close = difflib.get_close_matches(name, _CLASSES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        msg = f"unknown back end {name!r}{hint}; available: {', '.join(_CLASSES)}"
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
    if not isinstance(text, str):
        msg = (
            f"a back end is chosen by its name, received {text!r} of type "
            f"{type(text).__name__}; available: {', '.join(_CLASSES)}"
        )
        raise BackendError(msg)
    head, _, tail = text.partition(":")
    name, at, workers = head.partition("@")
    backend = load_backend(name.strip())
    n_workers = None
    if at:
        if not workers.isdecimal() or int(workers) < 1:
            msg = (
                f"the number of workers after '@' in {text!r} must be a whole number "
                f"of at least 1, received {workers!r}"
            )
            raise BackendError(msg)
        n_workers = int(workers)
    options = []
    for pair in filter(None, tail.split(",")):
        option, _, value = pair.partition("=")
        check_option(backend, option.strip(), value.strip())
        options.append((option.strip(), value.strip()))
    return BackendSpec(name.strip(), n_workers, tuple(options))
