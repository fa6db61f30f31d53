"""What all of `frames` share: how an inner loop of pandas is replaced.

pandas keeps the loops over rows, groups and windows in methods of their own, which
return the results before they are put together. On an object that belongs to one call
(never the user's) such a method is replaced. Those methods are not public: where one is
missing, pandas does the whole, and a warning says so.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from daskkit.loop import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.run.work import Work

    #: Executes the items of some work and returns their results, in order.
    Run = Callable[[Work], Any]

__all__ = ["has_seam", "name_label", "replace"]


def has_seam(owner: Any, *names: str) -> bool:
    """Return whether an object of pandas has the attributes that a seam needs.

    Warns
    -----
    RuntimeWarning
        If it hasn't: this version of pandas is unknown, and nothing runs in parallel.

    Examples
    --------
    >>> has_seam([], "append")
    True
    """
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        import pandas as pd

        text = (
            f"pandas {pd.__version__} has no {type(owner).__name__}.{missing[0]}, by "
            "which daskkit runs it in parallel; pandas itself runs it, on one core"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=4)
    return not missing


def replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    """Put a function in place of a method of one object.

    Examples
    --------
    >>> import pandas as pd
    >>> copy = pd.Series([1, 2]).copy(deep=False)
    >>> replace(copy, "sum", lambda: "replaced")
    >>> copy.sum(), int(pd.Series([1, 2]).sum())
    ('replaced', 3)
    """
    # Past the __setattr__ of pandas, which looks for columns.
    object.__setattr__(owner, name, function)


def name_label(kind: str, number: int, label: Any) -> str:
    """Return what a row, column or group is called in messages.

    Examples
    --------
    >>> name_label("row", 3, "x")
    "row 3 (label 'x')"
    """
    return f"{kind} {number} (label {short_repr(label)})"
