"""Pictures of comparisons: which figure shows what of their records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daskkit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bokeh.plotting import figure

    from daskkit.pages.picture import Picture
    from daskkit.pages.section import Section
    from daskkit.records import Run

__all__ = ["KINDS", "draw"]

#: Kinds of pictures, with what each shows.
KINDS: Final = {
    "wall_times": "Wall times",
    "speedups": "Speed-ups over the plain loop",
    "ledger": "Where the core-seconds went",
    "timeline": "Batches of each worker",
    "coordinates": "All runs, one line each",
    "categories": "All runs, by categories",
}


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
    from daskkit.pages import figures
    from daskkit.pages.ledgers import plot_ledgers, plot_timeline
    from daskkit.pages.picture import Picture
    from daskkit.pages.runs import plot_measures, plot_statuses

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
        "ledger": lambda: plot_ledgers(dict(sections[0].ledgers)),
        "timeline": timeline,
        "coordinates": lambda: plot_measures(sections),
        "categories": lambda: plot_statuses(sections),
    }
    return Picture(title, makers[kind]())
