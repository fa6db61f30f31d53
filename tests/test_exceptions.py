"""An exception gets from a worker to the caller, with all that it is linked to."""

from __future__ import annotations

import pickle
import threading

import pytest

from daskkit.errors import (
    ArgumentError,
    DaskkitError,
    ItemTimeoutError,
    RemoteError,
    WorkerDiedError,
)
from daskkit.run import exceptions
from daskkit.run.exceptions import dump_error, load_error
from daskkit.run.pickles import class_name, text_of
from tests.raisers import (
    ARRIVES,
    UNSPEAKABLE,
    Plain,
    RaisesInState,
    TwoArguments,
    caught,
    dump_raised,
    frame_names,
    from_child,
    printed,
    raise_attributes,
    raise_base_group,
    raise_chain,
    raise_chain_with_lock,
    raise_cycle,
    raise_data,
    raise_deep_group,
    raise_from_none,
    raise_generator_in_group,
    raise_group,
    raise_lock,
    raise_long_chain,
    raise_my_group,
    raise_noted,
    raise_noted_badly,
    raise_plain,
    raise_task_group,
    raise_two_arguments,
    raise_wide_group,
    run_script,
)


def check_arrival(raiser, arrived):
    """Compare what arrived with what the function raises here."""
    cls, text = ARRIVES[raiser]
    raised = caught(raiser)
    assert type(arrived) is cls
    names = frame_names(arrived)
    assert (names[0], names[-1]) == ("caught", frame_names(raised)[-1])
    if cls is RemoteError:
        name = f"{type(raised).__module__}.{type(raised).__qualname__}"
        assert str(arrived).startswith(f"{name}: ")
        return
    assert str(arrived) == (str(raised) if text is None else text)


@pytest.mark.parametrize("raiser", ARRIVES, ids=lambda raiser: raiser.__name__)
def test_arrives_in_its_own_process(raiser):
    """An exception that is taken apart and rebuilt here has the same type and text."""
    check_arrival(raiser, load_error(dump_raised(raiser)))


@pytest.mark.parametrize("raiser", ARRIVES, ids=lambda raiser: raiser.__name__)
def test_arrives_from_another_process(raiser):
    """An exception of a child has the type and text that it has here."""
    check_arrival(raiser, from_child(raiser))


@pytest.mark.parametrize("raiser", UNSPEAKABLE, ids=lambda raiser: raiser.__name__)
def test_unspeakable_exceptions_arrive(raiser):
    """A class whose every method raises arrives, as itself or as text."""
    for arrived in (load_error(dump_raised(raiser)), from_child(raiser)):
        name = class_name(arrived).rpartition(".")[2]
        assert name in {UNSPEAKABLE[raiser], "RemoteError"}
        assert name != "RemoteError" or UNSPEAKABLE[raiser] in str(arrived)
        assert text_of(arrived)


@pytest.mark.parametrize(
    "raiser", [raise_chain, raise_task_group], ids=lambda raiser: raiser.__name__
)
def test_chain_prints_as_the_original(raiser):
    """All tracebacks of a chain or a group print as they would without a trip."""
    error = caught(raiser)
    assert printed(load_error(dump_error(error))) == printed(error)


def test_traceback_survives_two_trips():
    """What has arrived can be sent on, and prints the same."""
    error = caught(raise_chain)
    twice = load_error(dump_error(load_error(dump_error(error))))
    assert printed(twice) == printed(error)


def test_notes_arrive():
    """Notes are there once, in order; what isn't a list of notes does no harm."""
    assert from_child(raise_noted).__notes__ == ["first", "second"]
    assert from_child(raise_noted_badly).__notes__ == 5
    assert not hasattr(from_child(raise_plain), "__notes__")


def test_notes_can_be_added_after_arrival():
    """The caller's note comes after those of the worker, for any class."""
    for raiser in (raise_noted, raise_lock, raise_data, raise_group):
        error = from_child(raiser)
        error.add_note("last")
        assert error.__notes__[-1] == "last"


def test_causes_and_contexts_arrive():
    """The chain has types, attributes and a traceback for each link."""
    error = from_child(raise_chain)
    assert type(error.__cause__) is ZeroDivisionError
    assert type(error.__context__) is TwoArguments
    assert error.__context__.code == 5
    assert error.__context__.__context__ is error.__cause__
    assert error.__suppress_context__
    assert "return 1 / 0" in printed(error)


def test_suppressed_context_stays_suppressed():
    """After `raise ... from None` the context is there but isn't printed."""
    error = from_child(raise_from_none)
    assert error.__cause__ is None
    assert type(error.__context__) is ZeroDivisionError
    assert "ZeroDivisionError" not in printed(error)
    error = load_error(dump_raised(raise_group)).exceptions[1]
    assert not error.__suppress_context__


def test_cause_that_cannot_travel_is_text():
    """Only the guilty link of a chain becomes a RemoteError."""
    error = from_child(raise_chain_with_lock)
    assert type(error.__cause__) is RemoteError
    assert "its attribute 'lock' can't be pickled: TypeError" in str(error.__cause__)


def test_long_chain_ends_in_a_note():
    """Of 500 causes 20 arrive, and the last says that there were more."""
    error, n_links = from_child(raise_long_chain), 0
    while error.__cause__ is not None:
        error, n_links = error.__cause__, n_links + 1
    assert n_links == 20
    assert error.__notes__ == ["(linked exceptions left out: 1)"]


def test_cycle_arrives_as_a_cycle():
    """Exceptions that cause each other do so again, and can be printed."""
    error = from_child(raise_cycle)
    assert error.__cause__.__cause__ is error
    assert error.__context__ is error
    assert "two" in printed(error)


def test_members_of_groups_arrive():
    """Members have type, chain and traceback; the same one twice stays one object."""
    error = from_child(raise_group)
    zero, two, inner, again = error.exceptions
    assert type(zero) is ZeroDivisionError
    assert again is zero
    assert inner.exceptions[1] is zero
    assert type(two) is TwoArguments
    assert type(inner.exceptions[0].__cause__) is ZeroDivisionError
    assert inner.__notes__ == ["noted"]
    assert error.args == ("outer", [zero, two, inner, zero])
    assert "return 1 / 0" in printed(zero)


def test_group_of_other_arguments_arrives():
    """A group class with arguments of its own keeps them, with the members inside."""
    error = from_child(raise_my_group)
    assert (error.code, error.message) == (5, "code 5")
    assert error.args == (list(error.exceptions), 5)
    assert type(from_child(raise_base_group).exceptions[0]) is (KeyboardInterrupt)


def test_groups_are_cut_in_depth_and_width():
    """What is nested deeper than 20 levels is text, as is the 1,000th exception."""
    error, depth = from_child(raise_deep_group), 0
    while isinstance(error, BaseExceptionGroup):
        error, depth = error.exceptions[0], depth + 1
    assert depth == 20
    assert type(error) is RemoteError
    assert "nested deeper than 20 levels" in str(error)
    error = from_child(raise_wide_group)
    assert error.__notes__ == ["(linked exceptions left out: 2001)"]


def test_member_that_cannot_travel_is_text():
    """The other members and the group itself are as they were."""
    error = from_child(raise_generator_in_group)
    assert [type(member) for member in error.exceptions] == [ValueError, RemoteError]
    assert "its argument 0 can't be pickled" in str(error.exceptions[1])


def test_remote_error_tells_all():
    """Class, text and reason are in the message, the traceback is there and noted."""
    error = from_child(raise_lock)
    assert str(error) == (
        "tests.raisers.Plain: it is locked (only its text could be sent: its attribute "
        "'lock' can't be pickled: TypeError: cannot pickle '_thread.lock' object)"
    )
    (note,) = error.__notes__
    assert note.startswith("Original traceback (most recent call last):\n")
    assert note.endswith("in raise_lock\n    raise error")
    assert frame_names(error)[-1] == "raise_lock"
    assert isinstance(error, DaskkitError)


def test_module_that_the_caller_lacks_gives_text(tmp_path):
    """An exception of a module that can't be imported here arrives as its text."""
    (tmp_path / "only_there.py").write_text(
        "class Own(Exception):\n    pass\ndef fail():\n    raise Own('text')\n"
    )
    script = """
import sys, os
sys.path.insert(0, os.getcwd())
import only_there
from daskkit.run.exceptions import dump_error
try:
    only_there.fail()
except Exception as error:
    error.add_note("noted")
    raised = ExceptionGroup("group", [error])
(sys.stdout.buffer).write(dump_error(raised))
"""
    data = run_script(script, cwd=tmp_path)
    (tmp_path / "only_there.py").unlink()
    (error,) = load_error(data).exceptions
    assert str(error) == (
        "only_there.Own: text (only its text could be sent: ModuleNotFoundError: No "
        "module named 'only_there')"
    )
    assert error.__notes__[0] == "noted"
    assert "raise Own('text')" in error.__notes__[1]  # the file is gone here


@pytest.mark.parametrize("method", ["__reduce__", "__str__", "__getattribute__"])
def test_class_that_waits_for_ever_gives_text(method, monkeypatch):
    """One whose methods don't return arrives as text; the links around it as ever."""
    monkeypatch.setattr(exceptions, "_PATIENCE_S", 0.3)
    release = threading.Event()

    def wait(self, *args):
        release.wait(60)
        raise KeyError

    cls = type("Waits", (Exception,), {method: wait})
    error = caught(raise_chain)
    error.__cause__.__cause__ = cls("text")
    try:
        arrived = load_error(dump_error(error))
    finally:
        release.set()
    assert type(arrived) is Plain
    waiting = arrived.__cause__.__cause__
    assert type(waiting) is RemoteError
    assert "Waits" in str(waiting)
    assert "took too long" in str(waiting)


def test_endless_loop_is_ended(monkeypatch):
    """A method that loops in Python is stopped; no thread goes on for ever."""
    monkeypatch.setattr(exceptions, "_PATIENCE_S", 0.3)

    class LoopsError(Exception):
        def __reduce__(self):
            while True:
                pass

    arrived = load_error(dump_error(LoopsError("text")))
    assert type(arrived) is RemoteError
    assert "LoopsError: text" in str(arrived)


def test_no_thread_can_be_started(monkeypatch):
    """Where no thread can be had the work is done without."""

    def refuse(self):
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert type(load_error(dump_raised(raise_two_arguments))) is TwoArguments


def test_dump_leaves_the_exception_as_it_is():
    """Neither arguments, nor links, nor traceback of the original change."""
    error = caught(raise_chain)
    before = printed(error), vars(error).copy(), error.__traceback__
    dump_error(error)
    assert (printed(error), vars(error), error.__traceback__) == before


def test_memory_error_while_dumping_is_told(monkeypatch):
    """If the dump itself fails, class and reason arrive at least."""

    def fail(error):
        raise MemoryError

    monkeypatch.setattr(exceptions, "_survey", fail)
    assert str(load_error(dump_error(KeyError(5)))) == (
        "KeyError: <no text in time> (only its text could be sent: MemoryError:)"
    )


@pytest.mark.parametrize("data", [b"", b"abc", pickle.dumps(5), pickle.dumps([])])
def test_damaged_bytes_give_an_error(data):
    """Bytes that aren't an exception are told as such, not raised."""
    error = load_error(data)
    assert type(error) is RemoteError
    assert f"arrived damaged, as {len(data)} bytes" in str(error)


def test_truncated_bytes_give_an_error():
    """Any beginning of a dump loads as a RemoteError."""
    data = dump_raised(raise_chain)
    for n_bytes in range(0, len(data), 7):
        assert type(load_error(data[:n_bytes])) is RemoteError


def test_copy_that_breaks_here_only_gives_text(monkeypatch):
    """One that could be rebuilt there but raises SystemExit here is text."""
    data = dump_raised(raise_attributes)
    monkeypatch.setattr(
        Plain, "__setstate__", RaisesInState.__setstate__, raising=False
    )
    error = load_error(data)
    assert type(error) is RemoteError
    assert "SystemExit: 4" in str(error)


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (ArgumentError, ValueError),
        (ItemTimeoutError, TimeoutError),
        (RemoteError, RuntimeError),
        (WorkerDiedError, RuntimeError),
    ],
)
def test_errors_are_what_users_catch(cls, base):
    """Each is a DaskkitError and of Python's own type for the matter, and travels."""
    error = load_error(dump_error(cls("text")))
    assert type(error) is cls
    assert isinstance(error, base)
    assert isinstance(error, DaskkitError)
    assert str(error) == "text"
