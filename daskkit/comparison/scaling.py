"""`scaling`: one workload on several numbers of workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from daskkit.backends.registry import BackendSpec, load_backend, parse_spec
from daskkit.comparison.compare import compare
from daskkit.comparison.scaled import Scaling
from daskkit.errors import BackendError, WorkloadError
from daskkit.loop import short_repr
from daskkit.records import Workload
from daskkit.run.cluster import check_n_workers
from daskkit.run.threads import usable_cores

if TYPE_CHECKING:
    from daskkit.comparison.result import Comparison

__all__ = ["scaling"]


def scaling(
    workload: Workload,
    *,
    n_workers: Iterable[int] | None = None,
    backend: str = "daskkit",
    weak: bool = False,
    repeats: int = 5,
    ledger: bool = False,
    progress: bool | None = None,
) -> Scaling:
    """Return how a workload scales with the number of workers.

    Computes: a comparison of the back end with itself on each number of workers, all of
    which take turns; see `compare`. All processes have ended when it returns or raises.

    Parameters
    ----------
    workload : Workload
        What is to be done.
    n_workers : iterable of int, optional
        Numbers of workers; 1 is always among them. Default: powers of two up to the
        cores that this process may use, and these.
    backend : str, default "daskkit"
        A back end that has workers, as ``name[:option=value,...]``.
    weak : bool, default False
        Also measure work that grows with the workers: n of them get n shares of the
        items, taken evenly from all. Each is compared with the plain loop over the same
        items, so that neither a drift of the machine nor uneven items count.
    repeats : int, default 5
        Timed executions for each number of workers, at least 1. Fewer than 5 give no
        intervals.
    ledger : bool, default False
        Execute the workload once more on each number of workers, untimed and stamped,
        so that `Scaling.what_if` can simulate others.
    progress : bool, optional
        As for `compare`.

    Returns
    -------
    Scaling
        Shows itself as a table with a verdict; ``table()``, ``verdict()``,
        ``predict(64)``, ``plot()``, ``save("scaling.html")``.

    Raises
    ------
    WorkloadError
        If the workload can't be pickled, has fewer items than workers where it is to
        grow, or its plain loop raises.
    BackendError
        If the back end, a number of workers or `repeats` isn't allowed.

    Examples
    --------
    >>> import daskkit as dk
    >>> work = dk.Workload("squares", func=lambda x: x * x, items=range(1_000))
    >>> result = dk.scaling(work, n_workers=[2], backend="threads", repeats=1)
    >>> list(result.table()["workers"])
    [1, 2]
    """
    if not isinstance(workload, Workload):
        msg = (
            f"workload must be a daskkit.Workload, received {short_repr(workload)} of "
            f"type {type(workload).__name__}; make one from a name, a func and items"
        )
        raise WorkloadError(msg)
    counts = _check_counts(n_workers)
    spec = _check_backend(backend)
    shares = _share_out(workload, counts) if weak else {}

    def measure(work: Workload, some: Iterable[int], **more: bool) -> Comparison:
        specs = [str(dataclasses.replace(spec, n_workers=n)) for n in some]
        return compare(
            work,
            backends=specs,
            n_workers=counts[-1],
            repeats=repeats,
            progress=progress,
            **more,
        )

    return Scaling(
        backend=str(spec),
        strong=measure(workload, counts, ledger=ledger),
        weak=tuple(measure(work, [n]) for n, work in shares.items()),
    )


def _check_counts(n_workers: Iterable[int] | None) -> list[int]:
    """Return numbers of workers in order, 1 among them, or raise."""
    if n_workers is None:
        n_cores = usable_cores()
        powers = [2**k for k in range(n_cores.bit_length())]
        return sorted({*powers, n_cores})
    if isinstance(n_workers, str) or not isinstance(n_workers, Iterable):
        msg = (
            "n_workers must be several numbers of workers, such as [1, 2, 4], received "
            f"{short_repr(n_workers)}"
        )
        raise BackendError(msg)
    counts = {check_n_workers(n, BackendError) for n in n_workers} | {1}
    if len(counts) == 1:
        msg = (
            "n_workers must have a number other than 1, such as [1, 2, 4]: one worker "
            "is what all others are compared with"
        )
        raise BackendError(msg)
    return sorted(counts)


def _check_backend(text: str) -> BackendSpec:
    """Return the specification of a back end that has workers, or raise."""
    spec = parse_spec(text)
    if spec.n_workers is not None:
        msg = (
            f"{text!r} has a number of workers of its own; scaling measures several: "
            "give them as n_workers"
        )
        raise BackendError(msg)
    if load_backend(spec.name).single:
        msg = (
            f"{spec.name!r} always uses one worker, so that it can't scale; choose a "
            "back end that has workers, such as 'daskkit'"
        )
        raise BackendError(msg)
    return spec


def _share_out(workload: Workload, counts: list[int]) -> dict[int, Workload]:
    """Return a workload for each number of workers, with as many shares of items."""
    items = list(workload.items)
    most = counts[-1]
    size = len(items) // most
    if size < 1:
        msg = (
            f"workload {workload.name!r} has {len(items)} items, which can't be shared "
            f"out to {most} workers; give it more items or use fewer workers"
        )
        raise WorkloadError(msg)
    # Evenly from all, because costs often drift along the items.
    return {
        n: dataclasses.replace(
            workload,
            items=[items[k * len(items) // (n * size)] for k in range(n * size)],
        )
        for n in counts
    }
