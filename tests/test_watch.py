"""What runs on a cluster is shown until nothing does: verbs, tasks of Dask, stages."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import types

import pytest

import daskkit as dk
from daskkit.dashboard import watch as watch_module
from daskkit.dashboard.bars import Bars, Table, make_view
from daskkit.dashboard.calls import CallRow
from daskkit.dashboard.watched import Watched

PATIENCE_S = 40


def nap(seconds):
    time.sleep(seconds)
    return seconds


def fail(x):
    if x == 3:
        raise ValueError(x)
    time.sleep(0.1)


def split(text):
    """Return the last state of each bar that is through, by its name."""
    last = {}
    for line in re.split(r"[\r\n]", text.replace("\x1b[A", "")):
        found = re.match(r"(\S+): +\d+%\|.*?\| (\d+)/(\d+) \[(.*)\]", line)
        if found:
            name, done, total, rest = found.groups()
            last[name] = int(done), int(total), rest
    return last


def test_verbs_and_tasks_are_watched_until_nothing_runs(shared_client, capsys):
    """A call of another thread has a line, and so have Dask's own tasks; lanes have none."""
    thread = threading.Thread(
        target=functools.partial(
            dk.map, nap, [0.05] * 40, where="cluster", name="naps", batch_size=2
        )
    )
    thread.start()
    futures = shared_client.map(nap, [0.05 + i / 1e6 for i in range(20)])
    assert dk.watch()
    thread.join()
    assert all(future.done() for future in futures)
    bars = split(capsys.readouterr().err)
    assert set(bars) == {"naps", "nap"}
    assert bars["naps"][:2] == (40, 40)
    assert "item" in bars["naps"][2]
    assert bars["nap"][:2] == (20, 20)
    assert "task" in bars["nap"][2]
    # A second later there is nothing more.
    assert dk.watch(shared_client)
    assert capsys.readouterr().err == ""


def test_pipeline_has_a_line_for_each_stage(shared_client, capsys):
    """Stages are shown by their names, in their order, and Dask's own tasks aren't."""
    bag = dk.lazy.pipeline(
        [0.05] * 8, nap, (abs, {"name": "absolute"}), (nap, {"batch_size": 1}), str
    )
    with dk.watching():
        assert bag.compute() == ["0.05"] * 8
    bars = split(capsys.readouterr().err)
    assert list(bars) == ["nap", "absolute", "nap_2", "str"]
    assert {done == total for done, total, _ in bars.values()} == {True}


def test_failures_are_counted(shared_client, capsys):
    """Tasks that raise are named as such; the watching goes on to the end."""
    futures = shared_client.map(fail, range(8), pure=False)
    assert dk.watch()
    assert "1 failed" in split(capsys.readouterr().err)["fail"][2]
    del futures


def test_watching_ends_in_time_or_by_an_interrupt(shared_client, capsys, monkeypatch):
    """What is watched goes on; the answer says that it isn't over."""
    futures = shared_client.map(nap, [0.5 + i / 1e6 for i in range(4)])
    assert not dk.watch(timeout=0.4)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch_module, "time", types.SimpleNamespace(**vars(time)))
    monkeypatch.setattr(watch_module.time, "sleep", interrupt)
    assert not dk.watch()
    assert len(shared_client.gather(futures)) == 4
    assert "nap" in capsys.readouterr().err


def test_nothing_to_watch_is_said(monkeypatch):
    """Without a cluster there is an error that says what to do; so for odd times."""
    monkeypatch.setattr(watch_module, "find_client", lambda: None)
    with pytest.raises(dk.ClusterError, match="no cluster is open that could be"):
        dk.watch()
    with pytest.raises(dk.ClusterError, match="no cluster is open"), dk.watching():
        pass
    for timeout in (0, "long", float("nan"), True):
        with pytest.raises(dk.ArgumentError, match="timeout must be positive"):
            dk.watch(timeout=timeout)


def test_end_of_the_cluster_ends_the_watching(capsys):
    """One that is closed meanwhile is said to be gone, not waited for."""
    with dk.cluster(n_workers=1, processes=False) as client:
        client.close()
        with pytest.raises(dk.ClusterError, match="has ended"):
            watch_module._Watcher(client, Bars()).look()


@pytest.mark.slow
def test_scheduler_needs_no_daskkit(tmp_path, capsys):
    """The question is sent by value to a process that can't import daskkit."""
    code = textwrap.dedent(
        """
        import sys
        sys.modules["daskkit"] = None
        from distributed import LocalCluster
        with LocalCluster(
            n_workers=1,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster:
            print(cluster.scheduler_address, flush=True)
            sys.stdin.read()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
    ) as process:
        address = process.stdout.readline().strip()
        assert address
        with dk.cluster(address) as client:
            futures = client.map(time.sleep, [0.2] * 4, pure=False)
            assert dk.watch()
            del futures
        process.stdin.close()
        process.wait(PATIENCE_S)
    assert split(capsys.readouterr().err)["sleep"][:2] == (4, 4)


# Parts.


def group(prefix, before=0, **states):
    return {"prefix": prefix, "before": before, "states": states}


def hear(watched, now, *calls, **groups):
    watched.hear({"now": now, "calls": calls, "groups": groups})
    return {row.name: row for row in watched.rows()}


def test_groups_with_one_prefix_are_one_line():
    """Two graphs of the same function add up, and stay until both are through."""
    watched = Watched()
    rows = hear(
        watched,
        0.0,
        a=group("inc", processing=2, waiting=2, memory=4),
        b=group("inc", processing=1),
    )
    assert (rows["inc"].n_items, rows["inc"].n_done, rows["inc"].n_open) == (9, 4, 3)
    rows = hear(watched, 2.0, a=group("inc", memory=8), b=group("inc", processing=1))
    assert (rows["inc"].n_done, rows["inc"].state) == (8, "running")
    assert rows["inc"].rate == 2.0
    assert rows["inc"].left_s == 0.5
    assert watched.questions[1] == ["a", "b"]
    rows = hear(watched, 3.0, b=group("inc", erred=1))
    assert (rows["inc"].n_done, rows["inc"].state) == (9, "failed")
    assert not watched.is_running


def test_tasks_that_dask_forgets_are_done():
    """A group that shrinks keeps its size; one that has vanished is through."""
    watched = Watched()
    hear(watched, 0.0, a=group("inc", processing=2, waiting=6))
    rows = hear(watched, 1.0, a=group("inc", processing=2))
    assert (rows["inc"].n_items, rows["inc"].n_done) == (8, 6)
    assert hear(watched, 2.0)["inc"].n_done == 8
    # The same name again is another line.
    hear(watched, 3.0, c=group("inc", processing=1))
    assert [(row.n_items, row.state) for row in watched.rows()] == [
        (8, "done"),
        (1, "running"),
    ]


def test_lines_stand_in_the_order_of_the_work():
    """What others wait for comes first; what only brings results together is hidden."""
    watched = Watched()
    hear(
        watched,
        0.0,
        z=group("finalize-hlgfinalizecompute", 5, waiting=1),
        y=group("str-pack-str", 3, waiting=1),
        x=group("read", 1, processing=1),
    )
    assert [row.name for row in watched.rows()] == ["read", "str"]
    hear(watched, 1.0, z=group("finalize-hlgfinalizecompute", 5, processing=1))
    assert watched.is_running
    assert [row.state for row in watched.rows()] == ["done", "done"]


def test_messages_of_others_change_nothing():
    """Whoever may talk to a scheduler may send anything on the topic of the calls."""
    watched = Watched()
    assert hear(watched, 0.0, {"id": "1", "state": "running"}) == {}


ROW = CallRow("a<b", "running", 10, 4, 1, 2, 2.0, 3.0, 2.0, 0, "", 0, "1", "task")


def test_table_of_a_notebook_is_drawn_again(monkeypatch):
    """One output is updated; names are escaped, unknown totals are no error."""
    drawn = []

    class Handle:
        def update(self, shown):
            drawn.append(("update", shown))

    def display(shown, *, display_id):
        drawn.append(("display", shown))
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    module = types.SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    view = make_view()
    assert isinstance(view, Table)
    view.show([])
    view.show([ROW])
    view.show([dataclasses.replace(ROW, n_items=None, left_s=None)])
    view.close()
    assert [how for how, _ in drawn] == ["display", "update"]
    assert "a&lt;b" in drawn[0][1]
    assert 'value="4" max="10"' in drawn[0][1]
    assert "4 of 10" in drawn[0][1]
    assert "<progress></progress>" in drawn[1][1]
    assert "1 failed, 2 in flight" in drawn[0][1]
    shell.kernel = None
    assert isinstance(make_view(), Bars)
