"""What an item costs is seen while it runs, and busy cores don't hide it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskkit.run import forks, scout
from daskkit.run.call import Call
from daskkit.run.job import Job
from daskkit.run.quick import Comprehension
from daskkit.run.scout import Scout
from daskkit.run.source import Part

MS = 1e-3


class Watched:
    """A part whose items are looked at when the test says so."""

    def __init__(self, monkeypatch):
        call = Call(Job(abs, "abs"), range(10_000), where="auto")
        self.pilot = call.pilot
        self._scout = Scout(call)
        self._now = self._cpu_s = 0.0
        self.begin_part()
        clock = SimpleNamespace(perf_counter=lambda: self._now)
        monkeypatch.setattr(scout, "time", clock)
        monkeypatch.setattr(scout, "read_cpu_s", lambda _: self._cpu_s)
        monkeypatch.setattr(scout, "read_state", lambda _: "R")

    def begin_part(self):
        """Have the next part begin."""
        self._began = self._now
        self.pilot.part_cpu_s = self._cpu_s
        self._quick = Comprehension(abs, range(10_000))

    def look(self, n_new, wall_s, cpu_s, *, is_amid=False):
        """Return what an item takes, after some more have begun."""
        for _ in range(n_new):
            next(self._quick._iterator)
        self._now += wall_s
        self._cpu_s += cpu_s
        began = self._began
        self.pilot.part, self.pilot.quick = Part(2, range(9_998)), self._quick
        return self._scout._watch_item_s(self._quick, self._now, began, is_amid=is_amid)

    def gather_item_s(self):
        """Return what an item takes for all that is known."""
        return self._scout.gather_facts().item_s


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


def test_mean_of_those_that_began_since(watched):
    """Heavy ones at the end don't vanish among all others."""
    assert watched.look(400, 40 * MS, 40 * MS) == pytest.approx(0.1 * MS)
    assert watched.look(4, 80 * MS, 80 * MS) == pytest.approx(20 * MS)
    assert watched.look(50, 50 * MS, 50 * MS) == pytest.approx(1 * MS)


def test_second_look_at_the_same_item_does_not_make_it_short(watched):
    """Its thread had no core in between."""
    assert watched.look(18, 360 * MS, 180 * MS) == pytest.approx(10 * MS)
    assert watched.look(0, 5 * MS, 0.001 * MS) == pytest.approx(10 * MS)
    assert watched.look(1, 5 * MS, 0.001 * MS) == pytest.approx(10 * MS)


def test_item_that_does_not_end_gets_longer(watched):
    """However many times it is looked at."""
    watched.look(100, 10 * MS, 10 * MS)
    watched.look(1, 20 * MS, 20 * MS)
    assert watched.look(0, 30 * MS, 30 * MS) == pytest.approx(50 * MS)
    assert watched.look(9, 450 * MS, 450 * MS) == pytest.approx(50 * MS)


def test_decision_makes_no_item_dearer(watched):
    """The calling thread waits for the GIL meanwhile, or for a core; it can do less."""
    assert watched.look(100, 10 * MS, 10 * MS) == pytest.approx(0.1 * MS)
    assert watched.look(1, 5 * MS, 5 * MS, is_amid=True) == pytest.approx(0.1 * MS)
    assert watched.look(5, 5 * MS, 5 * MS, is_amid=True) == pytest.approx(0.1 * MS)
    cheaper_s = watched.look(1000, 5 * MS, 5 * MS, is_amid=True)
    assert cheaper_s == pytest.approx(0.005 * MS)


def test_decision_that_sees_a_part_begin_takes_no_item_for_free(watched):
    """It may have cut the one before, whose items tell what these cost at most."""
    assert watched.look(100, 200 * MS, 200 * MS) == pytest.approx(2 * MS)
    watched.pilot.item_s = 2 * MS
    watched.begin_part()
    assert watched.look(3, 5 * MS, 5 * MS, is_amid=True) == pytest.approx(5 / 3 * MS)
    watched.begin_part()
    assert watched.look(1, 9 * MS, 9 * MS, is_amid=True) == pytest.approx(2 * MS)
    assert watched.look(5, 25 * MS, 25 * MS) == pytest.approx(34 / 6 * MS)


@pytest.mark.parametrize(
    ("cpu_s", "expected_s"),
    [(8 * MS, 10 / 11 * MS), (0.2 * MS, 2.2 / 11 * MS)],  # others had the core
)
def test_rare_heavy_item_is_not_forgotten_for_a_few_short_ones(
    watched, cpu_s, expected_s
):
    """Neither is it taken for a mark of all, where it only had to wait."""
    watched.pilot.ended(Part(0, range(1)), [None], 0, 50 * MS, 50 * MS)
    watched.pilot.ended(Part(1, range(1)), [None] * 2, 1, 8 * MS, cpu_s)
    watched.begin_part()
    watched.look(10, 2 * MS, 2 * MS)
    assert watched.gather_item_s() == pytest.approx(expected_s)


def test_what_forks_took_counts_the_next_time(monkeypatch):
    """In a process with much memory they take several times as long as in a small one."""
    monkeypatch.setattr(forks, "_forks_s", 0.002)
    monkeypatch.setattr(scout, "can_fork", lambda **_: True)
    a_scout = Scout(Call(Job(abs, "abs"), range(10), where="auto"))
    a_scout.n_cores = 2
    before_s = a_scout.find_means().ready_s
    forks.note_forks(0.022)
    assert a_scout.find_means().ready_s == pytest.approx(before_s + 0.01)


def test_wait_for_the_gil_is_none_of_the_items(watched, monkeypatch):
    """Whoever looks has it just then; they compute as those before them did."""
    monkeypatch.setattr(scout, "read_state", lambda _: "S")
    watched.pilot.wall_s = watched.pilot.cpu_s = 1.0
    assert watched.look(10, 3 * MS, 1 * MS) == pytest.approx(0.1 * MS)
    assert watched.look(10, 30 * MS, 1 * MS) == pytest.approx(3 * MS)  # they wait


def test_a_moment_of_one_item_does_not_speak_for_all(watched):
    """It is one of many, unless it takes longer than that."""
    watched.pilot.item_s = 0.01 * MS
    assert watched.look(1, 2 * MS, 2 * MS) < 0.05 * MS
    assert watched.look(0, 20 * MS, 20 * MS) == pytest.approx(22 * MS)
