"""The frames of a traceback as plain data, and a traceback made of such data.

Part of `run`; knows nothing of exceptions and how they travel.
"""

from __future__ import annotations

import ast
import functools
import itertools
import linecache
import os
import types
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Frame", "format_frames", "make_traceback", "read_frames", "read_source"]

# The innermost and outermost frames of a traceback that are read; Python's own limit of
# recursion makes 1,000.
_MOST_FRAMES = 1000
# What runs between the catch in a worker and the user's function.
_MACHINERY = ("daskkit.run.", "daskkit.loop", "daskkit.transport.", "daskkit.graphs.")


class Frame(NamedTuple):
    """One line of a traceback, with the columns that Python underlines in it."""

    file: str
    name: str
    line: int
    end_line: int
    #: -1 where they are unknown, in bytes of the line.
    column: int
    end_column: int
    module: str
    #: Without indentation; empty until `read_source`, and where nothing is found.
    source: str = ""


def read_frames(outermost: types.TracebackType | None) -> list[Frame]:
    """Return the frames of a traceback, without daskkit's own at the top.

    Parameters
    ----------
    outermost : traceback or None
        Such as ``error.__traceback__``.

    Returns
    -------
    list of Frame
        From the outermost to the innermost, at most 1,000: half of them from each end.

    Examples
    --------
    >>> def divide():
    ...     return 1 / 0
    >>> try:
    ...     divide()
    ... except ZeroDivisionError as error:
    ...     [(frame.name, frame.line) for frame in read_frames(error.__traceback__)]
    [('<module>', 2), ('divide', 2)]
    """
    entries = _entries(outermost)
    if len(entries) > _MOST_FRAMES:
        half = _MOST_FRAMES // 2
        entries = entries[:half] + entries[-half:]
    frames = [_read_frame(entry) for entry in entries]
    users = itertools.dropwhile(lambda f: f.module.startswith(_MACHINERY), frames)
    return list(users) or frames  # all of them ours: an error of daskkit


def read_source(frame: Frame) -> Frame:
    """Return a frame with its line of source: another machine may lack the file."""
    # Reading a pipe, such as /dev/stdin, might never end.
    if frame.file in linecache.cache or os.path.isfile(frame.file):  # noqa: PTH113
        source = linecache.getline(frame.file, frame.line).strip()
        return frame._replace(source=source)
    return frame


def format_frames(frames: Sequence[Frame]) -> str:
    """Return frames as Python prints a traceback, without columns.

    Parameters
    ----------
    frames : sequence of Frame
        Lines without a source are looked up in this process.

    Returns
    -------
    str

    Examples
    --------
    >>> print(format_frames([Frame("a.py", "divide", 2, 2, 11, 16, "a", "return 1/0")]))
    Original traceback (most recent call last):
      File "a.py", line 2, in divide
        return 1/0
    """
    import traceback

    summary = traceback.StackSummary.from_list(
        traceback.FrameSummary(f.file, f.line, f.name, line=f.source or None)
        for f in frames
    )
    lines = summary.format() or ["  none\n"]
    return "".join(["Original traceback (most recent call last):\n", *lines]).rstrip()


def make_traceback(frames: Sequence[Frame]) -> types.TracebackType | None:
    """Return a traceback that prints as the original.

    tblib 3.2 would do, but underlines all of each line and not what was evaluated, and
    recurses in long tracebacks.

    Parameters
    ----------
    frames : sequence of Frame
        From the outermost to the innermost.

    Returns
    -------
    traceback or None
        None if there are no frames.
    """
    made: types.TracebackType | None = None
    for frame in reversed(frames):
        made = _make_entry(frame, made)
    return made


def _entries(outermost: types.TracebackType | None) -> list[types.TracebackType]:
    entries = []
    while outermost is not None:
        entries.append(outermost)
        outermost = outermost.tb_next
    return entries


def _read_frame(entry: types.TracebackType) -> Frame:
    code = entry.tb_frame.f_code
    line = entry.tb_lineno or 1  # None for instructions without one
    module = entry.tb_frame.f_globals.get("__name__")
    place: Sequence[int | None] = (None,) * 4
    if entry.tb_lasti >= 0:
        instruction = entry.tb_lasti // 2
        place = next(itertools.islice(code.co_positions(), instruction, None), place)
    _, end_line, column, end_column = place
    if place[0] != line or end_line is None or column is None or end_column is None:
        end_line, column, end_column = line, -1, -1  # unknown, to the compiler
    return Frame(
        code.co_filename,
        code.co_name,
        line,
        end_line,
        column,
        end_column,
        module if type(module) is str else "",
    )


def _make_entry(
    frame: Frame, following: types.TracebackType | None
) -> types.TracebackType | None:
    """Return an entry for one frame; only code that raises makes a frame."""
    try:
        exec(_make_code(frame), {"__name__": frame.module})  # noqa: S102 - only divides
    except ZeroDivisionError as error:
        raised = _entries(error.__traceback__)[-1]
        return types.TracebackType(
            following, raised.tb_frame, raised.tb_lasti, frame.line
        )
    except Exception:  # noqa: BLE001 - names that no file can have, such as "\0"
        return following
    return following


@functools.lru_cache(maxsize=_MOST_FRAMES)
def _make_code(frame: Frame) -> types.CodeType:
    """Return code that raises at a place: the traceback module asks it for columns."""
    place: dict[str, Any] = {
        "lineno": frame.line,
        "end_lineno": frame.end_line,
        "col_offset": frame.column,
        "end_col_offset": frame.end_column,
    }
    one, nought = ast.Constant(1, **place), ast.Constant(0, **place)
    division = ast.Expr(ast.BinOp(one, ast.Div(), nought, **place), **place)
    code = compile(ast.Module([division], type_ignores=[]), frame.file, "exec")
    return code.replace(co_name=frame.name, co_qualname=frame.name)
