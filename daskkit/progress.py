"""A progress bar for long work, in terminals and notebooks."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

__all__ = ["make_bar"]

# Short work shows nothing.
_DELAY_S = 2.0


def make_bar(
    total: int | None,
    description: str,
    *,
    show: bool | None = None,
    unit: str = "it",
    delay_s: float = _DELAY_S,
    n_done: int = 0,
) -> Any:
    """Return a tqdm bar that appears after some time.

    Parameters
    ----------
    total : int or None
        Steps; None if nobody knows how many.
    description : str
        What goes on.
    show : bool, optional
        None shows it in a terminal and in a notebook, but not in a file or pipe.
    unit : str, default "it"
        What a step is called.
    delay_s : float, default 2
        Seconds before it appears; with 0 it also stays.
    n_done : int, default 0
        Steps that were done before; they don't count for the rate.

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
        initial=n_done,
        unit=unit,
        desc=description,
        disable=not show,
        delay=delay_s,
        leave=delay_s == 0,
        file=sys.stderr,
        dynamic_ncols=True,
    )
