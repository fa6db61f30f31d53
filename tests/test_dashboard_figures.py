"""The dashboard's arithmetic: from workers' counters and callers' messages to figures."""

from __future__ import annotations

import pytest

from daskkit.dashboard.calls import Calls
from daskkit.dashboard.ledger import LABELS, Ledger, Totals
from daskkit.run import meter


def make_report(t, seconds, *, began=0.0, n=1, active=(0.0, 0.0), **counts):
    """Return what a worker says; `seconds` from the left, the rest is 0."""
    seconds = [*seconds, *[0.0] * (len(LABELS) - len(seconds))]
    numbers = {"items": 0, "failed": 0, "mapped": 0, "sent": 0, "slow": [], **counts}
    return {"t": t, "began": began, "n": n, "s": seconds, "active": active, **numbers}


def make_message(t, done, *, key="1", state="running", total=100, began=0.0):
    return {
        "id": key, "name": "square", "t": t, "began": began, "state": state,
        "total": total, "done": done, "failed": 0, "open": 0, "size": 4,
        "why": "as asked for", "lanes": 2,
    }  # fmt: skip


def test_labels_are_those_of_the_workers():
    """What workers count and what the page shows are the same labels, in one order."""
    assert LABELS == meter.LABELS


def test_nothing_heard_gives_no_figure():
    """Without workers there is no efficiency; a cluster that rests is at 0, not NaN."""
    ledger = Ledger()
    assert ledger.efficiency is ledger.efficiency_now(1.0) is None
    assert ledger.run_seconds == ledger.rates(1.0) == [0.0] * 6
    assert ledger.totals == Totals()
    ledger.hear("a", make_report(4.0, [0, 0, 0, 0, 0, 4.0]))
    assert ledger.efficiency_now(4.0) == 0.0
    assert ledger.efficiency is None


@pytest.mark.parametrize(
    ("seconds", "efficiency"),
    [
        ([4.0], 1.0),
        ([3.0, 1.0], 1.0),
        ([2.0, 1.0, 1.0], 0.75),
        ([0.0, 0.0, 4.0], None),
        ([1.0, 0.0, 1.0, 1.0, 1.0], 0.25),
    ],
)
def test_efficiency_is_the_share_that_executes(seconds, efficiency):
    """Busy and waiting count, transfer, hand-over and pauses don't; the sum is n * t."""
    ledger = Ledger()
    ledger.hear("a", make_report(4.0, seconds, active=(0.0, 4.0)))
    assert ledger.efficiency == efficiency
    assert sum(ledger.run_seconds) == pytest.approx(4.0)
    assert sum(ledger.rates(4.0)) == pytest.approx(1.0)


def test_run_has_the_edges_that_workers_name():
    """Between two reports a run begins and ends; idle time outside doesn't count."""
    ledger = Ledger()
    ledger.hear("a", make_report(10.0, [0, 0, 0, 0, 0, 10.0]))
    ledger.hear("b", make_report(10.0, [0, 0, 0, 0, 0, 10.0]))
    ledger.hear("a", make_report(20.0, [8.0, 0, 0, 0, 0, 12.0], active=(11.0, 19.0)))
    ledger.hear("b", make_report(20.0, [4.0, 0, 0, 0, 0, 16.0], active=(11.0, 15.0)))
    assert ledger.run == (11.0, 19.0)
    assert ledger.efficiency == pytest.approx(12 / 16)


@pytest.mark.parametrize(
    ("began", "run", "busy"), [(12.5, (12.5, 14.0), 1.0), (11.5, (0.0, 14.0), 9.0)]
)
def test_a_rest_of_two_seconds_ends_a_run(began, run, busy):
    """Work after a longer rest is another run; after a shorter one the same."""
    ledger = Ledger()
    ledger.hear("a", make_report(10.0, [8.0], active=(0.0, 10.0)))
    first = began if began > 12 else 0.0
    ledger.hear("a", make_report(14.0, [9.0], active=(first, 14.0)))
    assert ledger.run == run
    assert ledger.run_seconds[0] == busy


def test_a_late_lost_or_repeated_report_changes_nothing():
    """Any subset of reports in any order gives the figures of the last one."""
    reports = [
        make_report(t, [t / 2, 0, 0, 0, 0, t / 2], active=(0.0, t), items=int(t))
        for t in (1.0, 2.0, 3.0, 4.0)
    ]
    for order in ([0, 1, 2, 3], [0, 2, 1, 3], [3], [1, 1, 3, 0, 2]):
        ledger = Ledger()
        for i in order:
            ledger.hear("a", reports[i])
        assert ledger.efficiency == 0.5
        assert ledger.totals.items == 4


@pytest.mark.parametrize("address", ["b", "a"])
def test_what_a_dead_worker_did_still_counts(address):
    """One that goes keeps its items and seconds; another follows, also at its address."""
    ledger = Ledger()
    slow = [[3.0, "f", 7, 1, False]]
    ledger.hear("a", make_report(4.0, [4.0], active=(0.0, 4.0), items=5, slow=slow))
    if address == "b":
        ledger.keep(["b"])
    ledger.hear(address, make_report(8.0, [2.0], began=4.0, active=(5.0, 8.0), items=2))
    assert ledger.totals.items == 7
    assert ledger.run == (0.0, 8.0)
    assert ledger.efficiency == pytest.approx(6 / 8)
    assert [item.index for item in ledger.slowest] == [7]
    assert ledger.n_workers == 1


def test_a_worker_that_is_silent_says_nothing_about_now():
    """Rates are those of workers that were heard of within ten seconds."""
    ledger = Ledger()
    ledger.hear("a", make_report(1.0, [1.0]))
    assert sum(ledger.rates(now=5.0)) == 1.0
    assert sum(ledger.rates(now=20.0)) == 0.0


def test_a_call_extends_the_run_that_it_is_part_of():
    """Starting lanes takes time, in which the threads of the workers starve."""
    ledger = Ledger()
    ledger.hear("a", make_report(10.0, [0, 0, 0, 0, 0, 10.0]))
    ledger.cover(11.0, 20.0)
    ledger.hear("a", make_report(20.0, [8.0, 0, 0, 0, 0, 12.0], active=(12.0, 20.0)))
    assert ledger.run == (11.0, 20.0)
    assert ledger.efficiency == pytest.approx(8 / 9)


def test_rate_is_that_of_the_last_seconds():
    """A call that slows down has the rate of now, and the time left at that rate."""
    calls = Calls()
    for t in range(1, 21):
        done = 10 * t if t <= 10 else 100 + (t - 10)
        calls.hear(make_message(float(t), done, total=210))
    (row,) = calls.rows(now=20.0)
    assert row.rate == pytest.approx(1.0)
    assert row.left_s == pytest.approx(100.0)
    assert row.wall_s == 20.0


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (make_message(2.0, 100, state="done"), ("done", 50.0, None)),
        (make_message(2.0, 50, total=None), ("running", 25.0, None)),
        (make_message(2.0, 0), ("running", 0.0, None)),
        (make_message(2.0, 50), ("running", 25.0, 2.0)),
        (make_message(0.0, 0), ("running", 0.0, None)),
    ],
)
def test_rows_of_calls(message, expected):
    """Rate and time left are said where they can be; a call that is over has its mean."""
    calls = Calls()
    calls.hear(message)
    (row,) = calls.rows(now=2.0)
    assert (row.state, row.rate, row.left_s) == expected


def test_messages_may_overtake_one_another():
    """The last message wins by its time, not by its arrival."""
    calls = Calls()
    calls.hear(make_message(2.0, 100, state="done"))
    calls.hear(make_message(1.0, 50))
    (row,) = calls.rows(now=3.0)
    assert (row.state, row.n_done) == ("done", 100)


def test_a_killed_caller_falls_silent_and_is_forgotten():
    """What says nothing for 15 s is marked; the list stays short, whoever is killed."""
    calls = Calls()
    for i in range(200):
        state = "running" if i % 2 else "done"
        calls.hear(make_message(float(i), 1, key=str(i), state=state, began=float(i)))
    rows = calls.rows(now=1_000.0)
    assert len(rows) <= 36
    assert {row.state for row in rows} == {"silent", "done"}
    assert rows[0].wall_s == 0.0
