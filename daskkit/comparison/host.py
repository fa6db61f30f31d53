"""The machine on which a comparison ran, as far as it bears on the figures."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import platform
from typing import TYPE_CHECKING

import psutil
from distributed.system import MEMORY_LIMIT
from packaging.requirements import Requirement

from daskkit.comparison.contestant import memory_kind
from daskkit.records import Host
from daskkit.run.threads import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["describe_host"]

_DISTRIBUTIONS = ("daskkit", "dask", "distributed", "numpy", "pandas", "cloudpickle")


def describe_host(requirements: Iterable[str] = ()) -> Host:
    """Return the facts about this machine that a reader of figures needs.

    Reads; starts nothing.

    Parameters
    ----------
    requirements : iterable of str
        Further distributions whose versions belong to the figures, such as
        ``"joblib>=1.3"``; those that aren't installed are left out.

    Returns
    -------
    Host

    Examples
    --------
    >>> describe_host().cores_usable >= 1
    True
    """
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        versions[name] = importlib.metadata.version(name)
    for requirement in requirements:
        name = Requirement(requirement).name
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return Host(
        cores_usable=usable_cores(),
        cores_present=psutil.cpu_count() or 1,
        memory_bytes=int(MEMORY_LIMIT),
        memory_kind=memory_kind(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan,
        platform=f"{platform.system()} {platform.machine()}",
        versions=versions,
    )
