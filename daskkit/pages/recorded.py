"""Recordings as HTML: what ran on clusters, as a page to keep. Reads records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.files import write_text
from daskkit.pages.page import embed, render

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from daskkit.pages.recording import Recording

__all__ = ["format_recordings", "save_recordings"]


def format_recordings(
    recordings: Sequence[Recording], created: str, title: str = "What ran on Dask"
) -> str:
    """Return a whole HTML document that shows recordings one below the other.

    Needs no network to be read. Starts nothing.

    Parameters
    ----------
    recordings : sequence of Recording
    created : str
        When it was recorded, ISO 8601.
    title : str, optional
        The heading.

    Returns
    -------
    str
    """
    parts = [_describe(one, f"r{n}") for n, one in enumerate(recordings, start=1)]
    plots = [extra["plot"] for part in parts for extra in part["extras"]]
    return render(
        "recording.html.jinja",
        plots,
        heading=title,
        title=title,
        parts=parts,
        created=created,
    )


def save_recordings(
    path: str | os.PathLike[str], recordings: Sequence[Recording], created: str
) -> Path:
    """Write `format_recordings` to a file, entirely or not at all.

    Parameters
    ----------
    path : str or path-like
        The file; its folder must exist.
    recordings : sequence of Recording
    created : str
        See `format_recordings`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DaskkitError
        If it can't be written.
    """
    return write_text(path, format_recordings(recordings, created))


def _describe(recording: Recording, anchor: str) -> dict[str, Any]:
    """Return what the template needs to show one recording."""
    from daskkit.pages.ledgers import plot_timeline
    from daskkit.pages.streams import plot_slots, plot_stream

    extras = []
    if recording.workers:
        extras.append(
            {
                "title": "Where the core-seconds went",
                "label": "What threads did, as stacked bars; the numbers are below.",
                "caption": (
                    "Each bar is threads x wall time; its parts sum to it. Busy and "
                    "waiting are the work: an item or a task is executed, on the CPU "
                    "or not."
                ),
                "plot": embed(plot_slots(recording), f"{anchor}-slots"),
            }
        )
    if recording.trace is not None:
        extras.append(
            {
                "title": "Batches of verbs",
                "label": "Timeline of batches, a line a thread.",
                "caption": (
                    "A box is a batch on a worker, filled as high as its share of CPU "
                    "time. Dask sees none of them: they travel beside its tasks."
                ),
                "plot": embed(
                    plot_timeline(recording.trace, "the recording began"),
                    f"{anchor}-timeline",
                ),
            }
        )
    if recording.tasks:
        extras.append(
            {
                "title": "Dask's task stream",
                "label": "Tasks and transfers, a line a thread.",
                "caption": (
                    "A box is a task of Dask; the lower ones are inputs on their way, "
                    "opened, or read from a disk."
                ),
                "plot": embed(plot_stream(recording), f"{anchor}-stream"),
            }
        )
    totals = recording.totals()
    whole = sum(totals.values())
    return {
        "anchor": anchor,
        "recording": recording,
        "extras": extras,
        "whole": whole,
        "totals": [
            (label, seconds, f"{100 * seconds / whole:.1f}" if whole else "0")
            for label, seconds in totals.items()
        ],
    }
