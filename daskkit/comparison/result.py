"""`Comparison`: what was measured, as a table, a verdict, a page and a file."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from daskkit.arguments import check_whole
from daskkit.comparison.advice import explain, explain_start
from daskkit.comparison.documents import (
    check_report_path,
    load_document,
    read_host,
    read_run,
    save_document,
)
from daskkit.comparison.ledger import (
    kind_of_workers,
    make_ledger,
    share_of_waiting,
    tabulate,
)
from daskkit.comparison.pictures import draw
from daskkit.comparison.simulate import estimate_costs, simulate
from daskkit.comparison.stats import summarize
from daskkit.comparison.verdict import format_verdict
from daskkit.errors import DaskkitError
from daskkit.records import Host, Run, Summary
from daskkit.units import format_bytes, format_ratio, format_seconds

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd

    from daskkit.accounts import Prediction
    from daskkit.report.picture import Picture
    from daskkit.report.section import Section

__all__ = ["Comparison", "load", "read_comparison"]

# Columns of the printed table that hold words: back end, status, setting.
_LEFT = (0, 2, 10)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One workload on several back ends, measured side by side.

    Made by `compare`, or by `load` from a file. Shows itself as a table with a
    verdict in a terminal and in a notebook.
    """

    #: The workload's name.
    workload: str
    #: Items that it has.
    n_items: int
    #: Workers that each back end was given, unless its specification said otherwise.
    n_workers: int
    #: Timed repeats of each back end.
    n_rounds: int
    #: When it was started, in UTC, as ISO 8601.
    created: str
    #: Where it was measured.
    host: Host
    #: What was measured, the plain loop first.
    runs: tuple[Run, ...]

    @functools.cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """The table's rows as records, in the order of `runs`."""
        loop = self.runs[0]
        return tuple(summarize(run, loop) for run in self.runs)

    def table(self) -> pd.DataFrame:
        """Return one row a back end, the plain loop first.

        Returns
        -------
        pandas.DataFrame
            Columns ``backend``, ``workers``, ``setting``, ``status``, ``cold_s``,
            ``median_s``, ``low_s``, ``high_s``, ``speedup``, ``speedup_low``,
            ``speedup_high``, ``efficiency``, ``cpu_s``, ``peak_memory_bytes`` and
            ``error``, as described in `daskkit.records.Summary`. Times are wall times
            in seconds; low and high are 95 % intervals (see `comparison.stats`); what
            was not measured is NaN.
        """
        import pandas as pd

        columns = [field.name for field in dataclasses.fields(Summary)]
        rows = [dataclasses.astuple(row) for row in self.summaries]
        return pd.DataFrame(rows, columns=columns)

    def ledger(self, *, cold: bool = False) -> pd.DataFrame:
        """Return where the core-seconds of one execution went, one row a back end.

        Parameters
        ----------
        cold : bool, default False
            Of start-up and first execution together, instead of a warm execution.

        Returns
        -------
        pandas.DataFrame
            Columns ``backend``, ``workers``, ``wall_s`` and the parts of
            `daskkit.accounts.Ledger` in core-seconds, which sum to workers x wall;
            then each of them in per cent of that, as ``startup_percent`` and so on.
            Back ends whose batches were not stamped have no row.
        """
        return tabulate(self.runs, cold=cold)

    def counters(self, backend: str | None = None) -> pd.DataFrame:
        """Return what a back end's library itself says its workers have done.

        On Dask these are the fine performance metrics, summed over all tasks, and what
        the state machines of the workers say of their threads (slots), which splits
        the gaps of the ledger further.

        Parameters
        ----------
        backend : str, optional
            A row's name. Default: as for `explain`.

        Returns
        -------
        pandas.DataFrame
            Columns ``activity``, ``seconds`` (core-seconds) and ``percent`` (of workers
            x wall), the largest first; no rows where the library says nothing. They
            count a moment longer than the call, and activities overlap: while a thread
            executes a task, the worker may receive what the next one needs.

        Raises
        ------
        DaskkitError
            If there is no such row, or no ledger of it.
        """
        import pandas as pd

        trace = self._find_traced(backend).trace
        assert trace is not None
        whole_s = trace.n_workers * trace.wall_s
        rows = [
            (name, seconds, 100 * seconds / whole_s if whole_s else 0.0)
            for name, seconds in sorted(trace.counted, key=lambda pair: -pair[1])
            if seconds > 0
        ]
        return pd.DataFrame(rows, columns=["activity", "seconds", "percent"])

    def explain(self, backend: str | None = None) -> str:
        """Return where the core-seconds of a back end went, and what to do about it.

        Parameters
        ----------
        backend : str, optional
            A row's name. Default: the fastest row of which there is a ledger, the
            plain loop aside.

        Returns
        -------
        str
            One sentence a line: of a warm execution, and of the first one where most
            of that is the start of the workers.

        Raises
        ------
        DaskkitError
            If there is no such row, or no ledger of it.
        """
        run = self._find_traced(backend)
        assert run.trace is not None
        loop = self.runs[0]
        loop_s = loop_waits = None
        if run is not loop:
            loop_s = float(np.median([r.cpu_s for r in loop.repeats]))
            loop_waits = None if loop.trace is None else share_of_waiting(loop.trace)
        sentences = explain(
            make_ledger(run.trace),
            run.trace,
            kind=kind_of_workers(run.trace),
            loop_s=loop_s,
            loop_waits=loop_waits,
        )
        if run.cold_trace is not None:
            sentences += explain_start(make_ledger(run.cold_trace))
        return "\n".join(sentences)

    def what_if(
        self,
        *,
        backend: str | None = None,
        n_workers: int | None = None,
        batch_size: int | None = None,
        n_items: int | None = None,
        item_cost: float = 1.0,
        bandwidth: float | None = None,
    ) -> Prediction:
        """Return what the workload would take if something were otherwise.

        Simulates the schedule with the measured costs of a row; executes nothing.

        Parameters
        ----------
        backend : str, optional
            The row whose costs are taken. Default: as for `explain`.
        n_workers : int, optional
            Workers. Default: as many as the row had.
        batch_size : int, optional
            Items in each batch. Default: the batches of the row.
        n_items : int, optional
            Items. Default: those of the workload.
        item_cost : float, default 1.0
            Factor on what an item costs: 0.5 makes func twice as fast.
        bandwidth : float, optional
            Bytes a second between the caller and all workers together. Default: as
            measured.

        Returns
        -------
        daskkit.accounts.Prediction
            Wall time with a 90 % interval, and its ledger.

        Raises
        ------
        DaskkitError
            If there is no such row, no ledger of it, or a number isn't allowed.
        """
        run = self._find_traced(backend)
        assert run.trace is not None
        cores = self.host.cores_usable
        wanted = run.trace.n_workers if n_workers is None else n_workers
        wanted = check_whole(wanted, "n_workers", 1)
        return simulate(
            estimate_costs(run.trace, run.walls, cores=cores),
            n_workers=wanted,
            batch_size=batch_size,
            n_items=n_items,
            item_cost=item_cost,
            bandwidth=bandwidth,
            # One core each, but none more for the caller.
            cores=max(cores, wanted),
        )

    def plot(self, kind: str = "wall_times", *, backend: str | None = None) -> Picture:
        """Return a picture that shows itself in a notebook.

        Parameters
        ----------
        kind : str, default "wall_times"
            ``"wall_times"``, ``"speedups"``, ``"ledger"``, ``"timeline"``,
            ``"coordinates"`` or ``"categories"``.
        backend : str, optional
            The row whose timeline is drawn. Default: as for `explain`.

        Returns
        -------
        daskkit.report.picture.Picture
            Its ``save("x.png")`` and ``save("x.html")`` write it to a file.

        Raises
        ------
        DaskkitError
            If there is no such kind, or no trace of the row.
        """
        return draw(kind, [self.section()], lambda: self._find_traced(backend))

    def _find_traced(self, backend: str | None) -> Run:
        """Return a run whose batches were stamped: the named one, or the fastest."""
        if backend is not None and backend not in {run.backend for run in self.runs}:
            names = ", ".join(run.backend for run in self.runs)
            msg = f"there is no row {backend!r}; there are: {names}"
            raise DaskkitError(msg)
        traced = [
            run
            for run in self.runs
            if run.trace is not None and backend in {None, run.backend}
        ]
        if not traced:
            what = "any row" if backend is None else f"{backend!r}"
            msg = (
                f"there is no ledger of {what}: no batch was stamped; compare with "
                "ledger=True (--ledger); back ends that failed have none"
            )
            raise DaskkitError(msg)
        rivals = [run for run in traced if run is not self.runs[0]] or traced
        return min(rivals, key=lambda run: float(np.median(run.walls or [math.inf])))

    def verdict(self) -> str:
        """Return a few plain sentences that claim what the intervals allow.

        Returns
        -------
        str
            One sentence a line.
        """
        return "\n".join(
            format_verdict(self.runs, self.summaries, self.n_items, self.n_rounds)
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a report page or the measurements.

        Parameters
        ----------
        path : str or path-like
            Ending in ``.html`` for a self-contained page to look at, or in ``.json``
            for a file that `load` reads. Replaced if it exists.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        DaskkitError
            If the path has another ending, is a directory, or can't be written.
        """
        target = check_report_path(path)
        if target.suffix == ".html":
            from daskkit.report.page import save_page

            return save_page(target, [self.section()])
        return save_document(target, self)

    def section(self) -> Section:
        """Return this comparison as a section of a report page.

        Returns
        -------
        daskkit.report.section.Section
        """
        from daskkit.report.section import Section

        return Section(
            workload=self.workload,
            n_items=self.n_items,
            n_workers=self.n_workers,
            n_rounds=self.n_rounds,
            created=self.created,
            verdict=tuple(self.verdict().splitlines()),
            summaries=self.summaries,
            runs=self.runs,
            host=self.host,
            ledgers=tuple(
                (run.backend, make_ledger(run.trace))
                for run in self.runs
                if run.trace is not None
            ),
        )

    def __repr__(self) -> str:
        header = (
            "backend",
            "workers",
            "status",
            "cold",
            "median",
            "speed-up",
            "95 % interval",
            "efficiency",
            "CPU",
            "memory",
            "setting",
        )
        rows = [header, *map(_format_row, self.summaries)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i in _LEFT else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([self.workload, *lines, "", self.verdict()])

    def _repr_html_(self) -> str:
        from daskkit.report.page import format_fragment

        return format_fragment(self.section())


def load(path: str | os.PathLike[str]) -> Comparison:
    """Return a comparison from a file that ``Comparison.save("x.json")`` wrote.

    Parameters
    ----------
    path : str or path-like
        The file. Nothing in it is executed.

    Returns
    -------
    Comparison
        Equal to the one that was saved.

    Raises
    ------
    DaskkitError
        If the file can't be read, or holds something else.
    """
    document = load_document(path)
    try:
        return read_comparison(document["comparison"])
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is damaged: {type(error).__name__}: {error}"
        raise DaskkitError(msg) from error


def _format_row(row: Summary) -> tuple[str, ...]:
    interval = f"{format_ratio(row.speedup_low)} to {format_ratio(row.speedup_high)}"
    return (
        row.backend,
        str(row.workers),
        row.status,
        format_seconds(row.cold_s),
        format_seconds(row.median_s),
        format_ratio(row.speedup),
        "-" if math.isnan(row.speedup_low) else interval,
        format_ratio(row.efficiency),
        format_seconds(row.cpu_s),
        format_bytes(row.peak_memory_bytes),
        row.setting,
    )


def read_comparison(fields: dict[str, Any]) -> Comparison:
    """Return a comparison from the plain data that `dataclasses.asdict` made of it.

    Parameters
    ----------
    fields : dict
        As in a file, with None for NaN.

    Returns
    -------
    Comparison

    Raises
    ------
    KeyError, TypeError, AttributeError
        If something is missing, or is something else.
    """
    host = read_host(fields["host"])
    runs = tuple(read_run(run) for run in fields["runs"])
    if not runs:
        msg = "no runs"
        raise KeyError(msg)
    return Comparison(**{**fields, "host": host, "runs": runs})
