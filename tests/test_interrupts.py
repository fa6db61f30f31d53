"""Ctrl-C that waits for what may not be left half done."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from daskkit.run.interrupts import (
    block_interrupt,
    deferred_interrupt,
    ignore_interrupt,
)


def test_waits_for_the_end_of_the_context():
    """All of the body is done; then Python's own handler is back, and has its turn."""
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_one_does_not_wait():
    """Whoever presses again gets out, whatever is left half done."""
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")


def test_contexts_within_one_another():
    """The inner one hands on to the outer one, which hands on to Python."""
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        with deferred_interrupt():
            signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done == [1]


def test_nothing_happens_without_one():
    """The body's own error goes through, and the handler is the one from before."""
    with pytest.raises(ZeroDivisionError), deferred_interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_are_left_alone():
    """Only the main thread has handlers."""
    errors = []

    def enter():
        try:
            with deferred_interrupt():
                ignore_interrupt()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not errors
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="has no signal masks")
def test_children_are_spared_from_their_first_moment():
    """A child of a thread that blocks SIGINT goes on when it gets one."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    block_interrupt()
    try:
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=False
        )
    finally:
        block_interrupt(signal.SIG_UNBLOCK)
    assert child.stdout == b"alive\n"
