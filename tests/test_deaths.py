"""What a worker was doing when it died, found by the next attempt."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import daskkit as dk
from daskkit.errors import WorkerDiedError
from daskkit.transport import deaths
from daskkit.transport.deaths import Death, Doing, Record, note_death, recording

FIRST = Death(Doing.RUNS, 5, 9, "", "signal SIGKILL")
AT_7 = FIRST._replace(start=7, stop=8)


@pytest.mark.parametrize(
    ("found", "culprit"),
    [
        ([], None),
        ([FIRST, AT_7], None),  # may have been chance
        ([FIRST, AT_7, AT_7], AT_7),
        ([FIRST, FIRST, AT_7], AT_7),
        ([FIRST, FIRST, FIRST], None),  # of four items nobody knows which
        ([FIRST, AT_7, AT_7._replace(start=8, stop=9)], None),
        ([FIRST, AT_7, AT_7._replace(doing=Doing.TRIES)], None),
        (3 * [FIRST._replace(doing=Doing.COMBINES)], FIRST._replace(doing=4)),
    ],
)
def test_who_is_guilty(found, culprit):
    """Only what workers have died of again and again."""
    assert Record(deaths=found).culprit == culprit


def test_error_says_what_and_why():
    """With the types, if it was about rebuilding them."""
    tries = AT_7._replace(doing=Doing.TRIES, types="a.B")
    text = (
        "died while it tried to rebuild the result of item 7, with a.B, 3 times; the "
        "last time: signal SIGKILL"
    )
    with pytest.raises(WorkerDiedError, match=text):
        Record(deaths=3 * [tries]).blame("item 7")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Have this process note what its tasks do, as if it were a worker."""
    monkeypatch.setattr(deaths, "_pages", {})
    monkeypatch.setattr(deaths, "_find_task", lambda: "task")
    deaths.open_page(tmp_path)
    yield tmp_path
    deaths._pages[os.getpid()].memory.close()


def _die(folder):
    """Write down what a copy of this process would have been doing."""
    path = deaths._page_path(folder, os.getpid())
    deaths._page_path(folder, 1).write_bytes(path.read_bytes())
    note_death(folder, 1, "exit code 3")
    assert not deaths._page_path(folder, 1).exists()


def test_death_is_told_to_the_next_attempt(page):
    """And to no other task; when that attempt has ended it is forgotten."""
    with recording("a") as record:
        record.note(Doing.TRIES, 3, 4, "a.B")
        _die(page)
    with recording("b") as record:
        assert record.deaths == []
    with recording("a") as record:
        assert record.deaths == [Death(Doing.TRIES, 3, 4, "a.B", "exit code 3")]
    with recording("a") as record:
        assert record.deaths == []


def test_of_several_tasks_none_is_blamed(page):
    """Nobody knows which one it was; neither if none was amid anything."""
    with recording("a") as one, recording("b") as other:
        one.note(Doing.RUNS, 1, 2)
        other.note(Doing.RUNS, 3, 4)
        _die(page)
    _die(page)
    assert not list(page.glob("deaths-*"))


def test_full_disk_costs_the_notes_only(tmp_path, monkeypatch):
    """The worker works, and its nanny puts another in its place."""
    monkeypatch.setattr(deaths, "_pages", {})
    deaths.open_page("/dev/full/no-folder")
    assert deaths._pages == {}
    entry = deaths._ENTRY.pack(Doing.RUNS, 1, 2, b"k" * 32, b"")
    deaths._page_path(tmp_path, 1).write_bytes(entry)
    told = deaths._deaths_path(str(tmp_path), "k" * 32)
    Path(told).symlink_to("/dev/full")
    note_death(tmp_path, 1, "exit code 3")
    Path(told).unlink()
    Path(told).write_text('[2, 1, 2, "", "exit code 3"]\n[2, 1', encoding="utf-8")
    assert deaths._read_deaths(told) == [Death(Doing.RUNS, 1, 2, "", "exit code 3")]


def test_more_tasks_than_entries(page):
    """Those that find none keep no record."""
    held = [recording(i) for i in range(deaths._N_ENTRIES + 1)]
    records = [one.__enter__() for one in held]
    assert records[-1] is deaths._NOBODYS
    for one in held:
        one.__exit__(None, None, None)
    with recording("again") as record:
        assert record is not deaths._NOBODYS


def test_nobody_keeps_records_outside_of_a_worker():
    """As in Dask's other schedulers."""
    with recording("a") as record:
        record.note(Doing.RUNS, 1, 2)
        assert record.deaths == ()


def _look(dask_worker):
    """Return what a worker has opened, and with which rights."""
    (page,) = deaths._pages.values()
    path = deaths._page_path(Path(page.folder), os.getpid())
    return str(path), stat.S_IMODE(path.stat().st_mode)


def test_pages_go_with_the_cluster():
    """They are the owner's only."""
    with dk.cluster(n_workers=1) as client:
        ((path, mode),) = client.run(_look).values()
        assert mode == 0o600
        assert os.path.exists(path)  # noqa: PTH110 - it came as text
    assert not os.path.exists(path)  # noqa: PTH110 - as above
