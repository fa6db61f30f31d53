"""Which messages the caller of a verb wants: its levels and its filters."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Rules",
    "describe_filters",
    "dump_rules",
    "find_action",
    "find_category",
    "load_rules",
    "resolve_filters",
]


class Rules(NamedTuple):
    """What of the caller's settings decides which messages it wants."""

    #: Process of the caller.
    pid: int
    #: Levels of the loggers that have one, by name; "" is the root. Empty if the caller
    #: has not imported logging.
    levels: dict[str, int]
    #: What `logging.disable` was told.
    disabled: int
    #: `warnings.filters`, as by `describe_filters`.
    filters: tuple[tuple[Any, ...], ...]


# What the last `dump_rules` was made of, and its answer; exchanged as a whole.
_last: list[tuple[Any, bytes]] = [(None, b"")]


def dump_rules() -> bytes:
    """Return what this process wants to hear, as bytes.

    Returns
    -------
    bytes
        Equal if nothing has changed.
    """
    # Who has not imported it has no levels.
    logging: Any = sys.modules.get("logging")
    root_level = disabled = 0
    levels: list[tuple[str, int]] = []
    if logging is not None:
        manager = logging.root.manager
        root_level, disabled = logging.root.level, manager.disable
        levels = [
            (name, logger.level)
            for name, logger in list(manager.loggerDict.items())
            if isinstance(logger, logging.Logger) and logger.level
        ]
    filters = list(warnings.filters)
    key = (os.getpid(), root_level, levels, disabled, filters)
    # Short calls would notice how long it takes.
    known, dumped = _last[0]
    if key != known:
        rules = Rules(
            os.getpid(),
            {"": root_level, **dict(levels)} if logging is not None else {},
            disabled,
            describe_filters(filters),
        )
        dumped = pickle.dumps(rules, 5)
        _last[0] = key, dumped
    return dumped


@functools.lru_cache(maxsize=8)
def load_rules(dumped: bytes) -> Rules:
    """Return what the caller wants to hear, from the bytes of `dump_rules`."""
    rules: Rules = pickle.loads(dumped)
    return rules


def describe_filters(filters: Sequence[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Return filters of warnings so that any process can open them.

    Parameters
    ----------
    filters : sequence of tuple
        As in `warnings.filters`.

    Returns
    -------
    tuple of tuple
        The same with the names of the categories.

    Examples
    --------
    >>> describe_filters([("ignore", None, UserWarning, "__main__", 0)])
    (('ignore', None, 'builtins:UserWarning', '__main__', 0),)
    """
    return tuple(
        (action, message, f"{kind.__module__}:{kind.__qualname__}", module, line)
        for action, message, kind, module, line in filters
    )


def resolve_filters(rules: Rules) -> list[tuple[Any, ...]]:
    """Return the caller's filters whose categories are known in this process."""
    found = []
    for action, message, name, module, line in rules.filters:
        kind = find_category([tuple(name.split(":"))])
        if kind is not None:
            found.append((action, message, kind, module, line))
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
