"""What the first items of a call tell of those that are left."""

from __future__ import annotations

import math

import pytest

from daskkit.run.pilot import Pilot
from daskkit.run.source import Part


def _end(pilot, began, wall_s, cpu_s):
    start = pilot.n_items
    pilot.part_began = began
    pilot.ended(Part(start, range(100)), [None] * 100, 0, wall_s, cpu_s)


@pytest.mark.parametrize(
    ("cpu_s", "item_s"),
    [
        (0.01, 1e-4),  # they compute, and had to wait for the GIL
        (0.02, 2e-4),  # they are dearer than those before them
        (0.04, 3e-4),  # at most what they have taken
    ],
)
def test_items_amid_a_disturbance_take_what_they_compute(cpu_s, item_s):
    """Waiting for another thread's import makes no item dearer."""
    pilot = Pilot()
    _end(pilot, 1.0, wall_s=0.01, cpu_s=0.01)
    pilot.disturbed_until_s = math.inf
    for _ in range(20):
        _end(pilot, 2.0, wall_s=0.03, cpu_s=cpu_s)
    assert pilot.item_s == pytest.approx(item_s, rel=1e-3)


def test_items_after_a_disturbance_take_what_they_take():
    """That they wait is their own doing then."""
    pilot = Pilot()
    _end(pilot, 1.0, wall_s=0.01, cpu_s=0.01)
    pilot.disturbed_until_s = 3.0
    for _ in range(20):
        _end(pilot, 3.0, wall_s=0.03, cpu_s=0.01)
    assert pilot.item_s == pytest.approx(3e-4, rel=1e-3)


def test_items_that_wait_do_so_also_amid_a_disturbance():
    """What they compute tells nothing of how long they take."""
    pilot = Pilot()
    _end(pilot, 1.0, wall_s=0.1, cpu_s=0.001)
    pilot.disturbed_until_s = math.inf
    _end(pilot, 2.0, wall_s=0.1, cpu_s=0.0001)
    assert pilot.item_s == pytest.approx(1e-3)


def test_first_items_amid_a_disturbance_are_taken_as_they_are():
    """Nothing is known of them yet."""
    pilot = Pilot()
    pilot.disturbed_until_s = math.inf
    _end(pilot, 1.0, wall_s=0.02, cpu_s=0.01)
    assert pilot.item_s == pytest.approx(2e-4)
