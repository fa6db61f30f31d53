"""A traceback is read into plain data, and one made of it prints the same."""

from __future__ import annotations

import os
import pickle
import sys
import traceback

import pytest

from daskkit import loop
from daskkit.run import tracebacks
from daskkit.run.exceptions import load_error
from daskkit.run.tracebacks import (
    format_frames,
    make_traceback,
    read_frames,
    read_source,
)
from tests import raisers
from tests.raisers import (
    caught,
    frame_names,
    from_child,
    printed,
    raise_builtin,
    raise_multiline,
    raise_plain,
    raise_recursion,
    run_script,
)


def there_and_back(error):
    """Return the exception with a traceback that has been plain data."""
    data = pickle.dumps(read_frames(error.__traceback__))
    return error.with_traceback(make_traceback(pickle.loads(data)))


def test_traceback_shows_the_source_line():
    """The printed traceback has file, line, function and source of the raising line."""
    text = printed(from_child(raise_plain))
    line = raise_plain.__code__.co_firstlineno + 1
    assert f'File "{raisers.__file__}", line {line}, in raise_plain' in text
    assert 'raise Plain("text", 2, None)  # the line that tests look for' in text


@pytest.mark.parametrize(
    "raiser",
    [raise_builtin, raise_recursion, raise_multiline],
    ids=lambda raiser: raiser.__name__,
)
def test_traceback_prints_as_the_original(raiser):
    """Lines and underlined columns print as they would have without a trip."""
    error = caught(raiser)
    expected = printed(error)
    assert printed(there_and_back(error)) == expected


def test_traceback_can_be_raised_and_inspected():
    """An exception that is raised again has the frames of both processes."""
    error = from_child(raise_builtin)
    with pytest.raises(ZeroDivisionError) as info:
        raise error
    names = frame_names(info.value)
    assert names[0] == "test_traceback_can_be_raised_and_inspected"
    assert names[-2:] == ["caught", "raise_builtin"]
    inner = list(traceback.walk_tb(info.value.__traceback__))[-1][0]
    assert inner.f_globals["__name__"] == raisers.__name__


def test_machinery_is_cut_off_the_top():
    """The traceback of an item begins with the user's function, not with daskkit's."""
    error = caught(lambda: loop.run_items(lambda x: 1 / x, [0]))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # as in a worker
    assert frame_names(there_and_back(error)) == ["<lambda>"]


def test_error_of_the_machinery_keeps_its_frames():
    """An error that daskkit raises itself isn't left without a traceback."""
    error = caught(lambda: loop.run_items(None, [1]))
    error.__traceback__ = error.__traceback__.tb_next.tb_next
    assert frame_names(there_and_back(error)) == ["run_items"]


def test_endless_traceback_is_shortened():
    """Of 3,000 frames the outermost and the innermost arrive."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(3_200)
    try:
        error = caught(raise_recursion)
        names = frame_names(there_and_back(error))
    finally:
        sys.setrecursionlimit(limit)
    assert names[0] == "caught"
    assert names[1:] == ["raise_recursion"] * (tracebacks._MOST_FRAMES - 1)


def test_line_without_columns_is_not_underlined():
    """Where the worker's Python keeps no columns, the line alone is shown."""
    script = """
import fractions, sys
from daskkit.run.exceptions import dump_error
try:
    fractions.Fraction(1, 0)
except ZeroDivisionError as error:
    sys.stdout.buffer.write(dump_error(error))
"""
    text = printed(load_error(run_script(script, "-X", "no_debug_ranges")))
    assert "raise ZeroDivisionError('Fraction(%s, 0)' % numerator)" in text
    assert "^" not in text


def test_no_traceback_stays_none():
    """An exception that was never raised has no traceback afterwards."""
    assert read_frames(None) == []
    assert make_traceback([]) is None
    assert format_frames([]).endswith("(most recent call last):\n  none")


def test_frame_that_cannot_be_made_is_left_out():
    """A file name that no file can have costs its own line, not the traceback."""
    first, second = read_frames(caught(raise_builtin).__traceback__)
    made = make_traceback([first, first._replace(file="\0"), second])
    assert [frame.name for frame in traceback.extract_tb(made)] == [
        "caught",
        "raise_builtin",
    ]


def test_source_is_read_where_the_file_is(tmp_path):
    """A line of source comes along; what isn't a file is not opened at all."""
    frame = read_frames(caught(raise_builtin).__traceback__)[-1]
    assert read_source(frame).source == "return 1 / 0"
    lost = read_source(frame)._replace(file="/no/such/file.py")
    assert format_frames([lost]).endswith("in raise_builtin\n    return 1 / 0")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert read_source(frame._replace(file=str(fifo))).source == ""
