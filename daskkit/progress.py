"""A progress bar for long work, in terminals and notebooks."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

__all__ = ["make_bar"]

# Short work shows nothing.
_DELAY_S = 2.0


def make_bar(total: int, description: str, *, show: bool | None = None) -> Any:
    """Return a tqdm bar that appears after two seconds.

    Parameters
    ----------
    total : int
        Steps.
    description : str
        What goes on.
    show : bool, optional
        None shows it in a terminal and in a notebook, but not in a file or pipe.

    Returns
    -------
    tqdm.tqdm
        A context manager with ``update`` and ``set_postfix_str``.
    """
    kernel = sys.modules.get("ipykernel") is not None
    if kernel and importlib.util.find_spec("ipywidgets") is not None:
        bar = importlib.import_module("tqdm.notebook").tqdm
    else:
        # Without ipywidgets the text bar is what a notebook can show.
        bar = importlib.import_module("tqdm.std").tqdm
    if show is None:
        show = kernel or sys.stderr.isatty()
    return type("Bar", (bar,), {"monitor_interval": 0})(  # 0: no thread that stays
        total=total,
        desc=description,
        disable=not show,
        delay=_DELAY_S,
        leave=False,
        file=sys.stderr,
        dynamic_ncols=True,
    )
