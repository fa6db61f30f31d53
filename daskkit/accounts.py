"""Where the core-seconds of a call went and how work scales, as plain frozen records.

Like `records`: numbers and strings only, so that they can be saved, read back and
drawn on a machine that has neither the data nor the back ends. Computed from nothing
here; `comparison.ledger`, `comparison.laws` and `comparison.simulate` make them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

__all__ = [
    "PARTS",
    "Law",
    "Ledger",
    "Point",
    "Prediction",
    "Stamp",
    "Trace",
]

#: Parts of a `Ledger` in the order of a call's life, with what people call them.
PARTS: Final = {
    "startup_s": "start-up",
    "compute_s": "compute (CPU)",
    "waiting_s": "compute, waiting",
    "serialise_s": "serialisation",
    "transfer_s": "transfer",
    "dispatch_s": "dispatch gaps",
    "tail_s": "tail (imbalance)",
    "caller_s": "caller's serial part",
}

# What adding many floats may lose of a whole.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Stamp:
    """One batch on one worker: when, what, and how many bytes it took."""

    #: Who executed it: one name for each thread that can execute items, its process
    #: and a dash before it.
    worker: str
    #: When its first item was begun, in seconds since the call began.
    start_s: float
    #: When its last item was done, in seconds since the call began.
    end_s: float
    #: CPU seconds of the worker's thread between the two.
    cpu_s: float
    #: Index of its first item.
    first: int
    #: How many items it has, one after the other.
    n_items: int
    #: Size in memory of the inputs that came from another process for it, and of the
    #: results that went to one; 0 where they stay, as on threads.
    bytes_in: int = 0
    bytes_out: int = 0
    #: Seconds before `start_s` for which the worker had nothing to execute because
    #: something was packed or opened: its input, its last results, or by the caller
    #: whatever it was; 0 where that can't be seen, which makes them gaps.
    serialise_s: float = 0.0
    #: Seconds before `start_s` for which its input, or its last results, were on their
    #: way, and the worker had nothing to execute; 0 where that can't be seen.
    transfer_s: float = 0.0
    #: The same two after `end_s`, of a worker's last batch.
    last_serialise_s: float = 0.0
    last_transfer_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Trace:
    """One execution of a workload, seen from inside."""

    #: Workers that the back end had, each one thread.
    n_workers: int
    #: Wall time at the caller, in seconds.
    wall_s: float
    #: Batches, in any order.
    stamps: tuple[Stamp, ...]
    #: How long, from the call's begin, workers were being started; 0 if they were warm.
    startup_s: float = 0.0
    #: When the caller handed over the first batch, in seconds since the call began;
    #: NaN where that can't be seen: the start of the first batch then stands for it.
    prepared_s: float = math.nan
    #: CPU seconds of the caller's process, items that it executed aside; NaN where that
    #: wasn't measured.
    caller_cpu_s: float = math.nan
    #: Core-seconds by activity, as the library itself has counted them meanwhile, and
    #: for a moment longer; empty where it counts nothing.
    counted: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Where the core-seconds of one call went; the parts sum to ``workers x wall``.

    Raises
    ------
    ValueError
        If a part is negative, or they don't sum to the whole.

    Examples
    --------
    >>> ledger = Ledger(n_workers=2, wall_s=1.0, compute_s=1.5, tail_s=0.5)
    >>> ledger.whole_s, ledger.share("compute_s"), ledger.largest_loss
    (2.0, 0.75, 'tail_s')
    """

    #: Workers.
    n_workers: int
    #: Wall time at the caller, in seconds.
    wall_s: float
    #: All parts are in core-seconds. Workers were being started.
    startup_s: float = 0.0
    #: Items were executed, on the CPU.
    compute_s: float = 0.0
    #: Items were being executed, but not on the CPU: they waited for the GIL, for a
    #: disk or a network, for pages, or for a core that someone else had.
    waiting_s: float = 0.0
    #: Inputs or results were packed or opened, by the worker or by the caller.
    serialise_s: float = 0.0
    #: Bytes were on their way, and the worker waited for them.
    transfer_s: float = 0.0
    #: The worker had nothing to do between two batches, or before its first.
    dispatch_s: float = 0.0
    #: The worker had nothing more to do, others were still busy.
    tail_s: float = 0.0
    #: All workers waited for the caller: before the first batch and after the last.
    caller_s: float = 0.0

    def __post_init__(self) -> None:
        parts = self.parts()
        negative = [name for name, seconds in parts.items() if not seconds >= 0]
        if negative:
            msg = (
                f"parts of a ledger must be at least 0 s, received "
                f"{parts[negative[0]]!r} as {negative[0]}"
            )
            raise ValueError(msg)
        total_s = math.fsum(parts.values())
        if not math.isclose(total_s, self.whole_s, rel_tol=_ROUNDING, abs_tol=1e-12):
            msg = (
                f"the parts of a ledger must sum to workers x wall = {self.whole_s:g} "
                f"core-seconds, received parts that sum to {total_s:g}"
            )
            raise ValueError(msg)

    @property
    def whole_s(self) -> float:
        """Workers times wall time, in core-seconds."""
        return self.n_workers * self.wall_s

    @property
    def largest_loss(self) -> str:
        """The name of the largest part but for `compute_s`."""
        losses = {k: v for k, v in self.parts().items() if k != "compute_s"}
        return max(losses, key=losses.__getitem__)

    def parts(self) -> dict[str, float]:
        """Return the parts by their names, in the order of `PARTS`.

        Returns
        -------
        dict of str to float
            Core-seconds.

        Examples
        --------
        >>> list(Ledger(1, 0.0).parts())[:3]
        ['startup_s', 'compute_s', 'waiting_s']
        """
        return {name: getattr(self, name) for name in PARTS}

    def share(self, part: str) -> float:
        """Return one part over the whole.

        Parameters
        ----------
        part : str
            One of `PARTS`.

        Returns
        -------
        float
            From 0 to 1; 0 if the whole is 0.

        Examples
        --------
        >>> Ledger(1, 2.0, compute_s=1.0, caller_s=1.0).share("caller_s")
        0.5
        """
        return self.parts()[part] / self.whole_s if self.whole_s else 0.0


@dataclasses.dataclass(frozen=True)
class Point:
    """A speed-up at a number of workers, measured or computed from a law."""

    #: Workers; laws are drawn between whole numbers, too.
    n_workers: float
    #: Wall time on one worker over wall time on this many, dimensionless.
    speedup: float
    #: Its interval; NaN where there is none.
    low: float = math.nan
    high: float = math.nan


@dataclasses.dataclass(frozen=True)
class Law:
    """A law of scaling, fitted to measurements, with 90 % bootstrap intervals."""

    #: ``"amdahl"``, ``"usl"`` (the Universal Scalability Law) or ``"gustafson"``.
    name: str
    #: Workers at which it was measured, in order.
    measured: tuple[int, ...]
    #: Share of the work that only one worker can do at a time, from 0 to 1.
    contention: float
    contention_low: float
    contention_high: float
    #: Cost of keeping each worker in step with each other; 0 in Amdahl's law.
    crosstalk: float
    crosstalk_low: float
    crosstalk_high: float
    #: Workers beyond which more is slower; infinite if there is no such number.
    peak_workers: float
    peak_low: float
    peak_high: float
    #: The largest number of workers for which the data bear a statement.
    limit: int
    #: Why not for more.
    refusal: str
    #: The law from 1 to `limit` workers.
    curve: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a simulation says of a call that was not made."""

    #: Workers.
    n_workers: int
    #: Items a batch; 0 if the batches are those that were measured.
    batch_size: int
    #: Wall time in seconds, with the interval that 90 % of the simulations fall in.
    wall_s: float
    low_s: float
    high_s: float
    #: Where the core-seconds would go.
    ledger: Ledger
