"""Plain frozen records that everything else reads; knows nothing about Dask.

`Workload` says what is to be done. The other records say what was measured; they
hold numbers and strings only, so that a saved comparison can be shown again on a
machine that has neither the data nor the back ends.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Literal

from daskkit.errors import WorkloadError
from daskkit.loop import index_of_failure, name_item, short_repr

if TYPE_CHECKING:
    from daskkit.accounts import Trace

__all__ = ["FEWEST_ROUNDS", "Host", "Repeat", "Run", "Status", "Summary", "Workload"]

#: With fewer timed repeats no interval reaches 95 %, and nothing is claimed.
FEWEST_ROUNDS = 5

Status = Literal["ok", "failed", "wrong", "unavailable"]

# Kept as they are: they know their length, and a slice of them is a partition.
# (ndarray is recognised by its attributes, so that numpy need not be imported.)
_SLICEABLE = (list, tuple, range)


@dataclasses.dataclass(frozen=True)
class Workload:
    """A piece of work, described once: some items, a function and a combination.

    Every back end runs the same record, and the plain loop over it is the oracle.

    Parameters
    ----------
    name : str
        What the work is called in tables, on the dashboard and in keys.
    func : callable
        ``func(item)`` for one item; may run in another process.
    items : collection
        The inputs, finite and readable more than once: a list, tuple, range, array,
        set or dict view. Anything but the first four is copied into a list.
    combine : callable, optional
        ``combine(results)`` turns a list of results into the answer. Some back ends
        combine parts first, as a tree, so it has to accept its own answers again:
        ``combine([combine(a), combine(b)]) == combine(a + b)``. Without it the answer
        is the list of the results, in the order of the items.
    vectorized : callable, optional
        ``vectorized(items)`` is the whole job, combination included, in NumPy or
        pandas on one core.
    check : callable, optional
        ``check(result, expected)`` raises where a result differs from the plain
        loop's. The default, `check_equal`, compares exactly; `check_close` makes one
        with a tolerance for floating-point sums.
    compiled : callable, optional
        ``compiled()`` compiles, with Numba for example, and returns what takes the
        place of `func`: a function for one item, which should release the GIL.

    Raises
    ------
    WorkloadError
        If an argument can't be used; the message says what is allowed.

    Examples
    --------
    >>> squares = Workload("squares", func=lambda x: x * x, items=range(4), combine=sum)
    >>> squares.loop()
    14
    """

    name: str
    func: Callable[[Any], Any]
    items: Collection[Any]
    combine: Callable[[list[Any]], Any] | None = None
    vectorized: Callable[[Any], Any] | None = None
    check: Callable[[Any, Any], None] | None = None
    compiled: Callable[[], Callable[[Any], Any]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            msg = f"name must be a non-empty string, received {self.name!r}"
            raise WorkloadError(msg)
        if not callable(self.func):
            msg = (
                f"func of workload {self.name!r} must be callable as func(item), "
                f"received {_describe(self.func)}"
            )
            raise WorkloadError(msg)
        for field in ("combine", "vectorized", "check", "compiled"):
            value = getattr(self, field)
            if value is not None and not callable(value):
                msg = (
                    f"{field} of workload {self.name!r} must be callable or None, "
                    f"received {_describe(value)}"
                )
                raise WorkloadError(msg)
        object.__setattr__(self, "items", _check_items(self.name, self.items))

    def loop(self) -> Any:
        """Return the answer of the plain loop, the oracle of every comparison.

        Computes in the calling thread; starts nothing.

        Returns
        -------
        object
            ``combine(results)``, or the list of results in the order of the items.

        Raises
        ------
        Exception
            What `func` or `combine` raised; a note names the item.
        """
        iterator = iter(self.items)
        try:
            results = [self.func(item) for item in iterator]
        except Exception as error:
            name_item(error, index_of_failure(len(self.items), iterator))
            raise
        return self.finish(results)

    def finish(self, results: list[Any]) -> Any:
        """Return the answer made of all results.

        Parameters
        ----------
        results : list
            One result an item, in order.

        Returns
        -------
        object
            ``combine(results)``, or `results` itself without a `combine`.
        """
        return results if self.combine is None else self.combine(results)


@dataclasses.dataclass(frozen=True)
class Repeat:
    """One timed and checked execution of a workload by a back end that is warm."""

    #: Which round of the comparison it belongs to, from 0; all back ends take one
    #: turn a round.
    round: int
    #: Wall time in seconds, at the caller.
    wall_s: float
    #: CPU seconds, user and system, of the back end's whole process tree.
    cpu_s: float


@dataclasses.dataclass(frozen=True)
class Run:
    """All that was measured of one back end on one workload."""

    #: The row's name: unique within a comparison.
    backend: str
    #: The back end's specification, such as ``"dask-bag@1"``.
    spec: str
    #: Workers that it was given.
    workers: int
    #: How it cuts the work, in its own terms, such as ``"chunksize=13"``.
    setting: str
    #: ``"ok"``; ``"failed"``: raised; ``"wrong"``: its result is not the loop's;
    #: ``"unavailable"``: can't run here.
    status: Status
    #: Why it isn't "ok", in one line, or None.
    error: str | None = None
    #: Start-up in seconds: pools, clusters, imports; NaN if it never started.
    start_s: float = math.nan
    #: First execution in seconds, right after the start; NaN if it failed.
    first_s: float = math.nan
    #: Warm executions, in the order of their rounds.
    repeats: tuple[Repeat, ...] = ()
    #: Peak memory of the whole process tree in bytes, from an execution of its own;
    #: NaN where it could not be read.
    peak_memory_bytes: float = math.nan
    #: What went wrong when it was told to stop, or what it left behind, or None.
    leftovers: str | None = None
    #: One warm execution seen from inside, or None if no batch was stamped.
    trace: Trace | None = None
    #: Start-up and first execution together, seen from inside, or None.
    cold_trace: Trace | None = None

    @property
    def cold_s(self) -> float:
        """Start-up and first execution together, in seconds."""
        return self.start_s + self.first_s

    @property
    def walls(self) -> list[float]:
        """Wall times of the warm executions in seconds, in the order of the rounds."""
        return [repeat.wall_s for repeat in self.repeats]


@dataclasses.dataclass(frozen=True)
class Host:
    """The machine, as far as it bears on the figures."""

    #: Cores that this process may use: affinity and cgroup quota count.
    cores_usable: int
    #: Logical cores that the machine has.
    cores_present: int
    #: Memory that this process may use, in bytes.
    memory_bytes: int
    #: What `peak_memory_bytes` counts: ``"PSS"`` or ``"RSS"``.
    memory_kind: str
    #: Load average over one minute when the comparison started; NaN if unknown.
    load: float
    #: Operating system and processor architecture.
    platform: str
    #: Version by distribution name, Python's own included.
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Summary:
    """One row of a comparison's table; computed from a `Run` by `comparison.stats`."""

    #: The row's name.
    backend: str
    #: Workers that it was given.
    workers: int
    #: How it cuts the work, in its own terms.
    setting: str
    #: See `Run.status`.
    status: Status
    #: Start-up and first execution in seconds.
    cold_s: float
    #: Median wall time of the warm repeats in seconds, with its interval.
    median_s: float
    low_s: float
    high_s: float
    #: Median of the loop / median of this back end, with its interval.
    speedup: float
    speedup_low: float
    speedup_high: float
    #: Speed-up divided by workers; 1.0 is linear.
    efficiency: float
    #: Median CPU seconds of the process tree in one repeat.
    cpu_s: float
    #: Peak memory of the process tree in bytes.
    peak_memory_bytes: float
    #: Why the status isn't "ok", or None.
    error: str | None


def _check_items(name: str, items: Any) -> Collection[Any]:
    """Return `items` as a sequence that can be cut, or raise WorkloadError."""
    what = f"items of workload {name!r}"
    if isinstance(items, Iterator):
        msg = (
            f"{what} are an iterator ({_describe(items)}), which can be read only "
            "once, but every back end has to read them; pass a list of them"
        )
        raise WorkloadError(msg)
    if type(items).__module__.split(".")[0] == "pandas" and hasattr(items, "columns"):
        msg = (
            f"{what} are a DataFrame, whose iteration yields column names; pass a "
            "list of its rows, columns or groups"
        )
        raise WorkloadError(msg)
    if isinstance(items, _SLICEABLE):
        return items
    n_dimensions = getattr(items, "ndim", None)
    if n_dimensions is not None and type(items).__module__ == "numpy":
        if n_dimensions == 0:
            msg = f"{what} are a 0-dimensional array; at least one axis is needed"
            raise WorkloadError(msg)
        return items  # type: ignore[no-any-return]
    if isinstance(items, Collection):
        return list(items)
    msg = (
        f"{what} must be a finite collection such as a list, range or array, "
        f"received {_describe(items)}"
    )
    raise WorkloadError(msg)


def _describe(value: object) -> str:
    """Return a short text for an unusable argument: its value and its type."""
    return f"{short_repr(value)} of type {type(value).__name__}"
