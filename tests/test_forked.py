"""Workers are forks of one process, and like fresh interpreters in all that counts."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest

import daskkit as dk
from daskkit.run import forked, forkserver

_OPTION = "distributed.worker.multiprocessing-method"

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux only"),
]


def _parents(client):
    return client.run(os.getppid).values()


def test_workers_of_all_clusters_have_one_parent():
    """It is a child of this process, and the next cluster's workers are its forks, too."""
    parents = set()
    for _ in range(2):
        with dk.cluster(n_workers=2) as client:
            parents |= set(_parents(client))
    assert parents == {forked._server._pid}
    assert psutil.Process(forked._server._pid).ppid() == os.getpid()


def test_worker_has_what_its_caller_has_now(monkeypatch, tmp_path):
    """Not what it had when the server was started."""

    def look():
        return (
            os.environ.get("DASKKIT_NEW"),
            os.environ.get("DASKKIT_OLD"),
            str(Path.cwd()),
            os.sched_getaffinity(0),
            os.umask(0),
            resource.getrlimit(resource.RLIMIT_CORE),
        )

    monkeypatch.setenv("DASKKIT_OLD", "1")
    with dk.cluster(n_workers=1) as client:
        assert client.submit(look).result()[:2] == (None, "1")
    monkeypatch.delenv("DASKKIT_OLD")
    monkeypatch.setenv("DASKKIT_NEW", "2")
    monkeypatch.chdir(tmp_path)
    cores = os.sched_getaffinity(0)
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    os.sched_setaffinity(0, {min(cores)})
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    umask = os.umask(0o027)
    try:
        with dk.cluster(n_workers=1) as client:
            assert client.submit(look).result() == (
                "2",
                None,
                str(tmp_path),
                {min(cores)},
                0o027,
                (0, limits[1]),
            )
    finally:
        os.umask(umask)
        resource.setrlimit(resource.RLIMIT_CORE, limits)
        os.sched_setaffinity(0, cores)


def test_output_goes_where_the_callers_goes_now(capfd):
    """Also what doesn't come from Python."""
    with dk.cluster(n_workers=1) as client:
        client.run(os.write, 1, b"out\n")
        client.run(os.write, 2, b"err\n")
    said = capfd.readouterr()
    assert "out\n" in said.out
    assert "err\n" in said.err


def test_random_numbers_differ():
    """The global generators were seeded where the server imported them."""

    def draw():
        return random.random(), float(np.random.random())  # noqa: NPY002 - the global one

    with dk.cluster(n_workers=2) as client:
        first = client.run(draw)
        assert len({number for pair in first.values() for number in pair}) == 4
    with dk.cluster(n_workers=2) as client:
        assert not set(client.run(draw).values()) & set(first.values())


def test_blas_uses_as_many_threads_as_it_may():
    """The server has one, so that it can be forked; a single worker has all cores."""

    def count():
        import threadpoolctl

        a = np.random.default_rng(0).random((200, 200))
        assert np.isfinite(a @ a).all()
        return [
            pool["num_threads"]
            for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"
        ]

    with dk.cluster(n_workers=1) as client:
        counts = client.submit(count).result()
    assert counts
    assert set(counts) == {dk.usable_cores()}


def test_what_a_worker_starts_is_spawned():
    """In a worker, and here once the cluster is closed, all is as by default."""

    def look():
        return multiprocessing.get_start_method(), dask.config.get(_OPTION)

    before = dask.config.get(_OPTION, "spawn")  # another cluster may be open
    with dk.cluster(n_workers=1) as client:
        assert client.submit(look).result() == ("spawn", "spawn")
        assert dask.config.get(_OPTION) == "daskkit"
    assert dask.config.get(_OPTION, "spawn") == before
    assert _execute(_OPTIONS).stdout == "spawn daskkit daskkit spawn\n"


_OPTIONS = f"""
import dask, distributed
from daskkit.run.forked import forked_workers

found = []
look = lambda: found.append(dask.config.get("{_OPTION}"))
look()
first, second = forked_workers(), forked_workers()
with first:
    look()
    second.__enter__()
look()
second.__exit__(None, None, None)
look()
print(*found)
"""


def test_users_choice_counts():
    """Of how processes start."""
    with dask.config.set({_OPTION: "forkserver"}), forked.forked_workers():
        assert dask.config.get(_OPTION) == "forkserver"


_WITHOUT = """
import os
import daskkit as dk

def fail(*args, **kwargs):
    raise BlockingIOError

os.posix_spawn = fail
with dk.cluster(n_workers=1) as client:
    print(set(client.run(os.getppid).values()) == {os.getpid()})
    print(dk.map(abs, [-1], where="cluster"))
"""


def test_without_a_server_workers_are_spawned():
    """Where it can't be started, also because the system is out of processes."""
    done = _execute(_WITHOUT)
    assert done.stdout == "True\n[1]\n", done.stderr


def test_system_that_has_no_descriptors_of_processes(monkeypatch):
    """Has no server either."""

    def fail(_pid):
        raise OSError

    monkeypatch.setattr(os, "pidfd_open", fail)
    before = dask.config.get(_OPTION, "spawn")
    with forked.forked_workers():
        assert dask.config.get(_OPTION, "spawn") == before


_KILLED = """
import os, signal, time
import daskkit as dk
from daskkit.run import forked

def work(item):
    time.sleep(0.02)
    return item

def look():
    return os.getpid(), os.getppid()

with dk.cluster(n_workers=2) as client:
    before = {pid for pid, _ in client.run(look).values()}
    results = []
    for count, item in enumerate(dk.imap(work, range(100), where="cluster")):
        results.append(item)
        if count == 10:
            server = forked._server._pid
            os.kill(server, signal.SIGKILL)
    print(results == list(range(100)))
    found = {(0, 0)}
    while len(found) < 2 or before & {pid for pid, _ in found}:
        time.sleep(0.05)
        client.wait_for_workers(2)
        found = set(client.run(look).values())
    print({parent for _, parent in found} == {forked._server._pid} != {server})
"""


def test_server_that_ends_takes_its_workers_along():
    """They come back from a new one, and the call that ran ends right."""
    done = _execute(_KILLED)
    assert done.stdout == "True\nTrue\n", done.stderr


def test_exit_code_of_a_fork():
    """It is told as of any process, and so is a signal."""
    context = multiprocessing.get_context("daskkit")
    for target, args, code in (
        (sys.exit, (3,), 3),
        (os.abort, (), -signal.SIGABRT),
        (abs, (1,), 0),
    ):
        process = context.Process(target=target, args=args)
        process.start()
        process.join(20)
        assert process.exitcode == code
        process.close()


def test_exit_code_is_the_same_for_all_threads_that_ask():
    """As when two workers die at once: the start of one's successor looks at both."""
    context = multiprocessing.get_context("daskkit")
    for _ in range(5):
        process = context.Process(target=_pause_and_exit)
        process.start()
        with ThreadPoolExecutor(8) as pool:
            codes = [pool.submit(process._popen.poll, 0) for _ in range(8)]
            assert [code.result() for code in codes] == [9] * 8
        assert process.exitcode == 9
        process.close()


def _pause_and_exit():
    time.sleep(0.1)  # all threads wait by then
    os._exit(9)


def test_process_that_is_terminated():
    """By the functions of `multiprocessing`; nobody waits for ever."""
    context = multiprocessing.get_context("daskkit")
    process = context.Process(target=time.sleep, args=(60,), daemon=True)
    process.start()
    assert process.is_alive()
    assert process in multiprocessing.active_children()
    process.join(0.01)
    process.terminate()
    process.join(20)
    assert process.exitcode == -signal.SIGTERM


def test_locks_and_pipes_reach_a_fork():
    """As arguments of a process."""
    context = multiprocessing.get_context("daskkit")
    mine, other = context.Pipe()
    queue = context.Queue()
    process = context.Process(target=_answer, args=(other, queue))
    process.start()
    mine.send(20)
    assert queue.get(timeout=20) == 21
    process.join(20)
    assert process.exitcode == 0
    for end in (mine, other):
        end.close()
    queue.close()
    queue.join_thread()


def _answer(end, queue):
    queue.put(end.recv() + 1)


def test_idle_server_ends(monkeypatch):
    """And so does one whose caller has gone."""
    monkeypatch.setattr(forkserver, "_IDLE_S", 0.01)
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine, other:
        assert forkserver._serve(other) is None
        mine.close()
        assert forkserver._serve(other) is None


def test_fork_that_fails_is_an_error(monkeypatch):
    """The server tells why, and goes on."""

    def fail():
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(forkserver, "_fork", fail)
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends = []
    for _ in range(2):
        end, theirs = os.pipe()
        socket.send_fds(mine, [b"\0"], [theirs])
        os.close(theirs)
        ends.append(end)
    mine.close()
    with other:
        assert forkserver._serve(other) is None
    for end in ends:
        assert forked._read_number(end) == -errno.EAGAIN
        assert os.read(end, 1) == b""
        os.close(end)


def test_fork_that_fails_leaves_the_server(monkeypatch):
    """The caller hears of it, and can do without."""
    forked._server.start(())
    pid = forked._server._pid
    context = multiprocessing.get_context("daskkit")
    with monkeypatch.context() as patch:
        read = forked._read_number
        patch.setattr(forked, "_read_number", lambda end: read(end) and -errno.EAGAIN)
        with pytest.raises(BlockingIOError):
            forked._Popen(context.Process(target=abs, args=(1,)))
    process = context.Process(target=abs, args=(1,))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert forked._server._pid == pid


_ENDING = """
import os, sys
import daskkit as dk
from daskkit.run import forked

with dk.cluster(n_workers=1) as client:
    print(forked._server._pid, *client.run(os.getpid).values(), flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))
"""


def _execute(code, *args):
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, 0])
def test_server_ends_with_its_caller(end):
    """However that ends; its forks do, too."""
    done = _execute(_ENDING, str(int(end)))
    assert done.returncode == -end, done.stderr
    deadline = time.monotonic() + 10
    for pid in map(int, done.stdout.split()):
        while _is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _is_running(pid):
    try:
        # Its children have become ours, for all tests.
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


_FORKING = """
import multiprocessing, os
from daskkit.run import forked

def start():
    process = multiprocessing.get_context("daskkit").Process(target=abs, args=(1,))
    process.start()
    process.join()
    return forked._server._pid

first = start()
child = os.fork()
if not child:
    os._exit(start() == first)
print(os.waitpid(child, 0)[1], start() == first)
"""


def test_fork_of_the_caller_has_a_server_of_its_own():
    """And leaves alone the one of its parent."""
    done = _execute(_FORKING)
    assert done.stdout == "0 True\n", done.stderr
