"""The page in the dashboard, end to end: real clusters and a real browser."""

from __future__ import annotations

import contextlib
import functools
import html
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import dask
import pytest
from distributed import Client, LocalCluster

import daskkit as dk
from daskkit.dashboard import install
from daskkit.dashboard.calls import CallRow
from daskkit.dashboard.ledger import SlowItem
from daskkit.dashboard.page import PAGES
from daskkit.dashboard.parts import format_calls, format_headline, format_slowest
from daskkit.errors import ClusterError
from tests.browser import severe_messages

_ALONE = "DASKKIT_TEST_ALONE"

# How long anything may take that happens within a second on an idle machine.
PATIENCE_S = 40


def wait(seconds, value):
    """Sleep, and return how long that took."""
    began = time.perf_counter()
    time.sleep(seconds)
    if value < 0:
        raise ValueError(value)
    return time.perf_counter() - began


def until(look, *args):
    """Return the first true value of a function."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look(*args)):
        assert time.monotonic() < deadline, look
        time.sleep(0.05)
    return found


def address(client, page="daskkit"):
    return f"{client.dashboard_link.removesuffix('/status')}/{page}"


def read(link):
    with urllib.request.urlopen(link, timeout=PATIENCE_S) as answer:
        return answer.read().decode()


@contextlib.contextmanager
def plain_cluster(folder, n_workers, **options):
    """Start a cluster as users of distributed do, and yield a client."""
    with (
        dask.config.set({"temporary-directory": str(folder)}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            **options,
        ) as cluster,
        dask.config.set(
            {"distributed.dashboard.link": "http://127.0.0.1:{port}/status"}
        ),
        Client(cluster) as client,
    ):
        yield client


def figures(driver):
    """Return the numbers of the headline, None until it is there."""
    return driver.execute_script(
        "const d = window.Bokeh && Bokeh.documents[0];"
        "const m = d && d.get_model_by_name('daskkit-headline');"
        "return m ? m.tags[0] : null"
    )


def text(driver, name):
    return driver.execute_script(
        f"return Bokeh.documents[0].get_model_by_name('daskkit-{name}').text"
    )


def show(driver, client):
    driver.get(address(client))
    return until(figures, driver)


def settled(driver, n_items):
    """Return the headline once all items have been reported."""

    def look():
        now = figures(driver)
        is_done = now["items"] >= n_items and now["efficiency_now"] < 0.01
        return now if is_done else None

    return until(look)


def in_background(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


@pytest.mark.browser
@pytest.mark.slow
def test_page_shows_a_verb_while_it_runs_and_the_truth_at_its_end(driver):
    """Figures change meanwhile; at the end items and efficiency are the client's."""
    with dk.cluster(n_workers=2) as client:
        # The first call imports what later ones find; a rest ends its run.
        dk.map(functools.partial(wait, 0.01), range(4), where="cluster")
        time.sleep(2.5)
        assert show(driver, client)["items"] == 4
        assert "Daskkit" in driver.find_element("id", "myTopnav").text
        wall_s, lasted = [], []

        def run():
            began = time.perf_counter()
            func = functools.partial(wait, 0.05)
            lasted.extend(dk.map(func, range(300), where="cluster", name="<b>nap</b>"))
            wall_s.append(time.perf_counter() - began)

        thread = in_background(run)
        seen = {until(figures, driver)["items"]}
        while thread.is_alive():
            seen.add(figures(driver)["items"])
            time.sleep(0.1)
        thread.join()
        # They come once a second, less often where all cores are busy.
        assert len(seen) > 2
        last = settled(driver, 304)
        assert (last["items"], last["failed"]) == (304, 0)
        assert last["efficiency"] == pytest.approx(
            sum(lasted) / (2 * wall_s[0]), abs=0.03
        )
        until(lambda: "300 of 300" in text(driver, "calls"))
        assert "&lt;b&gt;nap&lt;/b&gt;" in text(driver, "calls")
        assert "&lt;b&gt;nap&lt;/b&gt;" in text(driver, "slowest")
        assert severe_messages(driver) == []


@pytest.mark.browser
@pytest.mark.slow
def test_page_goes_on_after_the_death_of_a_worker(driver):
    """A worker dies and comes back; what it did still counts, and so does what follows.

    That is so in a second cluster, too, which has a page of its own.
    """
    func = functools.partial(wait, 0.01)
    with dk.cluster(n_workers=1) as first:
        dk.map(func, range(50), where="cluster")
        with dk.cluster(n_workers=1) as client:
            show(driver, client)
            dk.map(func, range(60), where="cluster")
            settled(driver, 60)
            ((worker, pid),) = client.run(os.getpid).items()
            os.kill(pid, signal.SIGKILL)
            # Its nanny starts another one.
            until(lambda: {worker} != set(client.nthreads()) != set())
            until(lambda: figures(driver)["n_workers"] == 1)
            dk.map(func, range(-3, 37), where="cluster", on_error="collect")
            last = settled(driver, 100)
            assert (last["items"], last["failed"], last["n_workers"]) == (100, 3, 1)
            assert severe_messages(driver) == []
        assert show(driver, first)["items"] == 50


@pytest.mark.browser
@pytest.mark.slow
def test_page_works_with_any_number_of_workers():
    """Nobody, or many threads in one process: no error, and tasks of Dask count."""
    # Of its own: other tests leave threads and clusters in this one.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    test = f"{__file__}::test_in_a_process_of_its_own"
    done = subprocess.run(
        [*command, test],
        check=False,  # its output is shown below
        cwd=Path(__file__).parents[1],
        env={**os.environ, _ALONE: "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(_ALONE not in os.environ, reason="is started by the test above")
@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [0, 64])
def test_in_a_process_of_its_own(driver, tmp_path, n_workers):
    """What the test above wants to see."""
    with plain_cluster(tmp_path, n_workers) as client:
        assert install(client) == install(client) == address(client)
        show(driver, client)
        until(lambda: figures(driver)["n_workers"] == n_workers)
        if n_workers:
            naps = [0.2] * 320
            client.gather(
                client.map(functools.partial(wait, value=1), naps, pure=False)
            )
            # Not before all workers have told of them.
            until(lambda: sum(figures(driver)["run_seconds"][:2]) >= sum(naps))
            assert figures(driver)["efficiency"] > 0
            dk.map(functools.partial(wait, 0.01), range(200), where="cluster")
            assert settled(driver, 200)["items"] == 200
        assert severe_messages(driver) == []


@pytest.mark.browser
@pytest.mark.slow
def test_each_part_has_a_page_of_its_own(driver):
    """They are listed where JupyterLab's extension looks, and load nothing from afar."""
    with dk.cluster(n_workers=1, processes=False) as client:
        listed = json.loads(read(address(client, "individual-plots.json")))
        assert listed["Individual Task Stream"] == "/individual-task-stream"
        for path, (name, _) in PAGES.items():
            assert listed[f"Individual {name}"] == path
            driver.get(address(client, path.strip("/")))
            script = "return window.Bokeh ? Bokeh.documents.length : 0"
            until(driver.execute_script, script)
            until(driver.execute_script, "return Bokeh.documents[0].is_idle")
            loaded = driver.execute_script(
                "return performance.getEntriesByType('resource').map(e => e.name)"
            )
            host = urlsplit(client.dashboard_link).netloc
            assert {urlsplit(one).netloc for one in loaded} <= {host}
            assert severe_messages(driver) == []


@contextlib.contextmanager
def dask_processes(folder, *, knows_daskkit):
    """Start a scheduler and two workers, as in a shell, and yield a client."""
    preload = ["--preload", "daskkit.dashboard"] if knows_daskkit else []
    # As if it were not installed.
    hide = "" if knows_daskkit else "sys.modules['daskkit'] = None; "
    code = f"import sys; {hide}from distributed.cli import {{0}} as cli; cli.main()"
    file = folder / "scheduler.json"
    loopback = ["--host", "127.0.0.1"]

    def start(module, *arguments):
        command = [sys.executable, "-c", code.format(module), *arguments]
        variables = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(folder)}
        return subprocess.Popen(
            command, cwd=folder, stderr=subprocess.DEVNULL, env=variables
        )

    running = []
    try:
        running.append(
            start(
                "dask_scheduler",
                *preload,
                *loopback,
                "--port",
                "0",
                "--dashboard-address",
                "127.0.0.1:0",
                "--scheduler-file",
                str(file),
            )
        )
        for _ in range(2):
            running.append(  # noqa: PERF401 - what has started has to be ended
                start(
                    "dask_worker",
                    *loopback,
                    "--nthreads",
                    "1",
                    "--no-nanny",
                    "--scheduler-file",
                    str(file),
                    "--local-directory",
                    str(folder),
                )
            )
        until(file.exists)
        time.sleep(0.1)
        where = json.loads(file.read_text())["address"]
        with dk.cluster(where) as client:
            client.wait_for_workers(2, timeout=PATIENCE_S)
            yield client
    finally:
        for process in running[::-1]:  # a worker without its scheduler would wait
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S / 4)
            process.kill()
            process.wait()


@pytest.mark.browser
@pytest.mark.slow
def test_scheduler_in_a_process_of_its_own_gets_the_page_as_a_preload(driver, tmp_path):
    """``dask scheduler --preload daskkit.dashboard`` has it, workers need no option."""
    with dask_processes(tmp_path, knows_daskkit=True) as client:
        show(driver, client)
        dk.map(functools.partial(wait, 0.01), range(300), where="cluster")
        last = settled(driver, 300)
        assert (last["items"], last["n_slots"]) == (300, 2)
        until(lambda: "300 of 300" in text(driver, "calls"))
        assert severe_messages(driver) == []


@pytest.mark.browser
@pytest.mark.slow
def test_scheduler_without_daskkit_gets_the_page_from_the_client(driver, tmp_path):
    """Neither the scheduler's process nor the workers' can import daskkit."""
    with dask_processes(tmp_path, knows_daskkit=False) as client:
        install(client)
        show(driver, client)
        client.gather(client.map(time.sleep, [0.1] * 20, pure=False))
        # Workers tell of it with their next heartbeats, one after the other.
        until(lambda: sum(figures(driver)["run_seconds"][:2]) >= 2.0)
        assert settled(driver, 0)["efficiency"] > 0
        assert severe_messages(driver) == []


def test_cluster_without_a_dashboard_says_so(tmp_path):
    """`install` raises where there is nothing that the page could be added to."""
    without = {"dashboard": False}
    with (
        plain_cluster(tmp_path, 0, scheduler_kwargs=without) as client,
        pytest.raises(ClusterError, match="has no dashboard"),
    ):
        install(client)


@pytest.mark.parametrize("page", ["daskkit", "status"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 101),
        ("http://localhost:8888", 101),
        ("http://example.org", 403),
        ("http://example.org:{port}", 403),
        ("http://127.0.0.1.example.org:{port}", 403),
    ],
)
def test_foreign_pages_cannot_talk_to_the_dashboard(
    shared_client, page, origin, status
):
    """A web page from elsewhere gets no websocket; one of this machine does."""
    place = urlsplit(shared_client.dashboard_link)
    connection = http.client.HTTPConnection(place.netloc, timeout=PATIENCE_S)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
        "Origin": origin.format(port=place.port),
    }
    try:
        connection.request("GET", f"/{page}/ws", headers=headers)
        assert connection.getresponse().status == status
    finally:
        connection.close()


def test_bar_of_all_pages_leads_to_it():
    """Dask's own pages have the entry *Daskkit*, and its parts under *More*."""
    with dk.cluster(n_workers=1, processes=False) as client:
        for page in ("status", "daskkit"):
            answer = read(address(client, page))
            assert 'href="daskkit"' in answer
            assert answer.count('href="individual-daskkit-') == len(PAGES)


def test_nothing_to_show_is_said():
    """Before anything has run there are sentences and dashes, no empty tables."""
    assert "no call of a verb has lasted" in format_calls([])
    assert "no item of a verb has been executed" in format_slowest([])
    figures = {
        "efficiency_now": None, "efficiency": None, "run_seconds": [0.0] * 6,
        "items": 0, "failed": 0, "n_workers": 0, "n_slots": 0,
    }  # fmt: skip
    assert "nan" not in format_headline(figures)
    assert format_headline(figures).count(">\N{EN DASH}<") == 2


def test_texts_from_users_are_escaped():
    """No name of a call becomes markup, and a long one is cut."""
    name = "<script>alert(1)</script>" + "x" * 100
    row = CallRow(name, "running", None, 1, 0, 0, 2.5, None, 3.0, 0, name, 1)
    texts = (
        format_calls([row]),
        format_slowest([SlowItem(1.0, name, 2, 3, is_running=True)]),
    )
    for text in texts:
        assert "<script>" not in text
        assert "x" * 100 not in text.replace(html.escape(row.reason), "")
    assert "1 of ?" in texts[0]
    assert "2 to 4 (mean)" in texts[1]
