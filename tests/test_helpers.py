"""Threads that execute items, and wait a minute for the next call."""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
import warnings

import pytest

import daskkit as dk
from daskkit.run import helpers


@pytest.fixture(autouse=True)
def _nobody_waits():
    helpers.dismiss()
    yield
    helpers.dismiss()
    assert helpers.count_idle() == 0


def _lend_and_join(work):
    loan = helpers.lend(work, "daskkit-test")
    loan.join(10.0)


def test_thread_is_used_again():
    """Two pieces of work one after the other, each under its own name."""
    seen = []
    for name in ("first", "second"):

        def work():
            thread = threading.current_thread()
            seen.append((thread.ident, thread.name, thread.daemon))

        helpers.lend(work, name).join(10.0)
    (ident, *_), (again, *_) = seen
    assert ident == again
    assert [entry[1:] for entry in seen] == [("first", True), ("second", True)]
    assert helpers.count_idle() == 1


def test_two_at_a_time_are_two_threads():
    """Nobody waits for a thread that works."""
    both = threading.Barrier(2, timeout=10.0)
    idents = []

    def work():
        idents.append(threading.get_ident())
        both.wait()

    for loan in [helpers.lend(work, "daskkit-test") for _ in range(2)]:
        loan.join(10.0)
    assert len(set(idents)) == 2
    assert helpers.count_idle() == 2


def test_context_is_a_new_one_each_time():
    """What an item sets is not seen by items of the next call."""
    variable = contextvars.ContextVar("variable", default="nothing")
    seen = []

    def work():
        seen.append(variable.get())
        variable.set("something")

    _lend_and_join(work)
    _lend_and_join(work)
    assert seen == ["nothing", "nothing"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_has_ended():
    """Its work is over, whatever has become of it."""

    def work():
        raise SystemExit

    _lend_and_join(work)
    assert helpers.count_idle() == 0
    done = []
    _lend_and_join(lambda: done.append(1))
    assert done == [1]


def test_thread_ends_when_nobody_wants_it(monkeypatch):
    """Within a moment, and work that comes just then is done all the same."""
    monkeypatch.setattr(helpers, "_IDLE_S", 0.01)
    done = []
    for i in range(50):
        _lend_and_join(lambda i=i: done.append(i))
        time.sleep(0.0095 + i % 5 * 0.0003)
    assert done == list(range(50))
    deadline = time.monotonic() + 10.0
    while helpers.count_idle() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert helpers.count_idle() == 0
    assert not [t for t in threading.enumerate() if t.name == helpers.NAME]


def test_call_lets_go_of_its_items():
    """A thread that waits holds nothing of the call before."""
    import gc
    import weakref

    class Item:
        pass

    item = Item()
    held = weakref.ref(item)
    dk.map(lambda one: None, [item] * 4, where="threads")
    assert helpers.count_idle() > 0
    del item
    gc.collect()
    assert held() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_fork_finds_no_threads():
    """A process that the user forks has none, and can use helpers of its own."""
    _lend_and_join(lambda: None)
    assert helpers.count_idle() == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the threads of others
        child = os.fork()
    if child == 0:
        done = []
        _lend_and_join(lambda: done.append(1))
        os._exit(0 if done == [1] else 1)
    assert helpers.count_idle() == 0
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="forks are made on Linux only")
def test_helpers_are_no_obstacle_to_forks(tmp_path):
    """A call that wants children forks them, though threads wait."""
    from tests.faults import Program

    code = """
    from daskkit.run import forks, helpers
    dk.map(busy, range(8), where="threads")
    say(helpers.count_idle() > 0, forks.can_fork())
    say(dk.map(busy, range(300)) == list(range(300)), helpers.count_idle())
    """
    with Program(code, tmp_path) as program:
        assert program.await_end(60.0).split("\n") == ["True True", "True 0"]
        program.check_nothing_left()
