"""`daskkit cluster` and `daskkit dashboard`: found by name, gone after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request

import psutil
import pytest
from click.testing import CliRunner

import daskkit as dk
from daskkit.cli import main
from daskkit.errors import ClusterError
from daskkit.run import named

WAIT_S = 60


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path / "daskkit" / "clusters"
    monkeypatch.undo()  # before it is looked whether a variable has changed


def test_name_is_known_as_long_as_the_cluster():
    """A published cluster is found by its name inside the context, and not after it."""
    with named.publish("work", "tcp://127.0.0.1:1", "http://127.0.0.1:2/daskkit"):
        assert named.list_names() == ["work"]
        found = named.find("work")
        assert (found.address, found.pid) == ("tcp://127.0.0.1:1", os.getpid())
        with pytest.raises(ClusterError, match="named 'work' runs already"):
            named.check_free("work")
        with pytest.raises(ClusterError, match="those that do: 'work'"):
            named.find("other")
    assert named.list_names() == []
    named.check_free("work")


def test_only_the_owner_can_read_the_file(folder):
    """Folder and file are closed to all others."""
    with named.publish("work", "a", "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "work.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "a" * 65, "tcp://a:1", "ä"])
def test_names_that_are_none_are_refused(name):
    """What could be an address, an option or a path is no name; the error says what is."""
    assert not named.is_name(name)
    with pytest.raises(ClusterError, match="up to 64 letters"):
        named.check_free(name)


@pytest.mark.parametrize("damage", ["dead", "reused", "garbage", "other"])
def test_a_file_that_was_left_behind_names_nothing(folder, damage):
    """After a kill, and whatever the file holds, the name is free again."""
    with named.publish("work", "a", "b"):
        path = folder / "work.json"
        content = json.loads(path.read_text())
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    content |= {"dead": {"pid": done.pid}, "reused": {"began": 1.0}}.get(damage, {})
    texts = {"garbage": "{", "other": "[1]"}
    path.write_text(texts.get(damage, json.dumps(content)))
    assert named.list_names() == []
    named.check_free("work")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cluster_of_the_command_line_serves_until_it_is_told_to_end(folder, number):
    """It prints where it is, is found by its name, and ends with its workers at once."""
    command = [sys.executable, "-m", "daskkit", "cluster", "--name", "work"]
    process = subprocess.Popen(
        [*command, "--n-workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        lines = [process.stdout.readline().strip() for _ in range(3)]
        assert lines[2] == "In Python: daskkit.cluster('work')"
        with dk.cluster("work") as client:
            assert lines[0] == f"Scheduler: {client.scheduler.address}"
            assert client.submit(sum, [1, 2]).result() == 3
        page = lines[1].removeprefix("Dashboard: ")
        with urllib.request.urlopen(page, timeout=WAIT_S) as answer:
            assert answer.status == 200
        shown = CliRunner().invoke(main, ["dashboard", "work", "--print-only"])
        assert shown.output.strip() == page
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        os.killpg(process.pid, number)  # as a terminal does
        out, err = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert out == ""
    assert err == "Ctrl-C ends it.\nThe cluster has ended.\n"
    assert not psutil.wait_procs(children, timeout=WAIT_S)[1]
    assert list(folder.iterdir()) == []


def test_dashboard_of_an_address_gets_the_page(shared_client):
    """Any scheduler that runs can be named by its address."""
    address = shared_client.scheduler.address
    shown = CliRunner().invoke(main, ["dashboard", address, "--print-only"])
    assert shown.output.strip().endswith("/daskkit")


def test_dashboard_without_a_cluster_says_what_to_do():
    """One line that names the command, and exit code 1."""
    shown = CliRunner().invoke(main, ["dashboard", "--print-only"])
    assert shown.exit_code == 1
    assert "no cluster named 'default' runs here" in shown.output
    assert "daskkit cluster --name NAME" in shown.output
