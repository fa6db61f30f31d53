"""`Picture`: one figure that shows itself in notebooks and saves itself as a file.

To be imported late, because it imports bokeh.
"""

from __future__ import annotations

import dataclasses
import html
import json
from typing import TYPE_CHECKING

from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.resources import Resources

from daskkit.errors import DaskkitError
from daskkit.files import check_writable, write_bytes, write_text
from daskkit.pages.browser import take_screenshot

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from bokeh.plotting import figure

__all__ = ["Picture"]

# Around the figure, in pixels: what a browser leaves free at the edges of a page.
_MARGIN_PX = 30
_HEIGHT_PX = 400
# Bokeh's own template needs its script for widgets, too.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; \
font-src data:">
<title>{title}</title>
{script}
</head>
<body>
<div id="figure" role="img" aria-label="{title}"></div>
<script type="application/json" id="item">{item}</script>
<script>
Bokeh.embed.embed_item(JSON.parse(document.getElementById("item").textContent));
</script>
</body>
</html>
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A figure that shows itself in a notebook.

    Parameters
    ----------
    title : str
        What it shows, in plain words.
    figure : bokeh.plotting.figure
        To be changed or laid out by those who know Bokeh.

    Examples
    --------
    >>> from daskkit.pages.theme import make_plot
    >>> Picture("Nothing", make_plot("Time (s)", "", height=200)).height_px
    230
    """

    title: str
    figure: figure

    @property
    def height_px(self) -> int:
        """Height of the page that shows the figure, in pixels."""
        return int(self.figure.height or _HEIGHT_PX) + _MARGIN_PX

    def format_page(self) -> str:
        """Return a whole HTML document that needs no network.

        Returns
        -------
        str
            About 1.3 MB, nearly all of it Bokeh's script.
        """
        # The other components are widgets, tables, WebGL and MathJax: 2.7 MB unused.
        script = Resources(mode="inline", components=["bokeh"]).render_js()
        item = json.dumps(json_item(self.figure, ID("figure")))
        return _PAGE.format(
            title=html.escape(self.title),
            script=script,
            # Nothing in the text of a script may end it.
            item=item.replace("<", "\\u003c"),
        )

    def save(self, path: str | os.PathLike[str], *, width: int = 1000) -> Path:
        """Write the figure to a file.

        Parameters
        ----------
        path : str or path-like
            Ending in ``.html`` for a page that needs no network, or in ``.png`` for an
            image, which needs Chromium; it is started without a window and ended.
            Replaced if it exists.
        width : int, default 1000
            Of an image, in pixels.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        DaskkitError
            If the path has another ending or can't be written, or if there is no
            Chromium.
        """
        target = check_writable(path, "figure.html")
        if target.suffix == ".html":
            return write_text(target, self.format_page())
        if target.suffix == ".png":
            size = (width, self.height_px)
            return write_bytes(target, take_screenshot(self.format_page(), size))
        msg = (
            f"a figure can't be saved as {target.name!r}: the name must end in .html "
            "or .png"
        )
        raise DaskkitError(msg)

    def _repr_html_(self) -> str:
        # In a frame of its own the figure is there again when a notebook is reopened;
        # what Bokeh's `show` writes is not (and is 8 MB).
        page = html.escape(self.format_page())
        return (
            f'<iframe srcdoc="{page}" width="100%" height="{self.height_px}" '
            f'style="border:0" title="{html.escape(self.title)}"></iframe>'
        )
