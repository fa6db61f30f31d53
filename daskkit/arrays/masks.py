"""Whether an array is masked, without the import of what makes masked arrays."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_masked"]


def is_masked(value: Any) -> bool:
    """Return whether a value is a masked array.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    bool
        `numpy.ma` takes 20 ms to import; where it is not, there are none.

    Examples
    --------
    >>> import numpy as np
    >>> is_masked(np.zeros(2)), is_masked(np.ma.zeros(2))
    (False, True)
    """
    module = sys.modules.get("numpy.ma")
    return module is not None and isinstance(value, module.MaskedArray)
