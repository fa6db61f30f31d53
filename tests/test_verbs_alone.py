"""The verbs in programs of their own: without a cluster, a guard or a main module."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from daskkit.run import children
from daskkit.run.board import make_file

# Takes a millisecond of pure Python for each item.
_FUNC = """
import daskkit as dk, os, sys, threading, time
def func(x):
    total = 0
    for i in range(15_000):
        total += i
    return x
"""


def _run(code, *, how="script", tmp_path=None, timeout=100, **options):
    """Return what a program prints; it has to end well, and quietly."""
    code = _FUNC + textwrap.dedent(code)
    if how == "script":
        path = tmp_path / "program.py"
        path.write_text(code, encoding="utf-8")
        command, given = [sys.executable, str(path)], None
    elif how == "-c":
        command, given = [sys.executable, "-c", code], None
    else:
        command, given = [sys.executable], code
    done = subprocess.run(
        command,
        input=given,
        check=False,  # its error is shown below
        capture_output=True,
        text=True,
        timeout=timeout,
        # Otherwise each piece of a line is written by itself.
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        **options,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["script", "-c", "stdin"])
def test_works_without_a_guard(how, tmp_path):
    """Children, and then a cluster, execute a function of the main module."""
    out = _run(
        """
        here = os.getpid()
        pids = dk.map(lambda x: (func(x), os.getpid())[1], range(1_500))
        print(len(set(pids)) > 1, pids[0] == here)
        pids = set(dk.map(lambda x: (func(x), os.getpid())[1], range(200), where="cluster"))
        print(here not in pids, len(pids) >= 1)
        """,
        how=how,
        tmp_path=tmp_path,
    )
    assert out == "True True\nTrue True"


@pytest.mark.slow
def test_fork_knows_function_and_items(tmp_path):
    """What can't be pickled is no obstacle for a fork; each item is executed once."""
    out = _run(
        """
        lock = threading.Lock()
        def locked(x):
            with lock:
                func(x)
            with open(f"log-{os.getpid()}", "a") as file:
                file.write(f"{x} ")
            return x
        print(dk.map(locked, range(2_000)) == list(range(2_000)))
        done = " ".join(open(p).read() for p in os.listdir() if p.startswith("log-"))
        print(sorted(map(int, done.split())) == list(range(2_000)))
        print(len([p for p in os.listdir() if p.startswith("log-")]) > 1)
        """,
        tmp_path=tmp_path,
        cwd=tmp_path,
    )
    assert out == "True\nTrue\nTrue"


@pytest.mark.slow
def test_thread_that_is_about_to_end_hinders_no_fork(tmp_path):
    """It may have to wait for a core; any other thread does hinder it."""
    out = _run(
        """
        import _thread
        from daskkit.run.forks import can_fork, note_ending
        def end():
            note_ending()
            time.sleep(0.02)
        _thread.start_new_thread(end, ())
        time.sleep(0.005)
        print(can_fork())
        _thread.start_new_thread(time.sleep, (30,))
        print(can_fork())
        """,
        tmp_path=tmp_path,
        cwd=tmp_path,
    )
    assert out == "True\nFalse"


@pytest.mark.slow
def test_fork_is_waited_for_where_nothing_else_helps(tmp_path):
    """What can't be pickled is for forks only, which an item of the caller's holds up."""
    out = _run(
        """
        lock = threading.Lock()
        def locked(x):
            with lock:
                for _ in range(300):
                    func(x)
            return os.getpid()
        print(len(set(dk.map(locked, range(12)))) > 1)
        """,
        tmp_path=tmp_path,
    )
    assert out == "True"


@pytest.mark.slow
def test_fresh_interpreters_where_a_fork_is_not_safe(tmp_path):
    """With another thread about, children are started anew, and know what they need."""
    out = _run(
        """
        from daskkit.run.forks import can_fork
        thread = threading.Thread(target=time.sleep, args=(3,))
        thread.start()
        print(can_fork())
        pids = dk.map(lambda x: (func(x), os.getpid())[1], range(4_000))
        print(len(set(pids)) > 1)
        thread.join()
        """,
        tmp_path=tmp_path,
    )
    assert out == "False\nTrue"


@pytest.mark.slow
def test_children_have_random_numbers_of_their_own(tmp_path):
    """Global generators of forks don't repeat one another."""
    out = _run(
        """
        import random, numpy as np
        def draw(x):
            func(x)
            return random.random(), float(np.random.random())
        pairs = dk.map(draw, range(1_500))
        print(len({a for a, _ in pairs}), len({b for _, b in pairs}))
        """,
        tmp_path=tmp_path,
    )
    assert out == "1500 1500"


@pytest.mark.slow
def test_output_of_children_arrives_once(tmp_path):
    """Neither lost with them nor printed twice."""
    out = _run(
        """
        print("before")
        def loud(x):
            func(x)
            print(f"item {x}")
            return x
        dk.map(loud, range(1_000))
        """,
        tmp_path=tmp_path,
    )
    # What comes from a child says so.
    lines = [line.rpartition("] ")[2] for line in out.splitlines()]
    assert lines.count("before") == 1
    assert sorted(lines[1:]) == sorted(f"item {x}" for x in range(1_000))


@pytest.mark.slow
def test_item_that_kills_children(tmp_path):
    """It is named with its cause, and the others are done; so is one that hangs."""
    out = _run(
        """
        here = os.getpid()
        def die(x):
            func(x)
            if x == 700 and os.getpid() != here:
                os._exit(7)
            return x
        results = dk.map(die, range(2_000), on_error="collect", timeout=60)
        print(results.failures[0])
        results[700] = 700
        print(results == list(range(2_000)))
        try:
            dk.map(lambda x: time.sleep(100) if x == 3 else x, range(9), timeout=1)
        except dk.ItemTimeoutError as error:
            print(error)
        """,
        tmp_path=tmp_path,
    )
    died, rest, hung = out.splitlines()
    assert "item 700 (value 700)" in died
    assert "exit code 7" in died
    assert rest == "True"
    assert hung.startswith("item 3 (value 3) took longer than its time-out of 1.0 s")


@pytest.mark.slow
def test_within_an_event_loop_and_from_threads(tmp_path):
    """With children and with a cluster."""
    out = _run(
        """
        import asyncio
        async def main(where):
            return dk.map(func, range(600), where=where) == list(range(600))
        results = []
        def call():
            results.append(dk.map(func, range(300)) == list(range(300)))
        def together():
            threads = [threading.Thread(target=call) for _ in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        together()
        print(asyncio.run(main("auto")), asyncio.run(main("cluster")))
        with dk.cluster(n_workers=2):
            together()
            print(asyncio.run(main("auto")))
        print(results)
        """,
        tmp_path=tmp_path,
    )
    assert out == f"True True\nTrue\n{[True] * 8}"


def test_child_that_nobody_needs_ends_quietly():
    """One that was started just before its caller was interrupted says nothing."""
    mine, other = socket.socketpair()
    fds = other.fileno(), make_file()
    mine.close()
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", children._CHILD]
        + [str(number) for number in (*fds, os.getpid())],
        input=repr(sys.path) + "\n",
        check=False,  # its output is looked at
        capture_output=True,
        text=True,
        timeout=60,
        pass_fds=fds,
    )
    other.close()
    os.close(fds[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_long_work_brings_a_cluster_that_stays(tmp_path):
    """It takes over from children while they work, and serves the next call."""
    out = _run(
        """
        from daskkit.run.session import session
        session.start_s = 0.02  # so that two seconds are long work
        def where(x):
            func(x)
            return os.getpid()
        workers, pids = set(), []
        def items():
            # Until the cluster has taken over, for which it has a minute.
            end = time.monotonic() + 60
            for x in range(1_000_000):
                if workers & set(pids[-1000:]) or time.monotonic() > end:
                    break
                yield x
        for pid in dk.imap(where, items()):
            pids.append(pid)
            if not workers and session.client is not None:
                client = session.client
                workers.update(client.run(os.getpid).values())
        print(len(pids) < 1_000_000, len(set(pids) & workers) > 0, len(set(pids) - workers) > 1)
        again = set(dk.map(where, range(200), where="cluster"))
        print(again <= workers)
        session.close()
        print(session.client, dk.map(func, range(5), where="cluster"))
        """,
        tmp_path=tmp_path,
    )
    assert out == "True True True\nTrue\nNone [0, 1, 2, 3, 4]"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["auto", "cluster"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_caller_that_is_ended(tmp_path, where, number):
    """Ctrl-C is a KeyboardInterrupt; and no process outlives its caller."""
    path = tmp_path / "program.py"
    code = f"""
print("ready", flush=True)
try:
    for _ in range(100):
        dk.map(func, range(20_000), where={where!r})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    path.write_text(_FUNC + code, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout.readline() == "ready\n"
        caller = psutil.Process(process.pid)
        deadline = time.monotonic() + 60
        # Its resource tracker and its warden, too.
        wanted = 2 if where == "auto" else 4
        while len(caller.children(recursive=True)) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        children = caller.children(recursive=True)
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert out == "interrupted\n"
        assert err == ""
        assert process.returncode == 0
    gone, alive = psutil.wait_procs(children, timeout=15)
    assert not alive, [process.cmdline() for process in alive]
    assert gone
