"""Comparisons as HTML: a page to keep, a fragment for notebooks.

Reads records alone, so that a saved comparison can be shown on a machine that has
neither the data nor the back ends. Bokeh is imported when a page is made.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskkit import units
from daskkit.files import write_text
from daskkit.records import FEWEST_ROUNDS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from bokeh.plotting import figure
    from jinja2 import Environment

    from daskkit.pages.section import Section

__all__ = ["embed", "format_fragment", "format_page", "render", "save_page"]

_TEMPLATES = Path(__file__).with_name("templates")


def format_page(sections: Sequence[Section], title: str | None = None) -> str:
    """Return a whole HTML document that shows comparisons one below the other.

    Needs no network to be read: styles, scripts and data are inside, and a content
    security policy forbids the browser to load anything. Starts nothing.

    Parameters
    ----------
    sections : sequence of Section
        The comparisons. With none of them the page says so.
    title : str, optional
        The heading; "Parallel back ends, compared" without it.

    Returns
    -------
    str
        About 1.3 MB, nearly all of it Bokeh's script; small if there is nothing to
        draw.

    Examples
    --------
    >>> format_page([], title="Empty").splitlines()[0]
    '<!DOCTYPE html>'
    """
    from daskkit.pages import figures

    heading = "Parallel back ends, compared" if title is None else title
    parts = [_describe(section, f"c{n}") for n, section in enumerate(sections, start=1)]
    overview = _describe_all(sections)
    plots = [
        plot
        for part in parts
        for plot in (*part["plots"], *(extra["plot"] for extra in part["extras"]))
    ] + [extra["plot"] for extra in overview]
    return render(
        "page.html.jinja",
        plots,
        heading=heading,
        title=heading if len(parts) != 1 else f"{heading}: {sections[0].workload}",
        parts=parts,
        overview=overview,
        looks=figures.LOOKS,
    )


def render(template: str, plots: Sequence[dict[str, Any]], **context: Any) -> str:
    """Return a whole document from a template that extends ``base.html.jinja``.

    Parameters
    ----------
    template : str
        Its file.
    plots : sequence of dict
        All figures, as by `embed`.
    **context : object
        What the template needs, ``heading`` and ``title`` among it.

    Returns
    -------
    str
    """
    from bokeh.resources import Resources

    from daskkit.pages import theme

    # The other components are widgets, tables, WebGL and MathJax: 2.7 MB unused.
    bokeh = Resources(mode="inline", components=["bokeh"])
    return (
        _environment()
        .get_template(template)
        .render(
            palette=theme.PALETTE,
            font=theme.FONT,
            bokeh_js=bokeh.render_js() if plots else "",
            plots=plots,
            **context,
        )
    )


def format_fragment(section: Section) -> str:
    """Return a comparison as a piece of static HTML: verdict, table and bars.

    For ``_repr_html_``: a few kilobytes without scripts, style sheets or identifiers,
    so it outlives saving, reopening and the cleaning of untrusted notebooks.

    Parameters
    ----------
    section : Section

    Returns
    -------
    str
        One ``<div>``.
    """
    speedups = [
        value
        for row in section.summaries
        if row.status == "ok"
        for value in (row.speedup, row.speedup_high)
        if math.isfinite(value)
    ]
    template = _environment().get_template("fragment.html.jinja")
    return template.render(
        section=section,
        full=max(speedups, default=1.0) or 1.0,
        interval_name=_name_interval(section),
    )


def save_page(
    path: str | os.PathLike[str],
    sections: Sequence[Section],
    title: str | None = None,
) -> Path:
    """Write `format_page` to a file, entirely or not at all.

    Parameters
    ----------
    path : str or path-like
        The file; its folder must exist. An older file is replaced in one step.
    sections : sequence of Section
        The comparisons.
    title : str, optional
        See `format_page`.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DaskkitError
        If `path` is a folder, its folder is missing, or the system refuses to write.
    """
    return write_text(path, format_page(sections, title))


def _describe(section: Section, anchor: str) -> dict[str, Any]:
    """Return what the page's template needs to show one comparison."""
    from daskkit.pages import figures

    rows = section.summaries
    drawn = [row for row in rows if figures.is_drawn(row)]
    loop = figures.find_loop(rows)
    used = {figures.name_look(row, loop) for row in drawn}
    plots = []
    if drawn:
        walls = figures.plot_wall_times(rows, section.runs)
        plots.append(embed(walls, f"{anchor}-walls"))
    # Without the loop there is nothing that a speed-up could refer to.
    has_speedups = any(math.isfinite(row.speedup) for row in drawn)
    if has_speedups:
        speedups = figures.plot_speedups(rows, section.n_workers)
        plots.append(embed(speedups, f"{anchor}-speedups"))
    return {
        "anchor": anchor,
        "section": section,
        "settings": {run.backend: run.setting for run in section.runs},
        "has_loop": loop is not None,
        "has_speedups": has_speedups,
        "interval_name": _name_interval(section),
        "fewest_rounds": FEWEST_ROUNDS,
        "looks": [name for name in figures.LOOKS if name in used],
        "plots": plots,
        "extras": _describe_extras(section, anchor) if plots else [],
    }


def _describe_extras(section: Section, anchor: str) -> list[dict[str, Any]]:
    """Return the figures that only some comparisons have."""
    from daskkit.pages.ledgers import plot_ledgers
    from daskkit.pages.scalings import plot_scaling

    extras = []
    if section.ledgers:
        extras.append(
            {
                "title": "Where the core-seconds went",
                "label": "Ledger of each back end, as stacked bars.",
                "caption": (
                    "Each bar is workers x wall time of one warm execution; its parts "
                    "sum to it."
                ),
                "plot": embed(plot_ledgers(dict(section.ledgers)), f"{anchor}-ledger"),
            }
        )
    for index, (title, points, laws) in enumerate(section.scalings):
        plot = plot_scaling(points, laws, n_cores=section.host.cores_usable)
        extras.append(
            {
                "title": title,
                "label": f"{title} against workers, with the ideal line.",
                "caption": (
                    "Mark: median on one worker / median on this many. Bar: its "
                    "interval. Bands: 90 % intervals of the laws, which end where the "
                    "data bear no statement."
                ),
                "plot": embed(plot, f"{anchor}-scaling{index}"),
            }
        )
    return extras


def _describe_all(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Return the figures of all runs together, where there is more than one section."""
    if len(sections) < 2:  # noqa: PLR2004 - one section shows its own runs
        return []
    from daskkit.pages.runs import plot_measures, plot_statuses

    return [
        {
            "title": "Measurements",
            "label": "Parallel coordinates of all runs; the numbers are in the tables.",
            "caption": (
                "One line a run, through one axis a column; a click keeps a line. Runs "
                "without a time go below its axis."
            ),
            "plot": embed(plot_measures(sections), "all-measures"),
        },
        {
            "title": "Outcomes",
            "label": "Parallel categories of all runs; the words are in the tables.",
            "caption": "A ribbon is as wide as it has runs.",
            "plot": embed(plot_statuses(sections), "all-statuses"),
        },
    ]


def _name_interval(section: Section) -> str:
    """Return what the interval of a speed-up may be called."""
    if section.n_rounds < FEWEST_ROUNDS:
        return "interval"
    return "95\N{NO-BREAK SPACE}% interval"


def embed(plot: figure, target: str) -> dict[str, Any]:
    """Return a figure as data that the page's script shows in the element `target`.

    Parameters
    ----------
    plot : bokeh.plotting.figure
    target : str
        Identifier of the element.

    Returns
    -------
    dict
    """
    from bokeh.core.types import ID
    from bokeh.embed import json_item

    return dict(json_item(plot, ID(target)))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    # Bokeh resolves references in the order of the keys, which Jinja would sort.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {
        "seconds": units.format_seconds,
        "size": units.format_bytes,
        "ratio": units.format_ratio,
        "count": units.format_count,
        "moment": _format_moment,
        "seconds_interval": functools.partial(_format_interval, units.format_seconds),
        "ratio_interval": functools.partial(_format_interval, units.format_ratio),
        "percent": _format_percent,
    }
    return environment


def _format_interval(text: Callable[[float], str], bounds: tuple[float, float]) -> str:
    """Return "low-high" with the unit once where both share it; "" without bounds.

    Examples
    --------
    >>> _format_interval(units.format_seconds, (0.5, 0.75)).split("\N{EN DASH}")
    ['500', '750 ms']
    """
    if not all(map(math.isfinite, bounds)):
        return ""
    low, high = (text(bound) for bound in bounds)
    number, _, unit = low.partition(" ")
    if unit and high.endswith(f" {unit}"):
        low = number
    return f"{low}\N{EN DASH}{high}"


def _format_percent(part: float, whole: float) -> str:
    """Return a share as a CSS length; 0 % where it is no number.

    Examples
    --------
    >>> _format_percent(1.5, 2.0), _format_percent(float("nan"), 2.0)
    ('75.0%', '0.0%')
    """
    share = part / whole if whole and math.isfinite(part) else 0.0
    return f"{100 * share:.1f}%"


def _format_moment(created: str) -> str:
    """Return a time stamp for people; as it is if it isn't ISO 8601.

    Examples
    --------
    >>> _format_moment("2026-03-01T09:05:07.123+00:00"), _format_moment("then")
    ('2026-03-01 09:05 UTC', 'then')
    """
    try:
        moment = dt.datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = moment.tzname() or "local time"
    return f"{moment:%Y-%m-%d %H:%M} {zone}"
