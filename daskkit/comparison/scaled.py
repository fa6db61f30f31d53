"""`Scaling`: how a workload scales with workers, as a table, a verdict and pictures."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Final

import numpy as np

from daskkit.accounts import Law, Point
from daskkit.comparison.documents import (
    check_report_path,
    load_document,
    save_document,
)
from daskkit.comparison.laws import fit_law, fit_laws, predict
from daskkit.comparison.result import Comparison, read_comparison
from daskkit.comparison.scaled_verdict import format_scaling
from daskkit.comparison.stats import ratio_interval
from daskkit.errors import ArgumentError, DaskkitError
from daskkit.pages.page import save_page
from daskkit.units import format_count, format_ratio, format_seconds

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from daskkit.accounts import Prediction
    from daskkit.pages.picture import Picture
    from daskkit.pages.section import Section
    from daskkit.records import Run

__all__ = ["Scaling"]

_KINDS: Final = {
    "strong": "speed-up of the same work",
    "weak": "speed-up of work that grows with the workers",
}


@dataclasses.dataclass(frozen=True)
class Scaling:
    """One workload with one back end on several numbers of workers.

    Made by `scaling`, or by `Scaling.load` from a file.
    """

    #: The back end, without a number of workers.
    backend: str
    #: The same work on each number of workers, the plain loop first.
    strong: Comparison
    #: Work that grows with the workers, one comparison a number of workers, each with
    #: the plain loop over the same items; may be empty.
    weak: tuple[Comparison, ...] = ()

    @functools.cached_property
    def times(self) -> dict[int, list[float]]:
        """Wall times of the repeats in seconds, by the number of workers."""
        return {run.workers: run.walls for run in _rows(self.strong)}

    @functools.cached_property
    def weak_times(self) -> dict[int, list[float]]:
        """Wall times over the loop's median over the same items, by workers."""
        times = {}
        for comparison in self.weak:
            loop_s = float(np.median(comparison.runs[0].walls))
            for run in _rows(comparison):
                times[run.workers] = [wall / loop_s for wall in run.walls]
        return times

    @functools.cached_property
    def laws(self) -> tuple[Law, ...]:
        """Amdahl's law and the Universal Scalability Law, as far as the data suffice.

        Fitted to what has a core for each worker, and a time for one worker.
        """
        times = self._with_cores(self.times)
        return fit_laws(times) if 1 in times else ()

    @functools.cached_property
    def weak_laws(self) -> tuple[Law, ...]:
        """Gustafson's law for work that grows, if it was measured."""
        times = self._with_cores(self.weak_times)
        enough = 1 in times and len(times) > 1
        return (fit_law("gustafson", times),) if enough else ()

    @property
    def points(self) -> tuple[Point, ...]:
        """Measured speed-ups over one worker with 95 % intervals."""
        return _points(self.times)

    @property
    def weak_points(self) -> tuple[Point, ...]:
        """The same for work that grows with the workers."""
        return _points(self.weak_times)

    def table(self) -> pd.DataFrame:
        """Return one row a number of workers.

        Returns
        -------
        pandas.DataFrame
            Columns ``workers``, ``status``, ``median_s`` (wall time in seconds),
            ``speedup`` over one worker with the ends of its 95 % interval,
            ``speedup_low`` and ``speedup_high``, ``efficiency``, and the same four of
            work that grows, which begin with ``weak_``. What was not measured is NaN.
        """
        import pandas as pd

        strong = {point.n_workers: point for point in self.points}
        weak = {point.n_workers: point for point in self.weak_points}
        nothing = Point(math.nan, math.nan)
        rows = []
        for run in self.strong.runs[1:]:
            cells: dict[str, object] = {
                "workers": run.workers,
                "status": run.status,
                "median_s": float(np.median(run.walls)) if run.walls else math.nan,
            }
            for prefix, points in (("", strong), ("weak_", weak)):
                point = points.get(run.workers, nothing)
                cells |= {
                    f"{prefix}speedup": point.speedup,
                    f"{prefix}speedup_low": point.low,
                    f"{prefix}speedup_high": point.high,
                    f"{prefix}efficiency": point.speedup / run.workers,
                }
            rows.append(cells)
        return pd.DataFrame(rows)

    def verdict(self) -> str:
        """Return a few plain sentences that claim what the data allow.

        Returns
        -------
        str
            One sentence a line.
        """
        return "\n".join(
            format_scaling(
                self.backend,
                self.strong.runs,
                points=self.points,
                laws=self.laws,
                weak_laws=self.weak_laws,
                n_cores=self.strong.host.cores_usable,
            )
        )

    def predict(self, n_workers: int) -> Point:
        """Return the speed-up that the better law predicts, or refuse.

        Parameters
        ----------
        n_workers : int
            At least 1.

        Returns
        -------
        daskkit.accounts.Point
            Of the Universal Scalability Law where the data suffice for it, else of
            Amdahl's law, with a 90 % interval.

        Raises
        ------
        ArgumentError
            If the data don't bear a statement about so many workers.
        """
        if not self.laws:
            msg = (
                "no law was fitted: that needs times for one worker and for one or "
                "more other numbers of workers, each with a core of its own"
            )
            raise ArgumentError(msg)
        return predict(self.laws[-1], n_workers)

    def answer(self, n_workers: int) -> str:
        """Return what so many workers would bring, or why that can't be said.

        Parameters
        ----------
        n_workers : int
            At least 1.

        Returns
        -------
        str
            One sentence a line: what the law says, and what a simulation with the
            measured costs does, if batches were stamped.
        """
        workers = format_count(n_workers, "worker")
        try:
            point = self.predict(n_workers)
        except ArgumentError as error:
            lines = [f"{str(error)[:1].upper()}{str(error)[1:]}."]
        else:
            said = (
                f"By the law, {workers} would be {format_ratio(point.speedup)} times "
                f"as fast as one (90 % interval {format_ratio(point.low)} to "
                f"{format_ratio(point.high)})."
            )
            lines = [said]
        if any(run.trace is not None for run in self.strong.runs[1:]):
            told = self.what_if(n_workers=n_workers)
            lines.append(
                f"By a simulation with the measured costs, {workers} would take "
                f"{format_seconds(told.wall_s)} (90 % interval "
                f"{format_seconds(told.low_s)} to {format_seconds(told.high_s)})."
            )
        return "\n".join(lines)

    def what_if(
        self,
        *,
        n_workers: int | None = None,
        batch_size: int | None = None,
        n_items: int | None = None,
        item_cost: float = 1.0,
        bandwidth: float | None = None,
    ) -> Prediction:
        """Return what the workload would take if something were otherwise.

        Parameters
        ----------
        n_workers, batch_size, n_items, item_cost, bandwidth
            See `Comparison.what_if`.

        Returns
        -------
        daskkit.accounts.Prediction
            Simulated with the measured costs on the most workers of which there is a
            trace.

        Raises
        ------
        DaskkitError
            If no batch was stamped, or a number isn't allowed.
        """
        traced = [run for run in self.strong.runs[1:] if run.trace is not None]
        most = max(traced, key=lambda run: run.workers, default=None)
        return self.strong.what_if(
            backend=None if most is None else most.backend,
            n_workers=n_workers,
            batch_size=batch_size,
            n_items=n_items,
            item_cost=item_cost,
            bandwidth=bandwidth,
        )

    def plot(self, kind: str = "strong") -> Picture:
        """Return a picture of speed-up against workers.

        Parameters
        ----------
        kind : {"strong", "weak"}
            The same work, or work that grows with the workers.

        Returns
        -------
        daskkit.pages.picture.Picture
            With the ideal line and the laws.

        Raises
        ------
        ArgumentError
            If there is no such kind, or it was not measured.
        """
        from daskkit.pages.picture import Picture
        from daskkit.pages.scalings import plot_scaling

        if kind not in _KINDS:
            msg = f"there is no picture {kind!r}; there are: {', '.join(_KINDS)}"
            raise ArgumentError(msg)
        if kind == "weak" and not self.weak:
            msg = "weak scaling was not measured; ask for it by scaling(weak=True)"
            raise ArgumentError(msg)
        points, laws = (
            (self.points, self.laws)
            if kind == "strong"
            else (self.weak_points, self.weak_laws)
        )
        figure = plot_scaling(points, laws, n_cores=self.strong.host.cores_usable)
        return Picture(f"{self.strong.workload}: {_KINDS[kind]}", figure)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a report page or the measurements.

        Parameters
        ----------
        path : str or path-like
            Ending in ``.html`` for a page to look at, or in ``.json`` for a file that
            `Scaling.load` reads; `daskkit.load` reads its `strong` part.

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
            return save_page(target, [self.section()])
        weak = [dataclasses.asdict(comparison) for comparison in self.weak]
        more = {"backend": self.backend, "weak": weak}
        return save_document(target, self.strong, scaling=more)

    def section(self) -> Section:
        """Return this scaling as a section of a report page.

        Returns
        -------
        daskkit.pages.section.Section
        """
        scalings = [("Speed-up of the same work", self.points, self.laws)]
        if self.weak:
            title = "Speed-up of work that grows with the workers"
            scalings.append((title, self.weak_points, self.weak_laws))
        return dataclasses.replace(
            self.strong.section(),
            verdict=tuple(self.verdict().splitlines()),
            scalings=tuple(scalings),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scaling:
        """Return what ``Scaling.save("x.json")`` wrote.

        Parameters
        ----------
        path : str or path-like
            The file. Nothing in it is executed.

        Returns
        -------
        Scaling

        Raises
        ------
        DaskkitError
            If the file can't be read, or holds something else.
        """
        document = load_document(path)
        if "scaling" not in document:
            msg = f"{path} holds a comparison without its scaling; use daskkit.load"
            raise DaskkitError(msg)
        try:
            more = document["scaling"]
            return cls(
                backend=more["backend"],
                strong=read_comparison(document["comparison"]),
                weak=tuple(read_comparison(fields) for fields in more["weak"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"{path} is damaged: {type(error).__name__}: {error}"
            raise DaskkitError(msg) from error

    def __repr__(self) -> str:
        header = ["workers", "status", "median", "speed-up", "95 % interval"]
        header.append("efficiency")
        if self.weak:
            header.append("weak speed-up")
        lines = [header]
        for row in self.table().to_dict("records"):
            low, high = row["speedup_low"], row["speedup_high"]
            cells = [
                str(row["workers"]),
                str(row["status"]),
                format_seconds(row["median_s"]),
                format_ratio(row["speedup"]),
                "-"
                if math.isnan(low)
                else f"{format_ratio(low)} to {format_ratio(high)}",
                format_ratio(row["efficiency"]),
            ]
            if self.weak:
                cells.append(format_ratio(row["weak_speedup"]))
            lines.append(cells)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(
                cell.rjust(width) for cell, width in zip(line, widths, strict=True)
            )
            for line in lines
        ]
        title = f"{self.strong.workload} with {self.backend}"
        return "\n".join([title, *table, "", self.verdict()])

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(repr(self))}</pre>{self.plot()._repr_html_()}"

    def _with_cores(
        self, times: Mapping[int, Sequence[float]]
    ) -> dict[int, Sequence[float]]:
        """Return times of those workers that had a core each: only these scale."""
        most = self.strong.host.cores_usable
        return {n: walls for n, walls in times.items() if n <= most}


def _rows(comparison: Comparison) -> list[Run]:
    """Return the rows that count, but for the plain loop's."""
    return [run for run in comparison.runs[1:] if run.status == "ok" and run.walls]


def _points(times: Mapping[int, Sequence[float]]) -> tuple[Point, ...]:
    """Return speed-ups over one worker; without one there is none."""
    if 1 not in times:
        return ()
    one = times[1]
    points = []
    for n, walls in sorted(times.items()):
        speedup = float(np.median(one) / np.median(walls))
        low, high = (1.0, 1.0) if n == 1 else ratio_interval(one, walls)
        points.append(Point(n, speedup, low, high))
    return tuple(points)
