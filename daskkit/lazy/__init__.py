"""The verbs, lazily: the same names and arguments give a Dask bag or a Delayed.

Nothing is computed, and no process is started, before the user asks Dask for it. The
graphs are built in `graphs`; here arguments are checked.
"""

from daskkit.lazy.arrays import map_blocks, monte_carlo, reduce_blocks
from daskkit.lazy.frames import apply, map_partitions, read_files
from daskkit.lazy.items import map, map_reduce, starmap  # noqa: A004 - as users know it
from daskkit.lazy.trees import pipeline, tree_reduce

__all__ = [
    "apply",
    "map",
    "map_blocks",
    "map_partitions",
    "map_reduce",
    "monte_carlo",
    "pipeline",
    "read_files",
    "reduce_blocks",
    "starmap",
    "tree_reduce",
]
