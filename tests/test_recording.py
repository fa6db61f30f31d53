"""`dk.report`: what a page says of what ran on a cluster while it was recorded."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import threading
import time

import dask
import pytest
from distributed import Client, LocalCluster

import daskkit as dk
from daskkit.dashboard import report as report_module
from daskkit.dashboard.recorder import VERB_MARK
from daskkit.dashboard.summary import describe_cluster, tell
from daskkit.errors import DaskkitError
from daskkit.pages.recorded import format_recordings
from daskkit.pages.recording import Recording, Task, TaskGroup, WorkerBook
from daskkit.pages.streams import plot_slots, plot_stream
from tests.browser import severe_messages

_SECONDS = dict.fromkeys(
    ("busy", "waiting", "transfer", "dispatch", "paused", "starved"), 0.0
)


def nap(seconds):
    time.sleep(seconds)
    return seconds


def refuse(value):
    raise ValueError(value)


def increase(number):
    return number + 1


@pytest.fixture
def recorded(monkeypatch):
    """Return the list of what pages were made of, in the order in which they were."""
    made = []
    save = report_module.save_recordings

    def keep(path, recordings, created):
        made.append(recordings)
        return save(path, recordings, created)

    monkeypatch.setattr(report_module, "save_recordings", keep)
    return made


def check_sums(recording):
    """Check that what threads did sums to threads x wall."""
    for worker in recording.workers:
        assert sum(dict(worker.seconds).values()) == pytest.approx(worker.whole_s)
        assert min(dict(worker.seconds).values()) >= 0
        assert 0 <= worker.start_s <= worker.end_s <= recording.wall_s + 1e-6


def groups_of(recording):
    return {group.name: group for group in recording.groups}


def test_verbs_futures_and_failures_are_on_one_page(shared_client, tmp_path, recorded):
    """What ran within the block counts, and nothing from before or after it."""
    dk.map(nap, [0.005] * 20, where="cluster")
    with dk.report(tmp_path / "report.html") as page:
        dk.map(nap, [0.005] * 60, where="cluster", name="naps")
        futures = shared_client.map(increase, range(40), pure=False)
        shared_client.gather(futures)
        failed = shared_client.submit(refuse, "no way", pure=False)
        assert isinstance(failed.exception(), ValueError)
        dk.map(increase, range(5), name="short")
    shared_client.gather(shared_client.map(nap, [0.001] * 9, pure=False))
    ((recording,),) = recorded
    check_sums(recording)
    assert recording.workers[0].whole_s == pytest.approx(recording.wall_s)
    groups = groups_of(recording)
    assert groups["increase"].n_tasks == 40
    assert (groups["refuse"].n_tasks, groups["refuse"].n_failed) == (1, 1)
    # On a busy machine the lanes of the call before end, as Dask's tasks, within it.
    lanes = {f"naps{VERB_MARK}", f"nap{VERB_MARK}"}
    assert set(groups) - {"increase", "refuse"} <= lanes
    calls = {call.name: call for call in recording.calls}
    assert (calls["naps"].state, calls["naps"].n_done) == ("done", 60)
    assert calls["short"].n_done == 5
    on_workers = sum(worker.n_items for worker in recording.workers)
    assert sum(stamp.n_items for stamp in recording.trace.stamps) == on_workers
    assert 0 < on_workers <= 60
    assert all(worker.peak_bytes > 1e6 for worker in recording.workers)
    assert len(recording.errors) == 1
    text = page.read_text(encoding="utf-8")
    assert "no way" in text
    assert "1 task failed." in text
    loads = r'(?:src|href)="(?!#)|@import|url\((?!data:)'
    assert not re.search(
        loads, re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    )


def test_nothing_within_the_block_is_said(shared_client, tmp_path):
    """The page says that nothing ran."""
    with dk.report(tmp_path / "report.html") as page:
        pass
    assert "Nothing ran on the cluster while it was recorded." in page.read_text()


def test_page_is_written_if_the_block_raises(shared_client, tmp_path, recorded):
    """The error passes on as it is; what ran before it is on the page."""
    with pytest.raises(ZeroDivisionError), dk.report(tmp_path / "report.html"):
        shared_client.submit(increase, 1, pure=False).result()
        raise ZeroDivisionError
    ((recording,),) = recorded
    assert groups_of(recording)["increase"].n_tasks == 1
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600


def test_error_of_the_block_is_not_hidden_by_one_of_the_page(shared_client, tmp_path):
    """If the page can't be written any more, the block's error carries a note."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with (
        pytest.raises(ZeroDivisionError) as caught,
        dk.report(folder / "report.html"),
    ):
        folder.rmdir()
        raise ZeroDivisionError
    assert "The report was not written" in caught.value.__notes__[0]


def test_reports_can_be_nested_and_repeated(shared_client, tmp_path, recorded):
    """Each has what ran in it; a second page replaces the first."""
    with dk.report(tmp_path / "outer.html"):
        shared_client.submit(increase, 1, pure=False).result()
        for _ in range(2):
            with dk.report(tmp_path / "inner.html"):
                shared_client.submit(increase, 2, pure=False).result()
    counts = [groups_of(one)["increase"].n_tasks for (one,) in recorded]
    assert counts == [1, 1, 3]
    plugins = shared_client.run_on_scheduler(
        lambda dask_scheduler: list(dask_scheduler.plugins)
    )
    assert not [name for name in plugins if "recorder" in name]


def test_folder_that_is_missing_is_an_error_before_the_block(tmp_path):
    """Nothing is computed in vain."""
    with (
        pytest.raises(DaskkitError, match="no directory"),
        dk.report(tmp_path / "missing" / "report.html"),
    ):
        pytest.fail("the block was entered")


def test_cluster_that_is_opened_within_the_block(tmp_path, recorded):
    """One of `dk.cluster` is recorded until it closes; it is gone when the page is made."""
    with dk.report(tmp_path / "report.html"):
        for n in (1, 2):
            with dk.cluster(n_workers=1, processes=False) as client:
                client.gather(client.map(increase, range(n), pure=False))
    # The cluster that tests share may be open, too.
    first, second = recorded[0][-2:]
    assert [groups_of(one)["increase"].n_tasks for one in (first, second)] == [1, 2]
    check_sums(first)


def test_cluster_of_dask_itself_counts_while_it_is_recorded(tmp_path, recorded):
    """Its workers get counters for as long; a client that is closed within is told."""
    with (
        dask.config.set({"temporary-directory": str(tmp_path)}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster) as client,
    ):
        with dk.report(tmp_path / "report.html"):
            client.gather(client.map(nap, [0.02] * 20, pure=False))
        names = client.run(lambda dask_worker: list(dask_worker.plugins)).values()
        assert not any("daskkit-slots" in found for found in names)
        with dk.report(tmp_path / "report.html"):
            client.close()
    (one,), (lost,) = recorded
    check_sums(one)
    totals = one.totals()
    assert totals["busy"] + totals["waiting"] >= 0.4
    assert "the recording is lost" in lost.words[0]


def test_nothing_at_all_is_an_error_that_says_what_to_do(tmp_path):
    """In a fresh process: no cluster and no verb; a verb alone makes a page."""
    code = (
        "import daskkit.pages.page, daskkit as dk\n"
        "with dk.report('verb.html') as page:\n"
        "    dk.map(abs, range(9))\n"
        "print('No cluster was open' in page.read_text())\n"
        "try:\n"
        "    with dk.report('none.html'): pass\n"
        "except dk.ClusterError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    first, second = done.stdout.splitlines()
    assert first == "True"
    assert "no cluster was open and no verb ran; open one first" in second


@pytest.mark.slow
def test_worker_that_dies_and_comes_back(tmp_path, recorded):
    """What it did counts, its successor has a line of its own, and all still sums."""
    with (
        dk.cluster(n_workers=1) as client,
        dk.report(tmp_path / "report.html"),
    ):
        client.gather(client.map(nap, [0.05] * 30, pure=False))
        (pid,) = client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        client.wait_for_workers(1)
        time.sleep(1.0)
        client.gather(client.map(nap, [0.05] * 10, pure=False))
    ((recording,),) = recorded
    check_sums(recording)
    assert len(recording.workers) == 2
    assert groups_of(recording)["nap"].n_tasks == 40
    assert any("left before the end" in note for note in recording.notes)


@pytest.mark.browser
@pytest.mark.slow
def test_page_is_drawn_in_a_browser(shared_client, driver, tmp_path):
    """Three figures, no message in the console, nothing loaded from anywhere."""
    with dk.report(tmp_path / "report.html") as page:
        dk.map(nap, [0.01] * 60, where="cluster", name="<b>$x$</b>")
        shared_client.gather(shared_client.map(increase, range(40), pure=False))
    driver.get(page.as_uri())
    script = "return window.Bokeh ? Bokeh.documents.length : 0"
    deadline = time.monotonic() + 40
    while driver.execute_script(script) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "&lt;b&gt;" in driver.page_source
    assert severe_messages(driver) == []
    loaded = "return performance.getEntriesByType('resource').length"
    assert driver.execute_script(loaded) == 0


# Arithmetic, words and figures


def make_raw(**changes):
    def count(began, t, **seconds):
        return {
            "t": t, "began": began, "n": 1, "items": 7, "failed": 1,
            "s": list({**_SECONDS, **seconds}.values()),
        }  # fmt: skip

    worker = {
        "address": "a", "name": "0", "left": None, "peak": 90, "limit": 100,
        "first": count(0.0, 9.9), "last": count(0.0, 20.0, busy=6.0, starved=4.0),
    }  # fmt: skip
    raw = {
        "began": 10.0, "ended": 20.0, "workers": [worker], "tasks": [], "n_tasks": 0,
        "groups": {"f": [2, 1, {"compute": 5.0, "transfer": 1.0, "disk-read": 0.5}]},
        "slowest": [(3.0, "f-1", "a")], "errors": [("f", "f-2", "")], "calls": [],
    }  # fmt: skip
    return {**raw, **changes}


def test_what_counters_miss_is_starved():
    """Workers that came later or left count for as long as they were there."""
    raw = make_raw()
    came = {**raw["workers"][0], "name": "1", "first": None, "left": 18.0}
    came["last"] = {**came["last"], "began": 12.0}
    recording = describe_cluster(
        "s", {**raw, "workers": [came, *raw["workers"]]}, {}, []
    )
    check_sums(recording)
    old, new = recording.workers
    assert (old.start_s, old.end_s, dict(old.seconds)["busy"]) == (0.0, 10.0, 6.0)
    assert (new.start_s, new.end_s, new.whole_s) == (2.0, 8.0, 6.0)
    assert recording.groups == (TaskGroup("f", 2, 1, 5.0, 1.0, 0.5),)
    assert recording.errors == (("f-2", "it was lost"),)


def test_words_name_the_largest_loss_failures_and_full_memory():
    """The first sentence sums up; advice follows the loss that it is for."""
    words = " ".join(describe_cluster("s", make_raw(), {}, []).words)
    assert "10.0 core-seconds, of which 60 % executed something." in words
    assert "Most time in tasks went into f: 5.00 core-seconds in 2 tasks." in words
    assert "The largest loss is starved" in words
    assert "1 task failed." in words
    assert "Worker 0 had 90 B of memory at most" in words
    assert "nothing ran" in tell(Recording("s", 1.0, ()))[0]


def test_figures_hold_every_thread_and_every_task():
    """Bars end at threads x wall; boxes have their line, also without any."""
    book = WorkerBook("0", 1, 0.0, 2.0, (("busy", 1.5), ("starved", 0.5)), 0, 0, 0, 0)
    tasks = (
        Task("0 #1", "compute", "f", 0.0, 1.0),
        Task("0 #2", "transfer", "f", 0.5, 1.0),
        Task("0 #2", "compute", "f", 1.0, 1.5, is_failed=True),
    )
    recording = Recording(
        "s", 2.0, ("x",), (book,), (), (TaskGroup("f", 2, 1, 1.5, 0.5, 0.0),), tasks
    )
    bars = plot_slots(recording)
    assert bars.select_one({"name": "starved"}).data_source.data["right"] == [2.0]
    stream = plot_stream(recording)
    assert stream.select_one({"name": "compute-0"}).data_source.data["end"] == [1.0]
    assert stream.select_one({"name": "failed"}).data_source.data["line"] == ["0 #2"]
    assert stream.select_one({"name": "transfer"}).data_source.data["name"] == ["f"]
    assert plot_stream(Recording("s", 0.0, ())).renderers == []
    assert "<h2" in format_recordings([recording], "then")


def test_calls_of_other_threads_are_heard(shared_client, tmp_path, recorded):
    """Whichever thread of this process calls a verb."""
    with dk.report(tmp_path / "report.html"):
        call = functools.partial(dk.map, nap, [0.01] * 20, name="thread")
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    ((recording,),) = recorded
    assert [call.name for call in recording.calls] == ["thread"]
