"""Exceptions of all kinds, functions that raise them, and what shall arrive of them."""

# Exceptions are what is tested: their names say what is odd, their texts are short.
# ruff: noqa: EM101, N818

from __future__ import annotations

import asyncio
import dataclasses
import functools
import pickle
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import numpy as np

from daskkit.errors import RemoteError
from daskkit.run.exceptions import dump_error, load_error

# Executes functions of this module in a process of its own, and writes what
# `dump_error` makes of what they raise. Nothing else gets into the pipe.
CHILD = """
import os, pickle, sys
out = os.dup(1)
os.dup2(2, 1)
from tests import raisers
dumps = {name: raisers.dump_raised(getattr(raisers, name)) for name in sys.argv[1:]}
with os.fdopen(out, "wb") as pipe:
    pickle.dump(dumps, pipe)
"""


def caught(raiser):
    try:
        raiser()
    except BaseException as error:  # noqa: BLE001 - SystemExit is one of the cases
        return error
    msg = "nothing was raised"
    raise AssertionError(msg)


def dump_raised(raiser):
    """Return what a call raises, as bytes."""
    return dump_error(caught(raiser))


def dumps_of_child(*raisers):
    """Return bytes that another process made of what the functions raise, by name."""
    names = [raiser.__name__ for raiser in raisers]
    return pickle.loads(run_script(CHILD, names=names, cwd=Path(__file__).parents[1]))


@functools.cache
def _dumps_of_table():
    return dumps_of_child(*ARRIVES, *UNSPEAKABLE)


def from_child(raiser):
    """Return what arrives here when a function of the tables raises in a child."""
    return load_error(_dumps_of_table()[raiser.__name__])


def run_script(script, *options, names=(), cwd=None):
    """Return what a Python program writes."""
    done = subprocess.run(
        [sys.executable, *options, "-c", script, *names],
        check=True,
        cwd=cwd,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    return done.stdout


def frame_names(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def printed(error):
    return "".join(traceback.format_exception(error))


class Plain(Exception):
    pass


class TwoArguments(Exception):
    """Pickles, but can't be rebuilt: Python calls ``__init__`` with one argument."""

    def __init__(self, code, place):
        super().__init__(f"code {code} at {place}")
        self.code, self.place = code, place


class Doubling(Exception):
    """Is rebuilt, but with its prefix twice."""

    def __init__(self, code):
        super().__init__(f"code {code}")


class KeywordOnly(Exception):
    def __init__(self, *, code):
        super().__init__()
        self.code = code

    def __str__(self):
        return f"code {self.code}"


class FileTrouble(OSError):
    """An OSError reads its arguments in `__init__` where a class has its own."""

    def __init__(self, number, text, name, *, retry):
        super().__init__(number, text, name)
        self.retry = retry


@dataclasses.dataclass
class Data(Exception):
    code: int
    place: str = ""


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int
    place: str = ""


@dataclasses.dataclass(slots=True)
class Slots(Exception):
    code: int
    place: str = ""


class StopsInReduce(Exception):
    def __reduce__(self):
        raise SystemExit(3)


class InterruptsInReduce(Exception):
    def __reduce__(self):
        raise KeyboardInterrupt


class ReducesToText(Exception):
    def __reduce__(self):
        return str, ("I'm a text",)


class ReducesToName(Exception):
    def __reduce__(self):
        return "no_such_variable"


class ReducesToNonsense(Exception):
    def __reduce__(self):
        return 5


class ReducesForEver(Exception):
    def __reduce__(self):
        return ReducesForEver, (ReducesForEver("again"),)


class RaisesInState(Exception):
    def __setstate__(self, state):
        raise SystemExit(4)


class InterruptsInState(Exception):
    def __setstate__(self, state):
        raise KeyboardInterrupt


class BadText(Exception):
    def __str__(self):
        raise KeyboardInterrupt

    __repr__ = __str__


class TextOfOtherType(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307


class BadNew(Exception):
    def __new__(cls, *args):
        if args != ("secret",):
            msg = "this is no way to make one"
            raise RuntimeError(msg)
        return super().__new__(cls, "text")

    def __init__(self, *args):
        self.args = ("text",)


class Denies(Exception):
    """Denies access to everything."""

    def __getattribute__(self, name):
        raise KeyboardInterrupt(name)

    def __setattr__(self, name, value):
        raise SystemExit(name)


class Liar(Exception):
    __module__ = property(lambda self: 1 / 0)
    __class__ = property(lambda self: 1 / 0)
    __traceback__ = property(lambda self: 1 / 0)
    __cause__ = property(lambda self: 1 / 0)
    __dict__ = property(lambda self: 1 / 0)
    args = property(lambda self: 1 / 0)


class MyGroup(ExceptionGroup):
    """Takes other arguments than Python's."""

    def __new__(cls, errors, code):
        self = super().__new__(cls, f"code {code}", errors)
        self.code = code
        return self


class Bare(BaseException):
    pass


def raise_plain():
    raise Plain("text", 2, None)  # the line that tests look for


def raise_builtin():
    return 1 / 0


def raise_without_text():
    raise ValueError


def raise_attributes():
    error = Plain("text")
    error.code, error.array = 7, np.arange(3)
    raise error


def raise_array():
    raise Plain(np.arange(10_000.0), np.arange(10)[::2])


def raise_two_arguments():
    raise TwoArguments(5, place="here")


def raise_doubling():
    raise Doubling(5)


def raise_keyword_only():
    raise KeywordOnly(code=5)


def raise_file_not_found():
    open("/no/such/file")  # noqa: PTH123, SIM115


def raise_file_trouble():
    raise FileTrouble(2, "gone", "a.txt", retry=True)


def raise_import_error():
    import no_such_module_at_all  # noqa: F401


def raise_unicode():
    b"ab\xff".decode("ascii")


def raise_stop():
    raise StopIteration(5)


def raise_exit():
    sys.exit(5)


def raise_interrupt():
    raise KeyboardInterrupt


def raise_bare():
    raise Bare("text")


def raise_syntax():
    compile("a b", "file.py", "exec")


def raise_data():
    raise Data(code=5, place="here")


def raise_frozen():
    raise Frozen(code=5, place="here")


def raise_slots():
    raise Slots(code=5, place="here")


def raise_stops_in_reduce():
    raise StopsInReduce("text")


def raise_interrupts_in_reduce():
    raise InterruptsInReduce("text")


def raise_reduces_to_text():
    raise ReducesToText("text")


def raise_reduces_to_name():
    raise ReducesToName("text")


def raise_reduces_to_nonsense():
    raise ReducesToNonsense("text")


def raise_reduces_for_ever():
    raise ReducesForEver("text")


def raise_bad_text():
    raise BadText("text")


def raise_text_of_other_type():
    raise TextOfOtherType("text")


def raise_bad_new():
    raise BadNew("secret")


def raise_raises_in_state():
    error = RaisesInState("text")
    error.code = 5
    raise error


def raise_interrupts_in_state():
    error = InterruptsInState("text")
    error.code = 5
    raise error


def raise_denies():
    raise Denies("text")


def raise_liar():
    raise Liar("text")


def raise_odd_class():
    class OddMeta(type):
        def __getattribute__(cls, name):
            raise SystemExit(name)

    class OddClass(Exception, metaclass=OddMeta):
        pass

    raise OddClass("text")


def raise_itself():
    error = Plain("text")
    error.itself = error
    raise error


def raise_recursion(n=0):
    raise_recursion(n + 1)


def raise_surrogate():
    raise ValueError("\udcff")


def raise_local_class():
    class Local(Exception):
        def __init__(self, code, place):
            super().__init__(f"code {code} at {place}")

    raise Local(5, place="here")


def raise_local_subclass():
    class Local(ValueError):
        pass

    raise Local("text")


def raise_lock():
    error = Plain("it is locked")
    error.lock = threading.Lock()
    raise error


def raise_lock_argument():
    raise Plain(5, threading.Lock())


def raise_generator_in_group():
    raise ExceptionGroup("group", [ValueError("a"), Plain(x for x in "ab")])


def raise_noted():
    error = Plain("text")
    error.add_note("first")
    error.add_note("second")
    raise error


def raise_noted_badly():
    error = Plain("text")
    error.__notes__ = 5
    raise error


def raise_chain():
    try:
        raise_builtin()
    except ZeroDivisionError as zero:
        try:
            raise_two_arguments()
        except TwoArguments:
            raise Plain("last") from zero


def raise_from_none():
    try:
        raise_builtin()
    except ZeroDivisionError:
        raise Plain("last") from None


def raise_chain_with_lock():
    try:
        raise_lock()
    except Plain as error:
        raise ValueError("last") from error


def raise_long_chain():
    error = ValueError(0)
    for i in range(1, 500):
        following = ValueError(i)
        following.__cause__ = error
        error = following
    raise error


def raise_cycle():
    one, two = Plain("one"), Plain("two")
    one.__cause__, two.__cause__ = two, one
    one.__context__ = one
    raise one


def raise_group():
    members = [caught(raise_builtin), caught(raise_two_arguments)]
    inner = ExceptionGroup("inner", [caught(raise_chain), members[0]])
    inner.add_note("noted")
    raise ExceptionGroup("outer", [*members, inner, members[0]])


def raise_base_group():
    raise BaseExceptionGroup("outer", [KeyboardInterrupt(), ValueError("a")])


def raise_my_group():
    raise MyGroup([caught(raise_builtin), caught(raise_two_arguments)], 5)


def raise_deep_group():
    error = ValueError("innermost")
    for i in range(500):
        error = ExceptionGroup(f"level {i}", [error])
    raise error


def raise_wide_group():
    raise ExceptionGroup("wide", [ValueError(i) for i in range(3_000)])


def raise_task_group():
    async def fail():
        raise_builtin()

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    asyncio.run(main())


def raise_huge():
    error = Plain("x" * 20_000_000, "y" * 100_000)
    error.message = error.args[0]
    error.other = "z" * 200_000
    raise error


def raise_odd_file():
    exec(compile("1 / 0", "no\\such\nfile", "exec"))


def raise_multiline():
    return sum(
        1 / x
        for x in [1, 0]
    )  # fmt: skip


# name of the raiser -> type that arrives, text (None: whatever str() says, here too)
ARRIVES = {
    raise_plain: (Plain, "('text', 2, None)"),
    raise_builtin: (ZeroDivisionError, "division by zero"),
    raise_without_text: (ValueError, ""),
    raise_attributes: (Plain, "text"),
    raise_array: (Plain, None),
    raise_two_arguments: (TwoArguments, "code 5 at here"),
    raise_doubling: (Doubling, "code 5"),
    raise_keyword_only: (KeywordOnly, "code 5"),
    raise_file_not_found: (FileNotFoundError, None),
    raise_file_trouble: (FileTrouble, "[Errno 2] gone: 'a.txt'"),
    raise_import_error: (
        ModuleNotFoundError,
        "No module named 'no_such_module_at_all'",
    ),
    raise_unicode: (UnicodeDecodeError, None),
    raise_stop: (StopIteration, "5"),
    raise_exit: (SystemExit, "5"),
    raise_interrupt: (KeyboardInterrupt, ""),
    raise_bare: (Bare, "text"),
    raise_syntax: (SyntaxError, None),
    raise_data: (Data, None),
    raise_frozen: (Frozen, None),
    raise_slots: (Slots, None),
    raise_stops_in_reduce: (StopsInReduce, "text"),
    raise_interrupts_in_reduce: (InterruptsInReduce, "text"),
    raise_reduces_to_text: (ReducesToText, "text"),
    raise_reduces_to_name: (ReducesToName, "text"),
    raise_reduces_to_nonsense: (ReducesToNonsense, "text"),
    raise_reduces_for_ever: (ReducesForEver, "text"),
    raise_raises_in_state: (RaisesInState, "text"),
    raise_interrupts_in_state: (InterruptsInState, "text"),
    raise_bad_new: (BadNew, "text"),
    raise_itself: (Plain, "text"),
    raise_recursion: (RecursionError, None),
    raise_surrogate: (ValueError, "\udcff"),
    raise_noted: (Plain, "text"),
    raise_noted_badly: (Plain, "text"),
    raise_chain: (Plain, "last"),
    raise_from_none: (Plain, "last"),
    raise_chain_with_lock: (ValueError, "last"),
    raise_long_chain: (ValueError, "499"),
    raise_cycle: (Plain, "one"),
    raise_group: (ExceptionGroup, "outer (4 sub-exceptions)"),
    raise_base_group: (BaseExceptionGroup, "outer (2 sub-exceptions)"),
    raise_my_group: (MyGroup, "code 5 (2 sub-exceptions)"),
    raise_wide_group: (ExceptionGroup, "wide (999 sub-exceptions)"),
    raise_task_group: (ExceptionGroup, None),
    raise_odd_file: (ZeroDivisionError, "division by zero"),
    raise_multiline: (ZeroDivisionError, "division by zero"),
    raise_deep_group: (ExceptionGroup, "level 499 (1 sub-exception)"),
    raise_generator_in_group: (ExceptionGroup, "group (2 sub-exceptions)"),
    raise_lock: (RemoteError, None),
    raise_lock_argument: (RemoteError, None),
}


# Their own text can't be asked for.
UNSPEAKABLE = {
    raise_bad_text: "BadText",
    raise_text_of_other_type: "TextOfOtherType",
    raise_denies: "Denies",
    raise_liar: "Liar",
    raise_odd_class: "OddClass",
}
