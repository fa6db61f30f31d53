"""`dk.cluster`: real workers, loopback only, nothing changed, nothing left."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import textwrap
import urllib.request

import dask
import psutil
import pytest
from distributed import Client, LocalCluster
from distributed.client import _get_global_client as default_client

import daskkit as dk
from daskkit.run import cluster as cluster_module
from daskkit.run.threads import import_threadpoolctl


def _pid():
    return os.getpid()


def _blas_threads():
    import numpy  # noqa: F401, ICN001 - loads the BLAS

    return max(pool["num_threads"] for pool in import_threadpoolctl().threadpool_info())


def _listening(process):
    # Its name before psutil 6 was `connections`.
    ask = getattr(process, "net_connections", None) or process.connections
    return [c.laddr.ip for c in ask() if c.status == "LISTEN"]


@pytest.fixture(scope="module")
def existing(_private_temporary_folder):
    """Yield a cluster that somebody else has started."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        with Client(cluster) as client:
            client.submit(sum, [1]).result()  # its threads start with the first task
        yield cluster


def test_default_is_one_worker_a_core(shared_client):
    """The yielded client is a real one, with the workers that were asked for."""
    assert isinstance(shared_client, Client)
    assert shared_client.submit(sum, [1, 2]).result() == 3
    assert set(shared_client.nthreads().values()) == {1}
    assert len(shared_client.nthreads()) == 2


def test_workers_are_processes_of_their_own(shared_client):
    """Tasks run outside the caller's process."""
    assert os.getpid() not in shared_client.run(_pid).values()


def test_only_loopback_listens(shared_client):
    """Scheduler, workers, nannies and dashboard listen on 127.0.0.1 and nowhere else."""
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    addresses = {ip for process in tree for ip in _listening(process)}
    assert addresses == {"127.0.0.1"}


def test_dashboard_link_works(shared_client):
    """The address that the client names answers with Dask's page."""
    with urllib.request.urlopen(shared_client.dashboard_link, timeout=20) as page:
        assert b"Dask" in page.read()


def test_blas_threads_do_not_exceed_the_cores(shared_client):
    """Each worker's BLAS gets its share of the cores, at least one thread."""
    expected = max(1, dk.usable_cores() // 2)
    assert set(shared_client.run(_blas_threads).values()) == {expected}


def test_single_worker_in_this_process():
    """processes=False computes here, without a socket; BLAS is limited meanwhile."""
    before = _blas_threads()
    with dk.cluster(n_workers=2, processes=False) as client:
        assert set(client.run(_pid).values()) == {os.getpid()}
        assert client.scheduler.address.startswith("inproc://")
        assert _blas_threads() == max(1, dk.usable_cores() // 2)
        with urllib.request.urlopen(client.dashboard_link, timeout=20) as page:
            assert page.status == 200
    assert _blas_threads() == before


def test_client_is_the_default_inside_only():
    """Dask code inside uses the cluster; afterwards there is none."""
    with dk.cluster(n_workers=1, processes=False) as client:
        assert Client.current() is client
    assert default_client() is not client


def test_environment_stays_as_it_was():
    """Neither starting nor ending a cluster changes a variable of the caller."""
    before = dict(os.environ)
    with dk.cluster(n_workers=1) as client:
        assert dict(os.environ) == before
        assert client.submit(_pid).result() != os.getpid()
    assert dict(os.environ) == before


def test_cluster_ends_after_an_error():
    """An exception inside the context goes through; the workers are ended."""
    with pytest.raises(ZeroDivisionError), dk.cluster(n_workers=1) as client:
        pids = list(client.run(_pid).values())
        _ = 1 / 0
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize("kind", ["cluster", "client"])
def test_existing_cluster_is_left_running(existing, kind):
    """A cluster or client of the user's is used as it is, and lives on."""
    if kind == "cluster":
        with dk.cluster(existing) as client:
            assert client.submit(sum, [1, 2]).result() == 3
    else:
        with Client(existing) as own:
            with dk.cluster(own) as client:
                assert client is own
                assert Client.current() is own
            assert own.submit(sum, [1, 2]).result() == 3
    assert existing.status.name == "running"


def test_existing_cluster_by_address(shared_client):
    """An address connects to the scheduler there; it goes on afterwards."""
    with dk.cluster(shared_client.scheduler.address) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    assert shared_client.submit(sum, [3, 4]).result() == 7


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://127.0.0.1:1", "no Dask scheduler answers at 'tcp://127.0.0.1:1'"),
        ("nonsense", "no cluster named 'nonsense' runs here; those that do: none"),
        ("foo://127.0.0.1:1", "unknown address scheme 'foo'"),
        (3, "address must be .* received 3 of type int"),
    ],
)
def test_wrong_address_is_one_clear_error(address, words):
    """Nobody answers, or it isn't an address: said at once, nothing left running."""
    with pytest.raises(dk.ClusterError, match=words), dk.cluster(address):
        pass


def test_silent_listener_is_no_scheduler():
    """Something that accepts connections but never answers ends in an error too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            pytest.raises(dk.ClusterError, match="no Dask scheduler answers"),
            dk.cluster(f"tcp://127.0.0.1:{port}"),
        ):
            pass


def test_closed_client_is_refused(existing):
    """A client that was closed can't be used; the message says its state."""
    client = Client(existing)
    client.close()
    with (
        pytest.raises(dk.ClusterError, match="closed, not running"),
        dk.cluster(client),
    ):
        pass


def test_taken_dashboard_port_is_one_clear_error():
    """Distributed would take another port; here the port is named."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            pytest.raises(dk.ClusterError, match=f"can't have port {port}"),
            dk.cluster(dashboard_port=port),
        ):
            pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"n_workers": 0},
            "n_workers must be a whole number of at least 1, received 0",
        ),
        ({"n_workers": 1.5}, "received 1.5"),
        ({"n_workers": True}, "received True"),
        ({"threads_per_worker": 0}, "threads_per_worker must be"),
        ({"memory_limit": "lots"}, "memory_limit must be .*received 'lots'"),
        ({"memory_limit": -5}, "memory_limit must be"),
        ({"dashboard_port": 10**6}, "can't have port 1000000"),
    ],
)
def test_wrong_options_say_what_is_allowed(options, words):
    """Each option is checked before anything starts."""
    with pytest.raises(dk.ClusterError, match=words), dk.cluster(**options):
        pass


def test_options_of_a_local_cluster_do_not_fit_an_existing_one(existing):
    """n_workers together with an existing cluster is a mistake, and said to be one."""
    with (
        pytest.raises(dk.ClusterError, match="n_workers can't be given together"),
        dk.cluster(existing, n_workers=2),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("how", ["script", "-c", "stdin"])
def test_works_without_a_main_guard(tmp_path, how):
    """A script without `if __name__ == "__main__"`, python -c and standard input work."""
    code = textwrap.dedent(
        """
        import daskkit as dk
        def double(x):
            return 2 * x
        with dk.cluster(n_workers=1) as client:
            print(client.submit(double, 21).result())
        """
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    arguments = {"script": [str(script)], "-c": ["-c", code], "stdin": ["-"]}[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=code if how == "stdin" else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("42\n", "", 0)


def test_users_own_settings_are_kept():
    """What the user has set in Dask's configuration is not overruled."""
    key = "distributed.admin.tick.interval"
    with dask.config.set({key: "50ms"}):
        assert key not in cluster_module._choose_pace()
    assert cluster_module._choose_pace()[key] == "500ms"


def test_nothing_is_said_of_a_folder_that_is_gone(tmp_path, caplog):
    """A start that is broken off leaves folders to the program's end, and ours is gone."""
    logger = logging.getLogger("distributed.diskutils")
    with dk.cluster(n_workers=1, processes=False), caplog.at_level("ERROR"):
        for path in (tmp_path / "gone", tmp_path):
            logger.error("Failed to remove %r (failed in %r): %s", str(path), len, "no")
        logger.error("Could not acquire workspace lock on path: %s", tmp_path / "gone")
    said = [one.getMessage() for one in caplog.records if one.name == logger.name]
    assert len(said) == 2
    assert str(tmp_path / "gone") not in said[0]
    assert said[1].startswith("Could not acquire")
