"""What the back ends that build a Dask graph share: partitions, and a bag's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import ChunkedBackend
from daskkit.graphs.bag import build_bag, reduce_bag
from daskkit.graphs.partitions import choose_npartitions

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["GraphBackend", "compute_bag"]

_PARTS_PER_WORKER = 4


class GraphBackend(ChunkedBackend):
    """A back end whose chunks are the partitions of a graph."""

    @property
    def npartitions(self) -> int:
        """Partitions that a graph is cut into: as many chunks as a Pool would make."""
        n_items = len(self._workload.items)
        if self.given_chunksize is None:
            wanted = _PARTS_PER_WORKER * self.n_workers
        else:
            wanted = max(1, -(-n_items // self.given_chunksize))
        return choose_npartitions(n_items, wanted)

    @property
    def setting(self) -> str:
        """Partitions of the graph."""
        return f"npartitions={self.npartitions}"


def compute_bag(workload: Workload, npartitions: int, **where: Any) -> Any:
    """Return a workload's answer, computed as a `dask.bag.Bag`.

    Parameters
    ----------
    workload : Workload
        With a combine, the bag is reduced by a tree of them.
    npartitions : int
        Partitions of the bag.
    **where : object
        Arguments of ``compute``, such as ``scheduler``.

    Returns
    -------
    object
        What ``workload.loop()`` would return.

    Examples
    --------
    >>> from daskkit.records import Workload
    >>> work = Workload("squares", lambda x: x * x, range(4), combine=sum)
    >>> compute_bag(work, 2, scheduler="synchronous")
    14
    """
    bag = build_bag(workload, npartitions=npartitions)
    if workload.combine is None:
        return bag.compute(**where)
    return reduce_bag(bag, workload.combine).compute(**where)
