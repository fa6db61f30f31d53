"""Ready-made real workloads, one file each; `registry` finds them by name.

A layer above the records: samples make a `Workload` and run nothing. They import
NumPy and pandas, so this file and the registry import no sample until it is asked
for.
"""

__all__ = [
    "bootstrap",
    "datasets",
    "flights",
    "fractal",
    "kmeans",
    "landmask",
    "pairwise",
    "pi",
    "registry",
    "rolling",
    "sweep",
    "words",
]
