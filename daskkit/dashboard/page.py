"""The documents that the dashboard serves: the page, and each of its parts alone.

The latter have addresses of the form ``/individual-daskkit-*``, where JupyterLab's Dask
extension finds them.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from daskkit.dashboard.parts import (
    CallsPart,
    CoresPart,
    EfficiencyPart,
    HeadlinePart,
    MemoryPart,
    SlowestPart,
    TransportPart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.dashboard.parts import Part

__all__ = ["PAGES", "show_page", "show_part"]

_EVERY_MS = 500


def show_page(server: Any, extra: dict[str, Any], doc: Any) -> None:
    """Fill a document with the whole page.

    Parameters
    ----------
    server : object
        Its ``watching`` is the `Observer`.
    extra : dict
        What Dask's templates need.
    doc : bokeh.document.Document
        A new one.
    """
    from bokeh.layouts import column, row
    from distributed.dashboard.components.scheduler import env

    kinds = (
        HeadlinePart,
        CoresPart,
        CallsPart,
        SlowestPart,
        MemoryPart,
        TransportPart,
    )
    parts: list[Part] = [kind(server.watching) for kind in kinds]
    headline, cores, calls, slowest, memory, transport = (part.root for part in parts)
    bars = column(memory, transport, sizing_mode="stretch_width")
    doc.add_root(
        column(
            headline,
            cores,
            calls,
            row(slowest, bars, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
            margin=(8, 16, 16, 16),
        )
    )
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    _follow(doc, "Dask: Daskkit", parts)


def show_part(kind: type[Part], server: Any, extra: dict[str, Any], doc: Any) -> None:
    """Fill a document with one part.

    Parameters
    ----------
    kind : type
        A subclass of `Part`.
    server, extra, doc : object
        As `show_page`.
    """
    del extra
    part = kind(server.watching)
    part.root.sizing_mode = "stretch_both"
    doc.add_root(part.root)
    _follow(doc, f"Dask: Daskkit {kind.__name__.removesuffix('Part')}", [part])


def _follow(doc: Any, title: str, parts: Sequence[Part]) -> None:
    """Have a document show what happens, as long as somebody looks at it."""
    from distributed.dashboard.components.scheduler import BOKEH_THEME

    def update() -> None:
        for part in parts:
            part.update()

    doc.title = title
    doc.theme = BOKEH_THEME
    doc.add_periodic_callback(update, _EVERY_MS)


#: Address of each part that can be shown alone: its name, and who fills a document.
PAGES: dict[str, tuple[str, Callable[..., None]]] = {
    f"/individual-daskkit-{name}": (
        f"Daskkit {name.title()}",
        functools.partial(show_part, kind),
    )
    for name, kind in {
        "cores": CoresPart,
        "efficiency": EfficiencyPart,
        "verbs": CallsPart,
        "slowest": SlowestPart,
        "memory": MemoryPart,
        "transport": TransportPart,
        "figures": HeadlinePart,
    }.items()
}
