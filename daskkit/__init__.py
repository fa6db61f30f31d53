"""NumPy and pandas loops in parallel on Dask, compared honestly with everything else.

Importing daskkit costs next to nothing: each public name is loaded when it is first
used, and distributed, pandas and bokeh with it.
"""

from __future__ import annotations

__version__ = "0.1.0"

# Public name -> module that defines it, or that it is. The same names stand in
# `__all__` and below `TYPE_CHECKING`, for readers and type checkers;
# tests/test_import.py compares them.
_HOMES = {
    "ArgumentError": "daskkit.errors",
    "BackendError": "daskkit.errors",
    "BackendUnavailableError": "daskkit.errors",
    "CheckError": "daskkit.errors",
    "ClusterError": "daskkit.errors",
    "Comparison": "daskkit.comparison.result",
    "DaskkitError": "daskkit.errors",
    "Failure": "daskkit.run.failures",
    "ItemTimeoutError": "daskkit.errors",
    "Plan": "daskkit.run.planned",
    "RemoteError": "daskkit.errors",
    "Results": "daskkit.run.failures",
    "Scaling": "daskkit.comparison.scaled",
    "Shared": "daskkit.transport.shared",
    "WorkerDiedError": "daskkit.errors",
    "Workload": "daskkit.records",
    "WorkloadError": "daskkit.errors",
    "apply": "daskkit.frames.apply",
    "build_bag": "daskkit.graphs.bag",
    "build_delayed": "daskkit.graphs.delayed",
    "check_close": "daskkit.checks",
    "check_equal": "daskkit.checks",
    "cluster": "daskkit.run.cluster",
    "compare": "daskkit.comparison.compare",
    "imap": "daskkit.verbs",
    "imap_unordered": "daskkit.verbs",
    "lazy": "daskkit.lazy",
    "load": "daskkit.comparison.result",
    "map": "daskkit.verbs",
    "map_blocks": "daskkit.arrays.mapping",
    "map_partitions": "daskkit.frames.partitions",
    "map_reduce": "daskkit.verbs",
    "monte_carlo": "daskkit.arrays.streams",
    "plan": "daskkit.verbs",
    "read_files": "daskkit.frames.partitions",
    "reduce_blocks": "daskkit.arrays.mapping",
    "report": "daskkit.dashboard.report",
    "sample": "daskkit.samples.registry",
    "scaling": "daskkit.comparison.scaling",
    "share": "daskkit.transport.shared",
    "starmap": "daskkit.verbs",
    "usable_cores": "daskkit.run.threads",
    "watch": "daskkit.dashboard.watch",
    "watching": "daskkit.dashboard.watch",
}

# Public names that are called otherwise in their module.
_NAMES = {"sample": "make_workload"}

__all__ = [
    "ArgumentError",
    "BackendError",
    "BackendUnavailableError",
    "CheckError",
    "ClusterError",
    "Comparison",
    "DaskkitError",
    "Failure",
    "ItemTimeoutError",
    "Plan",
    "RemoteError",
    "Results",
    "Scaling",
    "Shared",
    "WorkerDiedError",
    "Workload",
    "WorkloadError",
    "__version__",
    "apply",
    "build_bag",
    "build_delayed",
    "check_close",
    "check_equal",
    "cluster",
    "compare",
    "imap",
    "imap_unordered",
    "lazy",
    "load",
    "map",
    "map_blocks",
    "map_partitions",
    "map_reduce",
    "monte_carlo",
    "plan",
    "read_files",
    "reduce_blocks",
    "report",
    "sample",
    "scaling",
    "share",
    "starmap",
    "usable_cores",
    "watch",
    "watching",
]

TYPE_CHECKING = False  # what type checkers know by its name; typing takes 5 ms
if TYPE_CHECKING:
    from daskkit import lazy
    from daskkit.arrays.mapping import map_blocks, reduce_blocks
    from daskkit.arrays.streams import monte_carlo
    from daskkit.checks import check_close, check_equal
    from daskkit.comparison.compare import compare
    from daskkit.comparison.result import Comparison, load
    from daskkit.comparison.scaled import Scaling
    from daskkit.comparison.scaling import scaling
    from daskkit.dashboard.report import report
    from daskkit.dashboard.watch import watch, watching
    from daskkit.errors import (
        ArgumentError,
        BackendError,
        BackendUnavailableError,
        CheckError,
        ClusterError,
        DaskkitError,
        ItemTimeoutError,
        RemoteError,
        WorkerDiedError,
        WorkloadError,
    )
    from daskkit.frames.apply import apply
    from daskkit.frames.partitions import map_partitions, read_files
    from daskkit.graphs.bag import build_bag
    from daskkit.graphs.delayed import build_delayed
    from daskkit.records import Workload
    from daskkit.run.cluster import cluster
    from daskkit.run.failures import Failure, Results
    from daskkit.run.planned import Plan
    from daskkit.run.threads import usable_cores
    from daskkit.samples.registry import make_workload as sample
    from daskkit.transport.shared import Shared, share
    from daskkit.verbs import imap, imap_unordered, map, map_reduce, plan, starmap  # noqa: A004 - the name that its users know


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    import importlib

    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'daskkit' has no attribute {name!r}"
        raise AttributeError(msg)
    module = importlib.import_module(home)
    is_module = home == f"{__name__}.{name}"
    value = module if is_module else getattr(module, _NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
