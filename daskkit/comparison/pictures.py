"""Pictures of comparisons: which figure shows what of their records."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from daskkit.comparison.ledger import make_ledger
from daskkit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bokeh.plotting import figure

    from daskkit.records import Run
    from daskkit.report.page import Section
    from daskkit.report.picture import Picture

__all__ = ["COLUMN_LABELS", "KINDS", "draw", "list_runs"]

#: Kinds of pictures, with what each shows.
KINDS: Final = {
    "wall_times": "Wall times",
    "speedups": "Speed-ups over the plain loop",
    "ledger": "Where the core-seconds went",
    "timeline": "Batches of each worker",
    "coordinates": "All runs, one line each",
    "categories": "All runs, by categories",
}

#: What the columns of `list_runs` are called on axes.
COLUMN_LABELS: Final = {
    "workload": "workload",
    "backend": "back end",
    "workers": "workers (number)",
    "setting": "batches",
    "status": "status",
    "wall_s": "wall time (s)",
    "cold_s": "cold (s)",
    "speedup": "speed-up (ratio)",
    "cpu_s": "CPU time (s)",
}
_CATEGORIES: Final = ("workload", "backend", "workers", "setting", "status")
_MEASURES: Final = ("workload", "backend", "workers", "wall_s", "speedup", "cpu_s")


def draw(
    kind: str, sections: Sequence[Section], traced: Callable[[], Run] | None = None
) -> Picture:
    """Return a picture of comparisons.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    sections : sequence of Section
        The comparisons. All kinds but ``"coordinates"`` and ``"categories"`` show the
        first one.
    traced : callable, optional
        Returns the run whose timeline is drawn.

    Returns
    -------
    Picture

    Raises
    ------
    ArgumentError
        If there is no such kind.
    """
    from daskkit.report import figures
    from daskkit.report.ledgers import plot_ledgers, plot_timeline
    from daskkit.report.picture import Picture

    if kind not in KINDS:
        msg = f"there is no picture {kind!r}; there are: {', '.join(KINDS)}"
        raise ArgumentError(msg)
    title = f"{sections[0].workload}: {KINDS[kind]}"

    def timeline() -> figure:
        assert traced is not None
        trace = traced().trace
        assert trace is not None
        return plot_timeline(trace)

    makers: dict[str, Callable[[], figure]] = {
        "wall_times": lambda: figures.plot_wall_times(
            sections[0].summaries, sections[0].runs
        ),
        "speedups": lambda: figures.plot_speedups(
            sections[0].summaries, sections[0].n_workers
        ),
        "ledger": lambda: plot_ledgers(
            {
                run.backend: make_ledger(run.trace)
                for run in sections[0].runs
                if run.trace is not None
            }
        ),
        "timeline": timeline,
        "coordinates": functools.partial(_plot_runs, sections, _MEASURES),
        "categories": functools.partial(_plot_runs, sections, _CATEGORIES),
    }
    return Picture(title, makers[kind]())


def list_runs(sections: Sequence[Section]) -> dict[str, list[Any]]:
    """Return all runs of several comparisons as the columns of one table.

    Parameters
    ----------
    sections : sequence of Section

    Returns
    -------
    dict of str to list
        The columns of `COLUMN_LABELS`; what was not measured is NaN.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMN_LABELS}
    for section in sections:
        for run, row in zip(section.runs, section.summaries, strict=True):
            cells = {
                "workload": section.workload,
                "backend": run.backend,
                "workers": row.workers,
                "setting": run.setting or "default",
                "status": row.status,
                "wall_s": row.median_s,
                "cold_s": row.cold_s,
                "speedup": row.speedup,
                "cpu_s": row.cpu_s,
            }
            for name, cell in cells.items():
                columns[name].append(cell)
    return columns


def _plot_runs(sections: Sequence[Section], dimensions: Sequence[str]) -> figure:
    from daskkit.report.categories import plot_categories
    from daskkit.report.coordinates import plot_coordinates

    plot = plot_categories if dimensions is _CATEGORIES else plot_coordinates
    return plot(
        list_runs(sections),
        dimensions=dimensions,
        labels=COLUMN_LABELS,
        color="status" if dimensions is _CATEGORIES else "backend",
    )
