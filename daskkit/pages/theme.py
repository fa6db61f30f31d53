"""What all figures have in common: colours by role, fonts, axes, an empty figure.

To be imported late, because it imports bokeh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from bokeh.core.properties import value as constant
from bokeh.models import HoverTool
from bokeh.models.annotations import LabelSet, Legend, LegendItem
from bokeh.plotting import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.models import Axis, ColumnDataSource
    from bokeh.models.renderers import GlyphRenderer

__all__ = [
    "BESIDE_A_MARK",
    "FONT",
    "PALETTE",
    "PART_LOOKS",
    "SERIES",
    "SLOT_LOOKS",
    "add_legend",
    "add_texts",
    "add_tips",
    "box_style",
    "color",
    "make_plot",
    "style_axis",
]

#: Colours by role, on light and on dark ground. Most are Okabe and Ito's (paler on dark
#: ground), which colour-blind readers can tell apart. No colour for light ground is one
#: for dark ground, or the page would swap it twice.
PALETTE: Final = {
    "ink": ("#1c2128", "#e6e9ed"),
    "muted": ("#59626d", "#a3acb7"),
    "grid": ("#e4e7eb", "#2d343c"),
    "rule": ("#7d8792", "#8792a0"),
    "ground": ("#ffffff", "#14171b"),
    "faster": ("#0072b2", "#56b4e9"),
    "slower": ("#d55e00", "#f28e4b"),
    "level": ("#6f7883", "#98a2ae"),
    "sky": ("#8fcbee", "#2f6f96"),
    "green": ("#009e73", "#3cc79f"),
    "yellow": ("#f0e442", "#c9bf34"),
    "orange": ("#e69f00", "#f2b94a"),
    "purple": ("#cc79a7", "#d795bb"),
    "grey": ("#b5bcc4", "#626c77"),
}

#: Parts of a ledger: role and hatch pattern, which tells them apart without colours.
PART_LOOKS: Final = {
    "startup_s": ("grey", "right_diagonal_line"),
    "compute_s": ("faster", "blank"),
    "waiting_s": ("sky", "dot"),
    "serialise_s": ("green", "diagonal_cross"),
    "transfer_s": ("yellow", "horizontal_line"),
    "dispatch_s": ("orange", "left_diagonal_line"),
    "tail_s": ("slower", "vertical_line"),
    "caller_s": ("purple", "cross"),
}

#: What a thread of a worker can be doing, in the dashboard's order and colours.
SLOT_LOOKS: Final = {
    "busy": ("faster", "blank"),
    "waiting": ("sky", "dot"),
    "transfer": ("orange", "horizontal_line"),
    "dispatch": ("purple", "left_diagonal_line"),
    "paused": ("slower", "cross"),
    "starved": ("grey", "right_diagonal_line"),
}

#: Series one beside the other: role, dash and marker.
SERIES: Final = (
    ("faster", "solid", "circle"),
    ("slower", "dashed", "square"),
    ("green", "dotdash", "triangle"),
    ("purple", "dotted", "diamond"),
    ("orange", "dashdot", "inverted_triangle"),
    ("level", "solid", "hex"),
    ("sky", "dashed", "star"),
    ("ink", "dotted", "plus"),
)

#: No font is loaded: each system shows its own.
FONT: Final = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
)


def color(role: str) -> str:
    """Return a role's colour on light ground; the page swaps them on dark ground.

    Parameters
    ----------
    role : str
        A key of `PALETTE`.

    Returns
    -------
    str

    Examples
    --------
    >>> color("ground")
    '#ffffff'
    """
    return PALETTE[role][0]


def box_style(role: str, pattern: str) -> dict[str, Any]:
    """Return how a box looks that is told from others also without its colour.

    Parameters
    ----------
    role : str
        A key of `PALETTE`.
    pattern : str
        A hatch pattern of Bokeh's.

    Returns
    -------
    dict
        Properties of a Bokeh glyph.

    Examples
    --------
    >>> box_style("faster", "dot")["hatch_pattern"]
    'dot'
    """
    return {
        "fill_color": color(role),
        "line_color": color("ground"),
        "line_width": 0.5,
        "hatch_pattern": pattern,
        "hatch_color": color("ink"),
        "hatch_alpha": 0.55,
        "hatch_scale": 7,
    }


#: For texts on the right of a mark, readable where lines pass below them.
BESIDE_A_MARK: Final[dict[str, Any]] = {
    "x_offset": 6,
    "background_fill_color": color("ground"),
    "background_fill_alpha": 0.8,
}


def make_plot(x_label: str, y_label: str, *, height: int, **options: Any) -> figure:
    """Return an empty figure in the theme's clothes.

    Parameters
    ----------
    x_label, y_label : str
        What the axes show, with the unit in parentheses.
    height : int
        In pixels; the width is that of the page.
    **options : object
        More of `bokeh.plotting.figure`, such as ranges and types of axes.

    Returns
    -------
    bokeh.plotting.figure

    Examples
    --------
    >>> make_plot("Time (s)", "", height=200).xaxis[0].axis_label
    'Time (s)'
    """
    defaults: dict[str, Any] = {
        "height": height,
        "sizing_mode": "stretch_width",
        "min_width": 200,
        "tools": "",
        "toolbar_location": None,
        "background_fill_color": None,
        "border_fill_color": None,
        "outline_line_color": None,
        "min_border": 4,
    }
    plot = figure(**{**defaults, **options})
    plot.xaxis.axis_label = x_label
    plot.yaxis.axis_label = y_label
    plot.grid.grid_line_color = color("grid")
    for axis in plot.axis:
        style_axis(axis)
    return plot


def style_axis(axis: Axis) -> None:
    """Give an axis the theme's font and colours, and take away its lines.

    Parameters
    ----------
    axis : bokeh.models.Axis
    """
    axis.axis_line_color = None
    axis.major_tick_line_color = None
    axis.minor_tick_line_color = None
    axis.major_label_text_color = color("muted")
    axis.major_label_text_font = FONT
    axis.major_label_text_font_size = "12px"
    axis.axis_label_text_color = color("muted")
    axis.axis_label_text_font = FONT
    axis.axis_label_text_font_size = "12px"
    axis.axis_label_text_font_style = "normal"


def add_legend(
    plot: figure,
    entries: Sequence[tuple[str, GlyphRenderer[Any]]],
    place: Literal["above", "below", "left", "right", "center"] = "center",
    **options: Any,
) -> None:
    """Name what is drawn.

    Parameters
    ----------
    plot : bokeh.plotting.figure
    entries : sequence of tuple of str and bokeh.models.GlyphRenderer
        Names, with what they are the names of.
    place : str, default "center"
        A side of the figure, such as ``"above"``, or ``"center"``: on the figure.
    **options : object
        More of `bokeh.models.Legend`.
    """
    defaults: dict[str, Any] = {
        "border_line_color": None,
        "background_fill_color": None,
        "label_text_color": color("ink"),
        "label_text_font": FONT,
        "label_text_font_size": "12px",
        "items": [
            LegendItem(label={"value": name}, renderers=[renderer])
            for name, renderer in entries
        ],
    }
    plot.add_layout(Legend(**{**defaults, **options}), place)


def add_texts(
    plot: figure,
    source: ColumnDataSource,
    x: str,
    y: str,
    name: str,
    **options: Any,
) -> None:
    """Write the column ``text`` of a source into a plot.

    Parameters
    ----------
    plot : bokeh.plotting.figure
    source : bokeh.models.ColumnDataSource
    x, y : str
        Columns of the places.
    name : str
        What the texts are called in the document.
    **options
        Of `bokeh.models.LabelSet`, such as those of `BESIDE_A_MARK`.
    """
    defaults: dict[str, Any] = {
        "text_baseline": "middle",
        "text_font": constant(FONT),  # a plain string would be the name of a column
        "text_font_size": "11px",
        "text_color": color("ink"),
    }
    looks = {**defaults, **options}
    plot.add_layout(LabelSet(x=x, y=y, text="text", source=source, name=name, **looks))


def add_tips(
    plot: figure,
    renderers: Sequence[GlyphRenderer[Any]],
    rows: Sequence[tuple[str, str]],
) -> None:
    """Show columns of what is below the mouse.

    Parameters
    ----------
    plot : bokeh.plotting.figure
    renderers : sequence of bokeh.models.GlyphRenderer
        What can be pointed at.
    rows : sequence of tuple of str
        Pairs of a title and a column of their sources.
    """
    tips = [(title, f"@{{{name}}}") for title, name in rows]
    tool = HoverTool(
        renderers=list(renderers),
        tooltips=tips,
        point_policy="follow_mouse",
        attachment="vertical",
    )
    plot.add_tools(tool)
