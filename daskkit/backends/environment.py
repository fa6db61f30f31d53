"""Environment variables that libraries set when they are imported or started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["restore_environment"]


def restore_environment(before: Mapping[str, str]) -> None:
    """Make the environment what it was; all later children inherit it.

    Parameters
    ----------
    before : mapping of str to str
        A copy of ``os.environ``.

    Examples
    --------
    >>> before = dict(os.environ)
    >>> os.environ["SET_BY_A_LIBRARY"] = "1"
    >>> restore_environment(before)
    >>> "SET_BY_A_LIBRARY" in os.environ
    False
    """
    for name in set(os.environ) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
