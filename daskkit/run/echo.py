"""What items have said in workers, said again in the caller, for its own handlers.

The other side of `run.voice`. Runs in the thread that feeds the lanes.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

from daskkit.run.rules import find_action, find_category
from daskkit.run.voice import MOST_BYTES, MOST_LINES, Limit
from daskkit.units import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskkit.run.voice import Line, Said

__all__ = ["Echo"]


class Echo:
    """Says again what the lanes of one call send, up to a limit.

    Parameters
    ----------
    name : str
        Of the call.
    bar : tqdm.tqdm, optional
        Is put aside meanwhile.

    Examples
    --------
    >>> from daskkit.run.voice import Line, Said
    >>> Echo("squares").hear(Said([Line("stdout", 7, "49")], 0, 0), "child process 12")
    [item 7, child process 12] 49
    """

    def __init__(self, name: str, bar: Any = None) -> None:
        self._name = name
        self._bar = bar
        self._limit = Limit()
        # Warnings that were shown, of those that are shown once.
        self._shown: set[tuple[Any, ...]] = set()

    def hear(self, said: Said, where: str) -> None:
        """Take in what a lane has sent.

        Parameters
        ----------
        said : Said
            By the lane.
        where : str
            Which lane that is, for people.
        """
        self._limit.drop(said.n_dropped, said.dropped_bytes)
        clear: Any = contextlib.nullcontext()
        if self._bar is not None:
            clear = self._bar.external_write_mode()
        with clear:
            for line in said.lines:
                self._show(line, where)

    def close(self) -> None:
        """Say how much was left out; a second call does nothing."""
        n_lines, n_bytes = self._limit.take_dropped()
        if n_lines:
            import logging

            logging.getLogger("daskkit").warning(
                "%s (%s) of items of %s were left out: more than %s or %s a second",
                format_count(n_lines, "line"),
                format_bytes(n_bytes),
                self._name,
                format_count(MOST_LINES, "line"),
                format_bytes(MOST_BYTES),
            )

    def _show(self, line: Line, where: str) -> None:
        source = where if line.item is None else f"item {line.item}, {where}"
        if line.kind == "log":
            self._log(line, source, where)
        elif line.kind == "warning":
            self._warn(line.content, source)
        elif self._limit.admits(len(line.content)):
            stream = getattr(sys, line.kind)
            if stream is not None:
                # In one go, or another thread's would come between.
                stream.write(f"[{source}] {line.content}\n")

    def _log(self, line: Line, source: str, where: str) -> None:
        import logging

        known: dict[str, Any] = dict(line.content)
        logger = logging.getLogger(known["name"])
        if not logger.isEnabledFor(known["levelno"]):
            return
        if self._limit.admits(len(known["msg"])):
            known["msg"] = f"{known['msg']} [{source}]"
            known |= {"daskkit_item": line.item, "daskkit_worker": where}
            logger.handle(logging.makeLogRecord(known))

    def _warn(self, content: Sequence[Any], source: str) -> None:
        text, names, filename, lineno = content
        category = find_category(names) or UserWarning
        # The rest of what Python looks at was looked at in the worker.
        action = find_action(warnings.filters, text, category, "", lineno)
        if action == "ignore":
            return
        if action in {"default", "module", "once"}:
            key = (text, category, filename, lineno)
            if key in self._shown:
                return  # by another worker
            self._shown.add(key)
        if self._limit.admits(len(text)):
            message = f"{text} [{source}]"
            try:
                warning = category(message)
            except TypeError:  # made of something else than a text
                category, warning = UserWarning, UserWarning(message)
            warnings.showwarning(warning, category, filename, lineno)
