"""Objects that end a process while they are pickled or rebuilt there."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import sys
import time

import dask.config
import pytest

import daskkit as dk

pytestmark = [
    pytest.mark.slow,
    # distributed says that a worker has died, and what it was doing.
    pytest.mark.filterwarnings("ignore"),
]


class CrashesInWorker:
    """Ends the process that rebuilds it, unless that made it; its pickle is fine."""

    def __reduce__(self):
        return _end_unless, (os.getpid(),)


class CrashesWhenSent:
    """Ends the process that pickles it."""

    def __reduce__(self):
        os._exit(9)


class CrashesWhenRebuilt:
    """Ends whatever process rebuilds it."""

    def __init__(self, x):
        self.x = x

    def __setstate__(self, state):
        ctypes.string_at(0)


class ExitsWhenRebuilt:
    """Does what ends a program, but is only an exception."""

    def __setstate__(self, state):
        sys.exit("no")

    def __getstate__(self):
        return {"a": 1}


class HangsWhenRebuilt:
    """Is never there."""

    def __setstate__(self, state):
        time.sleep(600)

    def __getstate__(self):
        return {"a": 1}


@dataclasses.dataclass(frozen=True)
class Holder:
    """Has nothing to say of how it is rebuilt; what it holds has."""

    held: object


def _end_unless(pid):
    if os.getpid() != pid:
        os._exit(9)
    return "rebuilt"


def _itself(x):
    return x


def _crash_at_37(x):
    return CrashesWhenSent() if x == 37 else x


def _hold_at_37(cls, x):
    return Holder(
        {"deep": [cls(x) if cls is CrashesWhenRebuilt else cls()]} if x == 37 else x
    )


def _combine(results):
    if 37 in results:
        os._exit(9)
    return [
        one for result in results for one in ([result], result)[type(result) is list]
    ]


def _numbers(bad=None):
    return [bad if bad is not None and x == 37 else x for x in range(100)]


CASES = {
    "argument": lambda: dk.map(
        _itself, _numbers(CrashesInWorker()), where="cluster", on_error="collect"
    ),
    "argument, in one batch": lambda: dk.map(
        _itself,
        _numbers(CrashesInWorker()),
        where="cluster",
        on_error="collect",
        batch_size=100,
    ),
    "result": lambda: dk.map(
        _crash_at_37, _numbers(), where="cluster", on_error="collect", batch_size=50
    ),
}


DOING = {
    "argument": "took in",
    "argument, in one batch": "took in",
    "result": "packed the result of",
}


def test_object_that_ends_a_worker_is_named():
    """Not before each worker has died for ever: its item is found, the others are done."""
    with dk.cluster(n_workers=2) as client:
        for name, call in CASES.items():
            results = call()
            (failure,) = results.failures
            assert failure.index == 37, name
            assert isinstance(failure.error, dk.WorkerDiedError), name
            assert f"{DOING[name]} item 37" in str(failure.error), name
            assert "exit code 9" in str(failure.error), name
            assert [one for one in results if one is not failure] == [
                x for x in range(100) if x != 37
            ], name
        assert dk.map(abs, range(-5, 0), where="cluster") == [5, 4, 3, 2, 1]
        assert len(client.nthreads()) >= 1


def test_result_that_would_end_the_caller():
    """It ends a worker that tries it first: item, direction and type are named."""
    func = functools.partial(_hold_at_37, CrashesWhenRebuilt)
    with dk.cluster(n_workers=2):
        results = dk.map(func, range(60), where="cluster", on_error="collect")
        (failure,) = results.failures
        assert failure.index == 37
        assert isinstance(failure.error, dk.WorkerDiedError)
        text = str(failure.error)
        assert "tried to rebuild the result of item 37 (value 37)" in text
        assert "with tests.test_faults_objects.CrashesWhenRebuilt" in text
        assert "SIGSEGV" in text
        good = [one.held for one in results if one is not failure]
        assert good == [x for x in range(60) if x != 37]


def test_result_whose_rebuilding_exits_or_hangs():
    """An error that says so; the caller goes on."""
    with dk.cluster(n_workers=2):
        func = functools.partial(_hold_at_37, ExitsWhenRebuilt)
        with pytest.raises(dk.DaskkitError, match="result of item 37 can't be rebuilt"):
            dk.map(func, range(60), where="cluster")
        func = functools.partial(_hold_at_37, HangsWhenRebuilt)
        with pytest.raises(dk.ItemTimeoutError, match="rebuild the result of item 37"):
            dk.map(func, range(60), where="cluster", timeout=0.5)
        assert dk.map(abs, range(-3, 0), where="cluster") == [3, 2, 1]


def test_combine_that_ends_a_worker():
    """It ends in an error, and the cluster can be used."""
    with dk.cluster(n_workers=2):
        with pytest.raises(dk.WorkerDiedError, match="item 37"):
            dk.map_reduce(_itself, range(100), _combine, where="cluster", batch_size=50)
        assert dk.map(abs, range(-3, 0), where="cluster") == [3, 2, 1]


class RaisesInWorker:
    """Can't be rebuilt; its pickle is fine."""

    def __reduce__(self):
        return _refuse, ("not here",)


class ExitsInWorker:
    """Ends a program when it is rebuilt, but is only an exception."""

    def __reduce__(self):
        return sys.exit, ("not here",)


def _refuse(why):
    raise ValueError(why)


def _raise_at_37(error, x):
    if x == 37:
        raise error
    return x


LAZY = {
    "an argument that crashes": (
        lambda: dk.lazy.map(_itself, _numbers(CrashesInWorker())),
        dk.WorkerDiedError,
        "died while it took in its items, from [0-9]+ on, .*: exit code 9",
    ),
    "an argument that raises": (
        lambda: dk.lazy.map(_itself, _numbers(RaisesInWorker())),
        dk.DaskkitError,
        "the items of a task, from [0-9]+ on, .* can't be rebuilt .* not here",
    ),
    "an argument that exits": (
        lambda: dk.lazy.map(_itself, _numbers(ExitsInWorker())),
        dk.DaskkitError,
        "can't be rebuilt where it is executed: SystemExit: not here",
    ),
    "Ctrl-C that an item makes up": (
        lambda: dk.lazy.map(
            functools.partial(_raise_at_37, KeyboardInterrupt()), range(100)
        ),
        dk.RemoteError,
        "^KeyboardInterrupt .only its text was sent: an exception that ends a process",
    ),
    "a long message": (
        lambda: dk.lazy.map(
            functools.partial(_raise_at_37, ValueError("x" * 20_000_000)), range(100)
        ),
        dk.RemoteError,
        r"^ValueError: x+\.\.\. \(only its text was sent: 20,000,000 characters",
    ),
    "a combine that crashes": (
        lambda: dk.lazy.map_reduce(_itself, range(100), _combine),
        dk.WorkerDiedError,
        "combined the results of items [0-9]+ to [0-9]+, .* exit code 9",
    ),
    "a combine of a bag that crashes": (
        lambda: dk.lazy.tree_reduce(dk.lazy.map(_itself, range(100)), _combine),
        dk.WorkerDiedError,
        "combined the results of several parts, .* exit code 9",
    ),
}


def test_lazy_graph_ends_in_an_error_that_says_why():
    """Within seconds, and the cluster can be used."""
    with dk.cluster(n_workers=2):
        for name, (make, expected, pattern) in LAZY.items():
            began = time.monotonic()
            with pytest.raises(expected, match=pattern) as caught:
                make().compute()
            assert time.monotonic() - began < 20, name
            if expected is dk.RemoteError:
                assert "raised by item 37" in caught.value.__notes__[0], name
        assert dk.lazy.map(abs, range(-3, 0)).compute() == [3, 2, 1]


def test_worker_that_dies_often_comes_back():
    """A nanny is not sent away because its worker was just starting again."""
    settings = {"distributed.deploy.lost-worker-timeout": "50ms"}
    with dask.config.set(settings), dk.cluster(n_workers=2) as client:
        for _ in range(3):
            for result in client.nthreads():
                future = client.submit(os._exit, 9, workers=[result], retries=0)
                del future
            time.sleep(0.4)
        client.wait_for_workers(2, timeout=60)
        assert len(client.cluster.workers) == 2
