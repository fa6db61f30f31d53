"""All runs of several comparisons in one figure: a sweep at a glance.

Reads records alone. To be imported late, because it imports bokeh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from daskkit.pages.categories import plot_categories
from daskkit.pages.coordinates import plot_coordinates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.plotting import figure

    from daskkit.pages.section import Section

__all__ = ["COLUMN_LABELS", "list_runs", "plot_measures", "plot_statuses"]

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


def plot_measures(sections: Sequence[Section]) -> figure:
    """Return parallel coordinates of what was measured, one line a run.

    Parameters
    ----------
    sections : sequence of Section

    Returns
    -------
    bokeh.plotting.figure
        See `plot_coordinates`; lines are told apart by their back ends.
    """
    return plot_coordinates(
        list_runs(sections),
        dimensions=("workload", "backend", "workers", "wall_s", "speedup", "cpu_s"),
        labels=COLUMN_LABELS,
        color="backend",
    )


def plot_statuses(sections: Sequence[Section]) -> figure:
    """Return parallel categories of how the runs went.

    Parameters
    ----------
    sections : sequence of Section

    Returns
    -------
    bokeh.plotting.figure
        See `plot_categories`; ribbons are told apart by the status.
    """
    return plot_categories(
        list_runs(sections),
        dimensions=("workload", "backend", "workers", "setting", "status"),
        labels=COLUMN_LABELS,
        color="status",
    )


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
