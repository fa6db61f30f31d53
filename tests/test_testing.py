"""`daskkit.testing`: faults strike where they should, and leaks are seen."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest

import daskkit as dk
from daskkit.testing import Faulty, LeakWatch


def _itself(x):
    return x


@pytest.mark.slow
def test_function_survives_a_workers_death(local_cluster, make_faulty):
    """A fault that strikes once costs no result, whatever it does to the worker."""
    for kind in ("kill", "segfault"):
        faulty = make_faulty(_itself, kind, lambda x: x == 7, times=1)
        assert dk.map(faulty, range(20), where="cluster") == list(range(20))
        assert faulty.n_struck == 1


@pytest.mark.slow
def test_fault_that_strikes_each_time_is_the_items_error(local_cluster, make_faulty):
    """The item is named, also if the fault is an exception or never ends."""
    for kind, error, options in (
        ("raise", RuntimeError, {}),
        ("exit", dk.WorkerDiedError, {}),
        ("hang", dk.ItemTimeoutError, {"timeout": 1.0}),
    ):
        faulty = make_faulty(_itself, kind, lambda x: x == 7)
        results = dk.map(
            faulty, range(20), where="cluster", on_error="collect", **options
        )
        assert [failure.index for failure in results.failures] == [7]
        assert isinstance(results.failures[0].error, error)
        assert faulty.n_struck >= 1


def test_fault_spares_the_process_of_its_making(tmp_path):
    """The test that has made it goes on, and so does a caller that executes items."""
    faulty = Faulty(_itself, "kill", lambda x: True, tmp_path)
    assert [faulty(x) for x in range(3)] == [0, 1, 2]
    assert faulty.n_struck == 0


def test_wrong_fault_is_refused(tmp_path):
    """What is allowed is said."""
    with pytest.raises(dk.ArgumentError, match=r"kind must be one of kill, .*'melt'"):
        Faulty(abs, "melt", bool, tmp_path)
    with pytest.raises(dk.ArgumentError, match="times must be a whole number"):
        Faulty(abs, "kill", bool, tmp_path, times=0)


def test_watch_sees_each_kind(monkeypatch):
    """A process, a thread, a descriptor, a file and a variable; and that they are gone."""
    watch = LeakWatch()
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="left-thread")
    thread.start()
    descriptor, path = tempfile.mkstemp(prefix="left-file")
    monkeypatch.setenv("LEFT_VARIABLE", "1")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        found = " ".join(watch.find())
        with pytest.raises(AssertionError, match="left behind: process"):
            watch.check(patience_s=0.0)
        process.kill()
    for words in ("input()", "left-thread", "left-file", "LEFT_VARIABLE=1"):
        assert words in found
    assert f"descriptor {descriptor} -> " in found
    done.set()
    thread.join()
    os.close(descriptor)
    Path(path).unlink()
    monkeypatch.undo()
    watch.check()


def test_program_is_searched(run_program):
    """What a program leaves is found, and killed at the end."""
    program = run_program(
        """
        import subprocess, sys, tempfile
        command = [sys.executable, "-c", "import time; time.sleep(100)"]
        subprocess.Popen(command, stdout=subprocess.DEVNULL)
        print(tempfile.mkdtemp())
        """
    )
    folder = program.await_end(30)
    with pytest.raises(AssertionError, match="left behind: process"):
        program.check_nothing_left(0.0)
    for process in program.descendants():
        process.kill()
    Path(folder).rmdir()
    program.check_nothing_left()


def test_plugin_in_a_project_of_its_own(tmp_path):
    """The fixtures are there by one line, and a test that leaks fails."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["daskkit.testing.plugin"]')
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(
            """
            import os
            def test_clean(no_leaks):
                pass
            def test_leaky(no_leaks):
                os.environ["LEFT"] = "1"
                try:
                    no_leaks.check(patience_s=0)
                finally:
                    del os.environ["LEFT"]
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "left behind: environment variable LEFT=1" in done.stdout
    assert done.returncode == 1


def test_only_the_plugin_needs_pytest():
    """The rest is imported without it."""
    code = "import sys, daskkit.testing; print('pytest' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "False"
