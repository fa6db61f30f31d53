"""The live page *Daskkit* in the dashboard of a Dask scheduler.

``dask scheduler --preload daskkit.dashboard`` gives it to a scheduler, `install` to one
that runs already; clusters that daskkit starts have it.
"""

from daskkit.dashboard.attach import dask_setup, install

__all__ = ["dask_setup", "install"]
