"""Which messages the caller of a verb wants: its levels and its filters."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Rules",
    "describe_filters",
    "find_action",
    "find_category",
    "read_rules",
    "resolve_filters",
]


class Rules(NamedTuple):
    """What of the caller's settings decides which messages it wants."""

    #: Process of the caller.
    pid: int
    #: Levels of the loggers that have one, by name; "" is the root.
    levels: dict[str, int]
    #: What `logging.disable` was told.
    disabled: int
    #: `warnings.filters`, as by `describe_filters`.
    filters: tuple[tuple[str, str, str, str, int], ...]


def read_rules() -> Rules:
    """Return what this process wants to hear.

    Returns
    -------
    Rules
    """
    manager = logging.root.manager
    levels = {"": logging.root.level}
    for name, logger in list(manager.loggerDict.items()):
        level = getattr(logger, "level", 0)  # a placeholder has none
        if level:
            levels[name] = level
    filters = describe_filters(warnings.filters)
    return Rules(os.getpid(), levels, manager.disable, filters)


def describe_filters(
    filters: Sequence[tuple[Any, ...]],
) -> tuple[tuple[str, str, str, str, int], ...]:
    r"""Return filters of warnings as plain data.

    Parameters
    ----------
    filters : sequence of tuple
        As in `warnings.filters`.

    Returns
    -------
    tuple of tuple
        Action, pattern of the message, module and name of the category, pattern of the
        module, number of the line.

    Examples
    --------
    >>> describe_filters([("ignore", None, UserWarning, "__main__", 0)])
    (('ignore', '', 'builtins:UserWarning', '__main__\\Z', 0),)
    """
    return tuple(
        (
            action,
            _to_pattern(message),
            f"{category.__module__}:{category.__qualname__}",
            _to_pattern(module),
            line,
        )
        for action, message, category, module, line in filters
    )


def _to_pattern(wanted: Any) -> str:
    if wanted is None:
        return ""
    if isinstance(wanted, str):
        return re.escape(wanted) + r"\Z"
    pattern: str = wanted.pattern
    return pattern


def resolve_filters(rules: Rules) -> list[tuple[Any, ...]]:
    """Return the caller's filters whose categories are known in this process."""
    found = []
    for action, message, category, module, line in rules.filters:
        kind = find_category([tuple(category.split(":"))])
        if kind is not None:
            text = re.compile(message, re.IGNORECASE) if message else None
            place = re.compile(module) if module else None
            found.append((action, text, kind, place, line))
    return found


def find_category(names: Sequence[tuple[str, ...]]) -> type[Warning] | None:
    """Return the first class of warnings that is there without an import, or None.

    Parameters
    ----------
    names : sequence of tuple of str
        Module and name of each.

    Examples
    --------
    >>> find_category([("some.module", "Odd"), ("builtins", "UserWarning")])
    <class 'UserWarning'>
    """
    for module, name in names:
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, Warning):
            return found
    return None


def find_action(
    filters: Sequence[tuple[Any, ...]],
    text: str,
    category: type[Warning],
    module: str,
    lineno: int,
) -> str:
    """Return what is done with a warning, as Python decides it.

    Parameters
    ----------
    filters : sequence of tuple
        As in `warnings.filters`.
    text, category, module, lineno : object
        Of the warning.

    Returns
    -------
    str

    Examples
    --------
    >>> find_action([("error", None, UserWarning, None, 0)], "x", UserWarning, "m", 3)
    'error'
    >>> find_action([], "x", UserWarning, "m", 3)
    'default'
    """
    for action, message, kind, place, line in filters:
        if (
            issubclass(category, kind)
            and line in {0, lineno}
            and _fits(message, text)
            and _fits(place, module)
        ):
            return str(action)
    return "default"


def _fits(wanted: Any, text: str) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return wanted == text
    return wanted.match(text) is not None
