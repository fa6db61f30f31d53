"""What items say reaches the caller's handlers: all of it, whole, once."""

# ruff: noqa: T201 - to print is what is tested

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest

import daskkit as dk
from daskkit.run import workers
from daskkit.run.desk import speaking, tidy
from daskkit.run.echo import Echo
from daskkit.run.rules import (
    Rules,
    describe_filters,
    dump_rules,
    find_action,
    resolve_filters,
)
from daskkit.run.voice import MOST_BYTES, MOST_LINES, Limit, Line, Said, Voice

N_TASKS = 50
FILLING = "x" * 3_000


class OddWarning(UserWarning):
    """A warning that isn't made of a text alone."""

    def __init__(self, number, unit):
        super().__init__(f"odd {number} {unit}")


def speak(x):
    logging.getLogger("voice.test").info("logged %d %s", x, FILLING)
    warnings.warn(f"warned {x} {FILLING}", RuntimeWarning, stacklevel=1)
    print("printed", x, FILLING)
    print("complained", x, FILLING, file=sys.stderr)
    return x


def whole(kind):
    """Return what speaks each line of a kind, with its item."""
    return Counter(f"{kind} {x} {FILLING}" for x in range(N_TASKS))


def without_source(line):
    """Return a printed line without worker and item, which have to be there."""
    found = re.fullmatch(r"\[item (\d+), worker [^]]*\] (.*)", line)
    assert found, line[:100]
    item, text = found.groups()
    assert text.split()[1] == item
    return text


@pytest.mark.parametrize("is_far", [False, True])
def test_everything_arrives_whole_and_once(
    shared_client, monkeypatch, caplog, capsys, is_far
):
    """50 tasks log, warn and print lines of 3 KB: the caller's handlers get each once.

    So they do if the workers can't be reached by a socket.
    """
    if is_far:
        monkeypatch.setattr(workers, "own_hosts", set)
        monkeypatch.setattr(workers, "take_parked", lambda client: [])
    caplog.set_level(logging.INFO, "voice.test")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = dk.map(speak, range(N_TASKS), where="cluster", batch_size=3)
    assert done == list(range(N_TASKS))
    out, err = capsys.readouterr()
    assert Counter(map(without_source, out.splitlines())) == whole("printed")
    printed = [line for line in err.splitlines() if "complained" in line]
    assert Counter(map(without_source, printed)) == whole("complained")
    records = [one for one in caplog.records if one.name == "voice.test"]
    assert {one.levelname for one in records} == {"INFO"}
    texts = [one.getMessage().rpartition(" [")[0] for one in records]
    assert Counter(texts) == whole("logged")
    assert [f"logged {one.daskkit_item} {FILLING}" for one in records] == texts
    assert len({one.daskkit_worker for one in records}) >= 1
    assert os.getpid() not in {one.process for one in records}
    texts = [str(one.message).rpartition(" [")[0] for one in caught]
    assert Counter(texts) == whole("warned")
    assert {(one.category, one.filename) for one in caught} == {
        (RuntimeWarning, __file__)
    }


@pytest.mark.slow
@pytest.mark.parametrize("is_forked", [True, False])
def test_child_processes_speak_through_the_caller(tmp_path, is_forked):
    """A file that the caller's logging writes has each record once, as has its output."""
    code = textwrap.dedent(
        f"""
        import logging, os, sys, threading, time, warnings
        import daskkit as dk
        here = os.getpid()
        logging.basicConfig(filename="log", level=logging.DEBUG, format="%(message)s")
        logging.getLogger("asyncio").propagate = False
        apart = logging.getLogger("apart")
        apart.propagate = False
        apart.addHandler(logging.FileHandler("apart"))
        def speak(x):
            time.sleep(0.01)
            logging.debug("logged %d", x)
            apart.warning("apart %d", x)
            print("printed", x)
            sys.stderr.write(f"complained {{x}}\\n")
            warnings.warn(f"warned {{x}}")
            thread = threading.Thread(target=print, args=["threaded", x])
            thread.start(), thread.join()
            return os.getpid()
        def main():
            threads = threading.active_count() + {int(not is_forked)}
            if threads > 1:  # one more, and there is no fork
                stop = threading.Event()
                threading.Thread(target=stop.wait).start()
            pids = dk.map(speak, range({N_TASKS}), timeout=60)
            if threads > 1:
                stop.set()
            assert here not in pids
        main()
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        check=False,  # its error is shown below
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr

    def numbers(text, word):
        return sorted(
            map(int, re.findall(rf"\b{word} (\d+)(?: \[item|$)", text, re.MULTILINE))
        )

    everyone = list(range(N_TASKS))
    assert numbers(done.stdout, "printed") == everyone
    assert numbers(done.stdout, "threaded") == everyone
    assert numbers(done.stderr, "complained") == everyone
    assert numbers(done.stderr, "warned") == everyone
    assert numbers((tmp_path / "log").read_text(), "logged") == everyone
    assert numbers((tmp_path / "apart").read_text(), "apart") == everyone


class Loud:
    """Says hello and returns something that every verb understands."""

    def __init__(self, result):
        self.result = result

    def __call__(self, *args, **kwargs):
        print("hello")
        return self.result


@pytest.mark.parametrize(
    "run",
    [
        lambda **kw: list(dk.imap(Loud(1), range(4), **kw)),
        lambda **kw: list(dk.imap_unordered(Loud(1), range(4), **kw)),
        lambda **kw: dk.starmap(Loud(1), [(1, 2)] * 4, **kw),
        lambda **kw: dk.map_reduce(Loud(1), range(4), sum, **kw),
        lambda **kw: dk.map_blocks(Loud(np.ones(2)), np.ones(8), blocks=4, **kw),
        lambda **kw: dk.monte_carlo(Loud([1.0]), 4, seed=1, block_size=1, **kw),
        lambda **kw: dk.apply(pd.Series([1, 2, 3, 4]), Loud(1), **kw),
        lambda **kw: dk.apply(pd.DataFrame({"a": range(4)}), Loud(1), axis=1, **kw),
        lambda **kw: dk.plan(Loud(1), range(4), **kw).run(),
    ],
)
def test_items_of_every_verb_speak(shared_client, capsys, run):
    """Each line names item and worker, whichever verb it was."""
    run(where="cluster")
    lines = capsys.readouterr().out.splitlines()
    # pandas may call a function once more to see what it returns.
    assert len(lines) >= 3
    assert all(re.fullmatch(r"\[item \d, worker .*\] hello", one) for one in lines)


def test_blocks_are_numbered_as_they_lie_in_the_array(shared_client, capsys):
    """Also the first one, which is executed before the others."""
    dk.map_blocks(Loud(np.ones(2)), np.ones(8), blocks=4, where="cluster")
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line[6] for line in lines) == list("0123")


def test_threads_of_an_item_speak_for_it(shared_client, capsys, caplog):
    """A worker that serves one lane takes what its item's threads say for the item's."""

    def speak(x):
        def run():
            print("threaded", x)
            logging.getLogger("voice").warning("logged %s", x)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    dk.map(speak, range(4), where="cluster")
    lines = capsys.readouterr().out.splitlines()
    wanted = sorted(f"threaded {x}" for x in range(4) for _ in range(2))
    assert sorted(map(without_source, lines)) == wanted
    logged = [one for one in caplog.records if one.name == "voice"]
    assert Counter(one.daskkit_item for one in logged) == dict.fromkeys(range(4), 2)


def test_lazy_verbs_leave_output_where_dask_leaves_it(shared_client, capsys):
    """A graph is Dask's: nothing in a worker or in the caller is changed for it."""
    dk.lazy.map(Loud(1), range(4)).compute()
    assert "hello" not in capsys.readouterr().out


def test_what_an_item_catches_stays_there(shared_client, capsys):
    """Redirected output and recorded warnings are the item's own business."""

    def catch(x):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print("caught")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.warn("odd", stacklevel=1)
        return out.getvalue(), [str(one.message) for one in caught]

    assert dk.map(catch, [0], where="cluster") == [("caught\n", ["odd"])]
    assert capsys.readouterr().out == ""


def test_flood_is_limited_and_counted(shared_client, capsys, caplog):
    """Beyond the limit lines are left out; what is shown and counted is all."""

    def flood(x):
        for i in range(3 * MOST_LINES):
            print(x, i)

    dk.map(flood, range(2), where="cluster")
    shown = capsys.readouterr().out.splitlines()
    report = caplog.records[-1].getMessage()
    found = re.fullmatch(
        r"([\d,]+) lines \(.*\) of items of flood were left out: .*", report
    )
    n_dropped = int(found[1].replace(",", ""))
    assert len(shown) + n_dropped == 2 * 3 * MOST_LINES
    assert n_dropped > 0
    assert sum("left out" in one.getMessage() for one in caplog.records) == 1


def test_worker_that_dies_has_said_all_before(shared_client, capsys):
    """Lines that were printed just before the end of the process are there."""

    def die(x):
        for i in range(5):
            print(f"{x} line {i}")
        os._exit(1)

    with dk.cluster(n_workers=1), pytest.raises(dk.WorkerDiedError):
        dk.map(die, [0], where="cluster")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10  # it was tried twice
    assert [line.rpartition("] ")[2] for line in lines[:5]] == [
        f"0 line {i}" for i in range(5)
    ]


def test_long_batch_does_not_hold_lines_back(shared_client, capsys):
    """A line is there while its item still runs."""

    def wait(x):
        print("begun")
        time.sleep(1.5)
        return time.time()

    heard = []
    thread = threading.Thread(
        target=lambda: heard.extend(dk.map(wait, [0], where="cluster"))
    )
    thread.start()
    deadline = time.monotonic() + 30
    while "begun" not in capsys.readouterr().out:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    now = time.time()
    thread.join()
    assert now < heard[0]


def test_level_of_the_caller_decides(shared_client, caplog):
    """What the caller's loggers drop isn't sent; afterwards workers are as before."""

    def log(x):
        logging.getLogger("voice.quiet").info("quiet")
        logging.getLogger("voice.loud").debug("loud")
        return logging.getLogger("voice.loud").level

    logging.getLogger("voice.loud").setLevel(logging.DEBUG)
    try:
        levels = dk.map(log, range(4), where="cluster")
    finally:
        logging.getLogger("voice.loud").setLevel(logging.NOTSET)
    assert levels == [logging.DEBUG] * 4
    names = [one.name for one in caplog.records if one.name.startswith("voice")]
    assert names == ["voice.loud"] * 4
    # The lanes end with the call, a moment after it.
    deadline = time.monotonic() + 30
    while set(shared_client.run(look_at_surroundings).values()) != {(0, 0, True)}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def look_at_surroundings():
    """Return what a lane would have changed in a worker."""
    return (
        logging.getLogger("voice.loud").level,
        len(
            [one for one in logging.getLogger().handlers if "daskkit" in str(type(one))]
        ),
        "daskkit" not in type(sys.stdout).__module__,
    )


def test_traceback_of_a_record_arrives(shared_client, caplog):
    """A record has its traceback as text, and its attributes, whatever they are."""

    def log(x):
        try:
            1 / x
        except ZeroDivisionError:
            extra = {"tag": "known", "lock": threading.Lock()}
            logging.getLogger("voice").exception("failed with %s", x, extra=extra)

    dk.map(log, [0], where="cluster")
    (record,) = [one for one in caplog.records if one.name == "voice"]
    assert record.tag == "known"
    assert "lock" in record.lock
    assert "ZeroDivisionError: division by zero" in caplog.text
    assert record.getMessage().startswith("failed with 0 [item 0, ")


def warn(x):
    warnings.warn(f"deprecated {x}", DeprecationWarning, stacklevel=1)
    return x


@pytest.mark.parametrize("action", ["error", "ignore", "always", "default"])
def test_filters_of_the_caller_hold_in_workers(shared_client, action):
    """A warning raises in its item, is dropped, or shown, as in the plain loop."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter(action)
        results = dk.map(warn, [1, 1, 1], where="cluster", on_error="collect")
    if action == "error":
        errors = [failure.error for failure in results.failures]
        assert [type(one) for one in errors] == [DeprecationWarning] * 3
        return
    assert results == [1, 1, 1]
    wanted = {"ignore": 0, "always": 3, "default": 1}[action]
    assert len(caught) == wanted
    assert {one.category for one in caught} <= {DeprecationWarning}


def test_warnings_that_are_not_made_of_a_text_are_shown(shared_client):
    """A class that takes something else, or is unknown here, is shown as its base."""

    def odd(x):
        warnings.warn(OddWarning(x, "m"), stacklevel=1)

    with pytest.warns(UserWarning, match=r"odd 3 m \[item 0, worker"):
        dk.map(odd, [3], where="cluster")


def test_lines_without_an_end_are_sent_with_the_batch(shared_client, capsys):
    """Pieces make a line; what overwrites itself is shown as it is in the end."""

    def piecemeal(x):
        for piece in ("a", "b\rc", "d"):
            print(piece, end="")

    dk.map(piecemeal, [0], where="cluster")
    assert capsys.readouterr().out.endswith("] cd\n")


def test_progress_bar_and_lines_stay_apart(shared_client, capsys):
    """Lines are lines of their own although a bar is shown meanwhile."""

    def speak(x):
        print("line", x)

    dk.map(speak, range(8), where="cluster", progress=True)
    out, err = capsys.readouterr()
    assert sorted(line[-1] for line in out.splitlines()) == list("01234567")
    assert "8/8" in err


# Parts.


def test_voice_knows_the_item_and_strangers_have_none():
    """The item is counted by the results; a thread that was there is left alone."""
    begin = threading.Event()

    def run():
        begin.wait()
        print("elsewhere")

    stranger = threading.Thread(target=run)
    stranger.start()
    heard, rules = [], pickle.dumps(Rules(0, {"": logging.root.level}, 0, ()))
    results = []
    before = sys.stdout
    with speaking(heard.append, rules, is_child=False) as voice:
        voice.place(10, results)
        print("one")
        results += [None, None]
        print("two")
        begin.set()
        stranger.join()
        thread = threading.Thread(target=print, args=["in a thread"])
        thread.start()
        thread.join()
        assert sys.stdout.encoding == before.encoding
        with pytest.raises(TypeError, match="must be str, not bytes"):
            sys.stdout.write(b"bytes")
        sys.stdout.writelines(["three\n"])
    assert sys.stdout is before
    lines = [line for said in heard for line in said.lines]
    assert [(one.item, one.content) for one in lines] == [
        (10, "one"),
        (12, "two"),
        (12, "in a thread"),
        (12, "three"),
    ]


def test_gone_caller_is_no_error_of_an_item():
    """Who prints when nobody listens any more goes on."""

    def send(said):
        raise BrokenPipeError

    voice = Voice(send)
    voice.write("stdout", "line\n")
    voice.flush()


def test_limit_counts_bytes_and_begins_anew():
    """Long lines count by their length, one alone passes; a second later all is new."""
    now = [0.0]
    limit = Limit(clock=lambda: now[0])
    assert limit.admits(2 * MOST_BYTES)
    assert not limit.admits(1)
    now[0] = 1.0
    assert limit.admits(MOST_BYTES - 1)
    assert limit.admits(1)
    assert not limit.admits(1)
    assert limit.take_dropped() == (2, 2)


@pytest.mark.parametrize(
    ("filters", "action"),
    [
        ([("ignore", re.compile("od", re.IGNORECASE), UserWarning, None, 0)], "ignore"),
        ([("ignore", re.compile("x"), UserWarning, None, 0)], "default"),
        ([("error", None, UserWarning, re.compile("mod"), 0)], "error"),
        ([("error", None, UserWarning, "other", 0)], "default"),
        ([("error", None, UserWarning, "module", 7)], "error"),
        ([("error", None, UserWarning, None, 8)], "default"),
        ([("once", None, DeprecationWarning, None, 0)], "default"),
        (
            [("once", None, Warning, None, 0), ("error", None, Warning, None, 0)],
            "once",
        ),
    ],
)
def test_filters_mean_the_same_after_the_way(filters, action):
    """As plain data and back they decide as Python does."""
    rules = Rules(0, {}, 0, describe_filters(filters))
    for known in (filters, resolve_filters(rules)):
        assert find_action(known, "odd", UserWarning, "module", 7) == action


def test_unknown_category_is_left_out():
    """A filter for a class that nobody has imported here can't matter."""
    rules = Rules(0, {}, 0, (("error", None, "nowhere:Odd", None, 0),))
    assert resolve_filters(rules) == []


def test_echo_reports_what_lanes_have_dropped(caplog):
    """Counts of several lanes are summed, and told once."""
    echo = Echo("squares")
    for where in ("one", "two"):
        echo.hear(Said([], 3, 30), where)
    echo.close()
    echo.close()
    (record,) = caplog.records
    assert record.getMessage().startswith("6 lines (60 B) of items of squares")
    assert Line("stdout", None, "x").item is None


def test_what_stays_for_the_next_call_is_looked_after():
    """Between two calls nothing is exchanged anew, unless an item has changed it."""
    rules = dump_rules()
    assert dump_rules() is rules
    before = sys.stdout, warnings.showwarning, list(logging.getLogger().handlers)
    heard = []

    def call():
        with speaking(heard.append, rules, is_child=False) as voice:
            print("said")
            voice.stays = True

    call()
    ours = sys.stdout
    assert ours is not before[0]
    call()
    assert sys.stdout is ours
    sys.stdout = io.StringIO()
    call()
    assert len(heard) == 3
    assert sys.stdout is not ours
    tidy()
    assert isinstance(sys.stdout, io.StringIO)
    sys.stdout = before[0]
    assert (warnings.showwarning, logging.getLogger().handlers) == before[1:]
