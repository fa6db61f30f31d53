"""An exception is pickled, tried and rebuilt with all that it has, whatever it is."""

from __future__ import annotations

import copyreg
import threading

import numpy as np
import pytest

from daskkit.errors import RemoteError
from daskkit.run.exceptions import dump_error, load_error
from daskkit.run.pickles import is_harmless
from tests.raisers import (
    Doubling,
    Plain,
    TwoArguments,
    caught,
    dump_raised,
    dumps_of_child,
    from_child,
    raise_array,
    raise_attributes,
    raise_chain,
    raise_data,
    raise_doubling,
    raise_exit,
    raise_file_not_found,
    raise_file_trouble,
    raise_frozen,
    raise_huge,
    raise_import_error,
    raise_local_class,
    raise_local_subclass,
    raise_raises_in_state,
    raise_recursion,
    raise_slots,
    raise_stop,
    raise_syntax,
    raise_two_arguments,
    raise_unicode,
    run_script,
)


class Equal(type):
    """A metaclass whose classes can't be hashed."""

    def __eq__(cls, other):
        raise SystemExit

    __hash__ = None


class Comparing(metaclass=Equal):
    def __init__(self, text):
        self.text = text


def test_arguments_and_attributes_arrive():
    """Arguments and attributes have their values, arrays and slots included."""
    error = from_child(raise_attributes)
    assert error.args == ("text",)
    assert error.code == 7
    np.testing.assert_array_equal(error.array, np.arange(3))
    error = from_child(raise_array)
    large, strided = error.args
    np.testing.assert_array_equal(large, np.arange(10_000.0))
    np.testing.assert_array_equal(strided, np.arange(0, 10, 2))
    large[0] = 1  # as writable as it was
    for raiser in (raise_data, raise_frozen, raise_slots):
        error = from_child(raiser)
        assert (error.code, error.place) == (5, "here")
    error = from_child(raise_two_arguments)
    assert (error.args, error.code) == (("code 5 at here",), 5)
    assert from_child(raise_raises_in_state).code == 5


def test_fields_of_builtin_exceptions_arrive():
    """What Python keeps outside of the arguments is there, too."""
    error = from_child(raise_file_trouble)
    assert (error.errno, error.filename, error.retry) == (2, "a.txt", True)
    assert from_child(raise_file_not_found).filename == "/no/such/file"
    assert from_child(raise_import_error).name == "no_such_module_at_all"
    assert from_child(raise_unicode).object == b"ab\xff"
    assert from_child(raise_stop).value == 5
    assert from_child(raise_exit).code == 5
    assert from_child(raise_syntax).lineno == 1


def test_huge_text_is_cut():
    """A text of 20 MB arrives as its beginning and its length; shorter ones stay."""
    error = caught(raise_huge)
    data = dump_error(error)
    assert len(data) < 1_000_000
    arrived = load_error(data)
    long, short = arrived.args
    assert long == "x" * 10_000 + "... [cut, of 20,000,000 characters]"
    assert arrived.message == long
    assert short == "y" * 100_000
    assert arrived.other == "z" * 200_000
    assert len(error.args[0]) == 20_000_000  # the original is as it was


def test_huge_text_without_an_argument_is_cut_in_text_only():
    """Of one that can't be rebuilt the text is cut as well."""
    error = Plain("x" * 200_000, threading.Lock())
    arrived = load_error(dump_error(error))
    assert type(arrived) is RemoteError
    assert len(str(arrived)) < 11_000


def test_local_class_arrives_by_value():
    """A class that only exists within a function of the child comes along."""
    data = dumps_of_child(raise_local_class, raise_local_subclass)
    error = load_error(data["raise_local_class"])
    assert (type(error).__name__, str(error)) == ("Local", "code 5 at here")
    assert isinstance(load_error(data["raise_local_subclass"]), ValueError)


def test_class_of_the_main_module_arrives_by_value():
    """A class of a script's or notebook's own comes along, with its attributes."""
    script = """
import sys
from daskkit.run.exceptions import dump_error
class Own(LookupError):
    def __init__(self, code, *, place):
        super().__init__(f"code {code}")
        self.code, self.place = code, place
    def twice(self):
        return 2 * self.code
try:
    raise Own(5, place="here")
except Own as error:
    sys.stdout.buffer.write(dump_error(error))
"""
    error = load_error(run_script(script))
    assert type(error).__qualname__ == "Own"
    assert isinstance(error, LookupError)
    assert (str(error), error.place, error.twice()) == ("code 5", "here", 10)


def test_class_that_came_from_here_is_found_again():
    """A class of the caller's main module arrives as itself, with its methods as is."""
    script = """
import cloudpickle, pickle, subprocess, sys
from daskkit.run.exceptions import load_error
class Own(Exception):
    def answer(self):
        return answer
answer = 1
def raiser():
    raise Own("text")
child = '''
import pickle, sys
from daskkit.run.exceptions import dump_error
try:
    pickle.load(sys.stdin.buffer)()
except Exception as error:
    sys.stdout.buffer.write(dump_error(error))
'''
method = Own.answer
data = subprocess.run([sys.executable, "-c", child], input=cloudpickle.dumps(raiser),
                      capture_output=True, check=True).stdout
error = load_error(data)
answer = 2
print(type(error) is Own, Own.answer is method, error.answer())
"""
    assert run_script(script).split() == [b"True", b"True", b"2"]


def test_reducers_of_tblib_are_passed_by():
    """Distributed registers reducers that recurse in tracebacks; the type stays."""
    import distributed  # noqa: F401 - for its side effect

    assert RecursionError in copyreg.dispatch_table
    error = caught(raise_recursion)
    data = dump_error(error)
    assert type(load_error(data)) is RecursionError
    chain = load_error(dump_raised(raise_chain))
    assert type(chain.__cause__) is ZeroDivisionError


def test_reducer_of_a_user_is_called(monkeypatch):
    """What a user has registered for a class is how it travels."""
    monkeypatch.setitem(
        copyreg.dispatch_table, TwoArguments, lambda e: (TwoArguments, (6, e.place))
    )
    error = load_error(dump_raised(raise_two_arguments))
    assert str(error) in {"code 6 at here", "code 5 at here"}
    monkeypatch.setitem(
        copyreg.dispatch_table, Doubling, lambda e: (Doubling, (e.args[0][5:],))
    )
    assert load_error(dump_raised(raise_doubling)).args == ("code 5",)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("text", 5, None), True),
        (OSError(2, "gone", "a.txt"), True),
        (Plain("text"), False),
        (ValueError(["text"]), False),
        (ValueError(Comparing("text")), False),
        (ExceptionGroup("group", [ValueError()]), False),
    ],
    ids=["arguments", "system", "own class", "list", "own argument", "group"],
)
def test_only_pythons_own_are_harmless(error, expected):
    """What may run code of a user's isn't called harmless, notes and attributes too."""
    assert is_harmless(error) is expected
    error.add_note("noted")
    assert is_harmless(error) is expected
    error.lock = threading.Lock()
    assert not is_harmless(error)
