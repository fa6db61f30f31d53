"""`Section`: all that a page shows of one comparison; plain records."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskkit.accounts import Law, Ledger, Point
    from daskkit.records import Host, Run, Summary

__all__ = ["Section"]


@dataclasses.dataclass(frozen=True)
class Section:
    """One comparison, ready to be shown."""

    #: Name of the workload.
    workload: str
    #: Items of the workload.
    n_items: int
    #: Workers that the parallel back ends were given.
    n_workers: int
    #: Rounds; each back end has one repeat a round.
    n_rounds: int
    #: When it was measured, ISO 8601.
    created: str
    #: What can be said, in plain sentences; the first one comes in larger type.
    verdict: tuple[str, ...]
    #: Rows of the table, in the order in which they are shown.
    summaries: tuple[Summary, ...]
    #: The single repeats of each back end.
    runs: tuple[Run, ...]
    #: The machine.
    host: Host
    #: Where the core-seconds went, by row; rows that were not stamped are missing.
    ledgers: tuple[tuple[str, Ledger], ...] = ()
    #: Speed-ups against workers: what was measured of which kind of scaling, and laws.
    scalings: tuple[tuple[str, tuple[Point, ...], tuple[Law, ...]], ...] = ()
