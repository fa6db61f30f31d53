"""What Dask itself counts: it agrees with the ledger, and splits its gaps further."""

from __future__ import annotations

import time

import pytest

import daskkit as dk
from daskkit.accounts import Stamp, Trace
from daskkit.comparison.advice import explain
from daskkit.comparison.ledger import make_ledger
from daskkit.comparison.runner import _Runner
from tests.made import make_comparison, make_run, make_trace


def _spin(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return seconds


def _execute(backend):
    """Return the ledger of a stamped execution, and a comparison with it."""
    runner = _Runner()
    runner._workload = dk.Workload("spin", func=_spin, items=[0.02] * 60)
    try:
        _, trace = runner.trace(backend, 2)
    finally:
        runner.stop()
    pool = make_run("threads", trace=make_trace())
    return make_ledger(trace), make_comparison(make_run(backend, trace=trace), pool)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask-futures", "dask-bag"])
def test_busy_part_agrees_with_the_fine_performance_metrics(backend):
    """What the stamps call executing, Dask calls it, too, within 2 per cent.

    Dask looks at the clock before a stamp and after it. Where others have the core in
    between that counts for Dask alone: the closest of some executions tells.
    """
    for _ in range(4):
        ledger, comparison = _execute(backend)
        counted = comparison.counters(backend).set_index("activity")["seconds"]
        tasks_s = counted["execute: thread-cpu"] + counted["execute: thread-noncpu"]
        busy_s = ledger.compute_s + ledger.waiting_s
        assert busy_s < 1.001 * tasks_s
        if busy_s > 0.98 * tasks_s:
            break
    assert busy_s == pytest.approx(tasks_s, rel=0.02)
    slots_s = counted[[name.startswith("slots: ") for name in counted.index]].sum()
    # They count for a moment longer than the call.
    assert slots_s > 0.98 * ledger.whole_s
    assert comparison.counters("threads").empty


def test_gaps_are_split_by_what_dask_says():
    """Where idle time is the largest loss, the advice says what threads waited for."""
    counted = (
        ("slots: busy", 1.0),
        ("slots: starved", 0.5),
        ("slots: transfer", 0.25),
        ("slots: paused", 0.001),
    )
    stamps = (Stamp("1-1", 1.0, 2.0, 1.0, 0, 1),)
    trace = Trace(1, 2.0, stamps, counted=counted)
    text = " ".join(explain(make_ledger(trace), trace))
    assert (
        "By Dask's own account, idle threads had no task for 500 core-ms, "
        "had tasks that waited for data for 250 core-ms." in text
    )
    assert "Dask" not in " ".join(explain(make_ledger(make_trace()), make_trace()))


def test_counters_survive_a_file(tmp_path):
    """They are saved and read back with the trace they belong to."""
    trace = Trace(1, 2.0, (), counted=(("slots: busy", 1.0),))
    comparison = make_comparison(make_run("x", trace=trace, cold_trace=trace))
    loaded = dk.load(comparison.save(tmp_path / "c.json"))
    assert loaded.runs == comparison.runs
    assert list(loaded.counters("x").itertuples(index=False, name=None)) == [
        ("slots: busy", 1.0, 50.0)
    ]
    assert list(loaded.ledger(cold=True)["backend"]) == ["x"]
