"""Machines that lack something, and programs that are unlike a plain script."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap

import pytest

import daskkit as dk
from tests.faults import Program

pytestmark = pytest.mark.slow

_HANGS_S = 60.0
RIGHT = """
def right(where="cluster", n=300):
    return dk.map(busy, range(n), where=where) == list(range(n))
"""
needs_mounts = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or shutil.which("unshare") is None,
    reason="only root can mount something else",
)


def _check(code, folder, expected="True", **options):
    """Run a program; it prints what is expected, is quiet, and leaves nothing."""
    with Program(RIGHT + code, folder, **options) as program:
        out = program.await_end(_HANGS_S)
        assert (out, program.errors) == (expected, "")
        assert program.process.returncode == 0
        program.check_nothing_left()


def _mounted(how, *arguments):
    """Return a command that runs another one where something else is mounted."""
    command = ("unshare", "--mount", "sh", "-c", f'{how} && exec "$0" "$@"')
    if subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    return (*command, *arguments)


ARRAYS = """
import numpy as np
say(right("auto", 3_000))
arrays = dk.map(lambda i: np.full(1_000_000, float(i)), range(4), where="cluster")
say(dk.map(lambda a: float(a[-1]), arrays, where="cluster") == [0.0, 1.0, 2.0, 3.0])
"""


@needs_mounts
def test_small_shared_memory(tmp_path):
    """1 MB of /dev/shm, as in a container, is enough."""
    before = _mounted("mount -t tmpfs -o size=1m tmpfs /dev/shm")
    _check(ARRAYS, tmp_path, "True\nTrue", before=before)


@needs_mounts
def test_shared_memory_that_cannot_be_written(tmp_path):
    """Verbs go on without a cluster; who asks for one is told what it needs."""
    before = _mounted("mount -t tmpfs -o ro tmpfs /dev/shm")
    code = """
say(right("auto", 3_000))
try:
    right()
except dk.ClusterError as error:
    say(error)
"""
    with Program(RIGHT + code, tmp_path, before=before) as program:
        first, second = program.await_end(_HANGS_S).splitlines()
        assert first == "True"
        assert "did not start: " in second
        assert "Read-only file system" in second
        assert "need a /dev/shm that can be written" in second
        program.check_nothing_left()


@needs_mounts
def test_temporary_folders_that_cannot_be_written(tmp_path):
    """An error that says so, or another folder that Python finds; verbs go on."""
    folders = " && ".join(
        f"mount -t tmpfs -o ro tmpfs '{one}'" for one in ("/var/tmp", "/dev/shm")
    )
    (tmp_path / "tmp").mkdir()
    # The script lies in /tmp, which stays readable.
    how = f"{folders} && mount -o bind /tmp /tmp && mount -o remount,bind,ro /tmp"
    before = _mounted(f"{how} && cd /proc")
    code = """
say(right("auto", 3_000))
try:
    say(right())
except dk.ClusterError as error:
    say("No usable temporary directory" in str(error))
"""
    _check(code, tmp_path, "True\nTrue", before=before)


def test_few_descriptors(tmp_path):
    """64 are enough for two workers."""
    before = ("sh", "-c", 'ulimit -n 64; exec "$0" "$@"')
    _check('say(right("auto", 3_000) and right())', tmp_path, before=before)


@pytest.mark.parametrize("home", ["none", "missing"])
def test_no_home(tmp_path, home):
    """Nothing is looked for there, and nothing written."""
    before = ("env", "-u", "HOME") if home == "none" else ("env", "HOME=/missing")
    _check("say(right())", tmp_path, before=before)


def test_folders_with_blanks_and_accents(tmp_path):
    """For the script as well as for temporary files."""
    folder = tmp_path / "a b é ü '$x"
    folder.mkdir()
    _check("say(right())", folder)


def test_ports_that_are_taken(tmp_path):
    """Dask's usual ports belong to others: free ones are taken, without a word."""
    taken = []
    for port in (8786, 8787):
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", port))
            one.listen()
        except OSError:
            one.close()  # taken indeed
            continue
        taken.append(one)
    try:
        _check("say(right())", tmp_path)
    finally:
        for one in taken:
            one.close()


PROGRAMS = {
    "a module that can be imported only since the start": """
        os.mkdir("modules")
        with open("modules/late_module.py", "w") as file:
            file.write("def add(x): return x + 1")
        with dk.cluster(n_workers=2):
            right()
            sys.path.insert(0, os.path.abspath("modules"))
            import late_module
            say(dk.map(late_module.add, range(9), where="cluster") == [*range(1, 10)])
    """,
    "in a thread": """
        def run():
            with dk.cluster(n_workers=2):
                say(right() and right())
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    """,
    "in a running event loop": """
        import asyncio
        async def main():
            with dk.cluster(n_workers=2):
                say(right() and right("auto"))
        asyncio.run(main())
    """,
    "several clusters and threads": """
        with dk.cluster(n_workers=1) as one, dk.cluster(n_workers=1) as other:
            answers = [right()]
            with dk.cluster(one):
                answers.append(right())
            threads = [
                threading.Thread(target=lambda: answers.append(right()))
                for _ in range(5)
            ]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            say(answers == [True] * 7)
    """,
    "verbs and pools within verbs": """
        def nested(x):
            return sum(dk.map(busy, range(50), where="cluster"))
        def pooled(x):
            import multiprocessing
            with multiprocessing.Pool(2) as pool:
                return sum(pool.map(abs, range(-x, 0)))
        with dk.cluster(n_workers=2):
            nested_right = dk.map(nested, range(4), where="cluster") == [1225] * 4
            say(nested_right and dk.map(pooled, range(4), where="cluster") == [0, 1, 3, 6])
    """,
    "OpenMP before and after": """
        import numpy as np
        square = np.ones((300, 300))
        def multiply(x):
            return float((square @ square)[0, 0]) + x
        before = multiply(0)
        with dk.cluster(n_workers=2):
            after = dk.map(multiply, range(4), where="cluster")
        say([before, *after, multiply(1)] == [300, 300, 301, 302, 303, 301])
    """,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(tmp_path, monkeypatch, program):
    """It works as in a plain script, is quiet, and leaves nothing."""
    monkeypatch.chdir(tmp_path)
    _check(textwrap.dedent(PROGRAMS[program]), tmp_path)


def test_taken_port_that_was_asked_for():
    """It is named before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            pytest.raises(dk.ClusterError, match=f"can't have port {port}"),
            dk.cluster(n_workers=1, dashboard_port=port),
        ):
            pass
