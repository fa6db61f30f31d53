"""The forecast of each way, by hand-computed values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.run.plan import Facts, Means, count_threads, forecast

TWO = Means(n_cores=2, n_workers=2, ready_s=0.01)


@pytest.mark.parametrize(
    ("facts", "way"),
    [
        (Facts(0, 1.0), "inline"),
        (Facts(1_000_000, 5e-8), "inline"),
        (Facts(1_000_000, 5e-8, argument_dump_s=3e-8, result_load_s=3e-8), "inline"),
        (Facts(10, 0.001), "inline"),
        (Facts(1_000, 0.001), "processes"),
        (Facts(2, 10.0), "processes"),
        (Facts(100, 0.01, cpu_share=0.01, gil_share=0.01), "threads"),
        # 8 MB to be sent for 4 ms of work: both ways cost more than they bring.
        (Facts(100, 0.004, argument_bytes=8e6), "inline"),
        (Facts(100, 0.004, argument_bytes=8e6, gil_share=0.05), "threads"),
        (Facts(100, 0.004, result_bytes=8e6, gil_share=0.05), "threads"),
        # Threads and processes alike: processes.
        (Facts(10_000, 0.001, gil_share=0.0), "processes"),
        (Facts(100, 0.01, gil_share=0.0, threads_failed=True), "processes"),
        (Facts(10_000, 0.001, processes_failed=True), "inline"),
        (Facts(1_000, 0.001, obstacle="a lock can't be pickled"), "inline"),
        (Facts(1_000, 0.001, func_bytes=4e9), "inline"),
    ],
)
def test_way(facts, way):
    """The way that anybody would take who knew these facts."""
    best = forecast(facts, TWO)
    assert best.way == way, best


def test_seconds_by_hand():
    """1,000 items of 10 ms on two of everything."""
    best = forecast(Facts(1_000, 0.01, gil_share=0.6), TWO)
    assert best.inline_s == pytest.approx(10.0)
    assert best.threads_s == pytest.approx(6.0)
    assert best.processes_s == pytest.approx(5.01, rel=1e-3)


def test_few_items_are_not_halves():
    """Three items on two workers take as long as two."""
    assert forecast(Facts(3, 1.0), TWO).processes_s >= 1.8


def test_nothing_else_there():
    """Without workers and threads everything stays here."""
    best = forecast(Facts(1_000, 1.0), Means(1, 0, 0.0, threads=False))
    assert (best.way, best.processes_s) == ("inline", math.inf)
    assert best.reason == "Inline: nothing else is there to run on."


def test_children_know_the_items():
    """What need not be sent costs nothing."""
    facts = Facts(100, 0.004, argument_bytes=8e6, func_bytes=1e9)
    children = Means(2, 2, 0.02, knows_items=True)
    assert forecast(facts, children).processes_s == pytest.approx(0.22, rel=1e-3)


@pytest.mark.parametrize(("share", "n"), [(1.0, 2), (0.5, 4), (0.1, 20), (0.0, 32)])
def test_threads_keep_the_cores_busy(share, n):
    """As many as there are cores, and more where they wait, up to a limit."""
    assert count_threads(Facts(1_000, 1.0, cpu_share=share), TWO) == n


@given(
    n_left=st.integers(0, 10**9),
    item_s=st.floats(0, 1e5),
    cpu_share=st.floats(0, 1),
    gil_share=st.floats(0, 1),
    n_cores=st.integers(1, 512),
    n_workers=st.integers(0, 2_000),
    n_bytes=st.floats(0, 1e12),
)
def test_chosen_way_is_never_predicted_slower(  # noqa: PLR0917 - drawn by name
    n_left, item_s, cpu_share, gil_share, n_cores, n_workers, n_bytes
):
    """Never worse than the loop by its own forecast, and always with a reason."""
    facts = Facts(n_left, item_s, cpu_share, gil_share, argument_bytes=n_bytes)
    best = forecast(facts, Means(n_cores, n_workers, 0.01))
    seconds = {
        "inline": best.inline_s,
        "threads": best.threads_s,
        "processes": best.processes_s,
    }
    assert seconds[best.way] <= best.inline_s
    assert best.reason.endswith(".")
