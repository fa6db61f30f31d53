"""What is known of a function, and of the items that the caller has executed."""

from __future__ import annotations

import pytest

from daskkit.run import known
from daskkit.run.call import Pilot
from daskkit.run.known import Known
from daskkit.run.source import Part


def _pilot(parts):
    """Return a pilot that has seen parts: number of items and seconds."""
    pilot, start = Pilot(), 0
    for n_items, wall_s in parts:
        part = Part(start, range(start, start + n_items))
        pilot.ended(part, [None] * n_items, 0, wall_s, wall_s)
        start += n_items
    return pilot


def test_cold_first_item_does_not_count_as_many():
    """0.5 ms for the first row and 8 us for others: that is what they cost."""
    sizes = [1, 8, 64, 128, 256]
    pilot = _pilot([(n, 0.0005 if n == 1 else n * 8e-6) for n in sizes])
    assert pilot.item_s == pytest.approx(8e-6, rel=0.05)


def test_newest_items_tell_most():
    """Costs that rise are seen soon, one freak part doesn't decide."""
    assert _pilot([(4, 0.004)] * 5 + [(4, 0.04)] * 5).item_s > 0.009
    assert _pilot([(4, 0.004)] * 5 + [(4, 0.04)]).item_s < 0.008


def test_part_without_results_is_no_reason_to_fail():
    """Its first item has raised."""
    pilot = Pilot()
    pilot.ended(Part(0, range(3)), [], 0, 0.001, 0.001)
    assert pilot.item_s == pytest.approx(0.001)


def test_share_of_the_gil_is_known_for_such_items(monkeypatch):
    """For a minute, and for items of about that cost."""
    now = [100.0]
    monkeypatch.setattr(known.time, "monotonic", lambda: now[0])
    facts = Known()
    assert facts.gil_share(0.001) is None
    facts.note_gil_share(0.001, 0.2)
    assert facts.gil_share(0.002) == 0.2
    assert facts.gil_share(0.1) is None
    now[0] += 61.0
    assert facts.gil_share(0.001) is None
