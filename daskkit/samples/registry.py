"""The samples by name; imports a sample's module only when it is asked for.

To add a sample: write one module that has

- ``SUMMARY``, a line that says which question it asks,
- ``SIZES``, a mapping whose keys are the sizes, ``"small"`` and ``"full"`` at least,
- ``make_workload(size)``, which returns a `daskkit.records.Workload`,

and name it in `_MODULES`.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, cast

from daskkit.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from daskkit.records import Workload

__all__ = ["describe", "make_workload", "names"]

_MODULES: Mapping[str, str] = {
    "bootstrap": "daskkit.samples.bootstrap",
    "flights": "daskkit.samples.flights",
    "fractal": "daskkit.samples.fractal",
    "kmeans": "daskkit.samples.kmeans",
    "landmask": "daskkit.samples.landmask",
    "pairwise": "daskkit.samples.pairwise",
    "pi": "daskkit.samples.pi",
    "rolling": "daskkit.samples.rolling",
    "sweep": "daskkit.samples.sweep",
    "words": "daskkit.samples.words",
}


def names() -> tuple[str, ...]:
    """Return the names of all samples, in alphabetical order.

    Imports none of them.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> names()
    ('bootstrap', 'flights', 'fractal', 'kmeans', 'landmask', 'pairwise', 'pi',
    'rolling', 'sweep', 'words')
    """
    return tuple(sorted(_MODULES))


def describe(name: str) -> str:
    """Return one line that says which question a sample asks.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    str

    Raises
    ------
    WorkloadError
        If there is no such sample.

    Notes
    -----
    Imports the sample's module, and NumPy and pandas with it; reads no data.
    """
    return cast("str", _import_sample(name).SUMMARY)


def make_workload(name: str, size: str = "small") -> Workload:
    """Return a sample as a workload, its items ready in memory.

    Parameters
    ----------
    name : str
        One of `names`.
    size : str, default "small"
        ``"small"``: the plain loop takes a fraction of a second; ``"full"``: several
        seconds.

    Returns
    -------
    daskkit.records.Workload
        With `vectorized`, and a `check` unless the answers must be equal exactly.

    Raises
    ------
    WorkloadError
        If there is no such sample, or the sample has no such size.
    BackendUnavailableError
        If the package with the sample's data, or its library, isn't installed.

    Notes
    -----
    Runs nothing of the workload, but reads the sample's data: three to five seconds for
    ``"landmask"``, under one for the others.
    """
    sample = _import_sample(name)
    if size not in sample.SIZES:
        raise WorkloadError(_unknown(f"size of sample {name!r}", size, sample.SIZES))
    return cast("Workload", sample.make_workload(size))


def _import_sample(name: str) -> ModuleType:
    """Return the module of a sample, or raise WorkloadError."""
    if name not in _MODULES:
        raise WorkloadError(_unknown("sample", name, names()))
    return importlib.import_module(_MODULES[name])


def _unknown(what: str, received: object, known: Iterable[str]) -> str:
    """Return the message about a name that doesn't exist."""
    known = list(known)
    # A small cutoff: `mandelbrot` finds nothing, `fligths` and `Pi` do.
    close = difflib.get_close_matches(str(received).lower(), known, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"Unknown {what} {received!r}; available: {', '.join(known)}{hint}"
