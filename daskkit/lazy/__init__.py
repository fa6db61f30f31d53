"""The verbs, lazily: the same names and arguments give a Dask bag or a Delayed.

Nothing is computed, and no process is started, before the user asks Dask for it. The
graphs are built in `graphs`; here arguments are checked.
"""

from daskkit.lazy.frames import apply, map_partitions, read_files
from daskkit.lazy.items import map, map_reduce, starmap  # noqa: A004 - as users know it
from daskkit.lazy.trees import pipeline, tree_reduce

__all__ = [
    "apply",
    "map",
    "map_partitions",
    "map_reduce",
    "pipeline",
    "read_files",
    "starmap",
    "tree_reduce",
]
