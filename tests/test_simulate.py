"""The simulation: what it says of calls whose wall time is known, and its bounds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.accounts import Stamp, Trace
from daskkit.comparison.ledger import make_ledger
from daskkit.comparison.simulate import Costs, estimate_costs, simulate
from daskkit.errors import ArgumentError
from tests.made import make_trace


def make_costs(durations, *, size=1, **fields):
    n = len(durations)
    batches = (size,) * (n // size) + ((n % size,) if n % size else ())
    return Costs(np.array(durations, dtype=float), batches, **fields)


# Costs, what is asked for, the wall time, and the parts of the ledger.
EVEN = make_costs([1.0] * 8)
CASES = {
    "one worker": (EVEN, {"n_workers": 1}, 8.0, {"compute_s": 8.0}),
    "even items": (EVEN, {"n_workers": 4}, 2.0, {"compute_s": 8.0}),
    "uneven numbers": (
        EVEN, {"n_workers": 3}, 3.0, {"compute_s": 8.0, "tail_s": 1.0},
    ),
    "one giant item at the end": (
        make_costs([1.0, 1.0, 1.0, 5.0]), {"n_workers": 2}, 6.0,
        {"compute_s": 8.0, "tail_s": 4.0},
    ),
    "one giant item at the begin": (
        make_costs([5.0, 1.0, 1.0, 1.0]), {"n_workers": 2}, 5.0,
        {"compute_s": 8.0, "tail_s": 2.0},
    ),
    "large batches": (
        EVEN, {"n_workers": 4, "batch_size": 4}, 4.0, {"compute_s": 8.0, "tail_s": 8.0},
    ),
    "twice as fast items": (
        EVEN, {"n_workers": 4, "item_cost": 0.5}, 1.0, {"compute_s": 4.0},
    ),
    "twice as many items": (
        EVEN, {"n_workers": 4, "n_items": 16}, 4.0, {"compute_s": 16.0},
    ),
    "items that wait": (
        make_costs([1.0] * 8, cpu_share=0.25), {"n_workers": 4}, 2.0,
        {"compute_s": 2.0, "waiting_s": 6.0},
    ),
    "start-up and the caller": (
        make_costs([1.0] * 8, startup_s=3.0, before_s=0.5, after_s=0.25),
        {"n_workers": 4}, 5.75,
        {"startup_s": 12.0, "caller_s": 3.0, "compute_s": 8.0},
    ),
    "gaps": (
        make_costs([1.0] * 4, gap_s=0.5), {"n_workers": 2}, 2.5,
        {"compute_s": 4.0, "dispatch_s": 1.0},
    ),
    "a caller that is the limit": (
        make_costs([1.0] * 4, handover_s=2.0), {"n_workers": 2}, 7.0,
        {"compute_s": 4.0, "dispatch_s": 8.0, "tail_s": 2.0},
    ),
    "a link that is the limit": (
        make_costs([1.0] * 4, item_bytes=100.0, transfer_s=7.0),
        {"n_workers": 2, "bandwidth": 50.0}, 9.0,
        {"compute_s": 4.0, "transfer_s": 12.0, "tail_s": 2.0},
    ),
    "bytes as measured": (
        make_costs([1.0] * 4, serialise_s=0.25, transfer_s=0.75),
        {"n_workers": 2}, 4.0,
        {"compute_s": 4.0, "serialise_s": 1.0, "transfer_s": 3.0},
    ),
    "no items": (make_costs([]), {"n_workers": 2}, 0.0, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_known_calls(case):
    """Hand-computed: the wall time, and to which part of the ledger the time goes."""
    costs, asked, wall_s, expected = CASES[case]
    prediction = simulate(costs, **asked)
    assert prediction.wall_s == pytest.approx(wall_s)
    parts = {k: s for k, s in prediction.ledger.parts().items() if s > 1e-12}
    assert parts == pytest.approx(expected)


durations = st.lists(st.floats(0.0, 10.0, width=32), min_size=1, max_size=40)
small = st.floats(0.0, 1.0, width=32)


@given(durations=durations, n_workers=st.integers(1, 12), size=st.integers(1, 7))
def test_wall_time_is_within_the_bounds_of_list_scheduling(durations, n_workers, size):
    """Not below the mean load or the longest batch, not above their sum (Graham, 1969)."""
    costs = make_costs(durations, size=size)
    batches = [sum(durations[k : k + size]) for k in range(0, len(durations), size)]
    load_s = sum(batches) / n_workers
    wall_s = simulate(costs, n_workers=n_workers).wall_s
    assert max(load_s, *batches, 0.0) <= wall_s + 1e-6
    assert wall_s <= load_s + (1 - 1 / n_workers) * max(batches) + 1e-6


@given(
    durations=durations,
    n_workers=st.integers(1, 12),
    fields=st.fixed_dictionaries(
        dict.fromkeys(
            ["handover_s", "gap_s", "serialise_s", "transfer_s", "startup_s",
             "before_s", "after_s", "cpu_share", "item_bytes"], small,
        )
    ),
    bandwidth=st.none() | st.floats(0.1, 10.0),
    n_items=st.none() | st.integers(1, 60),
)  # fmt: skip
def test_ledger_sums_to_the_whole(durations, n_workers, fields, bandwidth, n_items):
    """Whatever the costs: no part is negative, and they sum to workers x wall."""
    costs = make_costs(durations, size=3, **fields)
    ledger = simulate(
        costs, n_workers=n_workers, bandwidth=bandwidth, n_items=n_items
    ).ledger
    assert math.fsum(ledger.parts().values()) == pytest.approx(ledger.whole_s)


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_a_measured_call_comes_out_as_it_was(n_workers):
    """Simulated on as many workers, a call takes what it took, with the same ledger."""
    trace = make_trace(n_workers, 8)
    prediction = simulate(estimate_costs(trace), n_workers=n_workers)
    assert prediction.wall_s == pytest.approx(trace.wall_s)
    expected = make_ledger(trace).parts()
    assert prediction.ledger.parts() == pytest.approx(expected)


def test_a_call_on_two_workers_is_foretold_from_one():
    """Costs of one worker's trace give what even work takes on two, or a gap more."""
    costs = estimate_costs(make_trace(1, 8, gap=0.02))
    wall_s = simulate(costs, n_workers=2).wall_s
    assert 0 <= wall_s - make_trace(2, 8, gap=0.02).wall_s <= 0.02 + 1e-9


def test_spread_of_repeats_is_the_interval():
    """Repeats that vary by 20 % make an interval; without any there is none."""
    trace = make_trace()
    walls = [0.8, 0.9, 1.0, 1.1, 1.2]
    varied = simulate(estimate_costs(trace, walls), n_workers=4)
    assert varied.low_s < varied.wall_s < varied.high_s
    assert varied.high_s / varied.wall_s < 1.2
    steady = simulate(estimate_costs(trace), n_workers=4)
    assert steady.low_s == steady.wall_s == steady.high_s


def test_items_that_are_drawn_make_an_interval():
    """More items than were measured: which ones is not known, so the time varies."""
    costs = make_costs(np.random.default_rng(0).exponential(size=50))
    prediction = simulate(costs, n_workers=4, n_items=500)
    assert prediction.low_s < prediction.high_s
    assert prediction == simulate(costs, n_workers=4, n_items=500)  # seeded


def test_ten_thousand_workers_and_a_million_items():
    """So many are simulated, too; the wall time is that of the mean load, or more."""
    costs = make_costs([0.01] * 1_000_000)
    prediction = simulate(costs, n_workers=10_000)
    assert prediction.wall_s == pytest.approx(1.0)


def test_empty_batches_are_counted_as_nothing():
    """A stamp without items neither breaks the costs nor adds to them."""
    stamps = (Stamp("a", 0.0, 1.0, 1.0, 0, 1), Stamp("a", 1.0, 1.0, 0.0, 1, 0))
    costs = estimate_costs(Trace(1, 1.0, stamps))
    assert costs.durations_s.tolist() == [1.0]
    assert simulate(costs, n_workers=1).wall_s == 1.0


def test_without_stamps_nothing_is_known():
    """A trace without batches is refused."""
    with pytest.raises(ArgumentError, match="no batch was stamped"):
        estimate_costs(Trace(1, 1.0, ()))


def test_a_caller_that_computes_needs_a_core():
    """On as many cores as workers it takes its time from them; on more it doesn't."""
    costs = make_costs([1.0] * 8, caller_cpu_s=2.0)
    alone = simulate(costs, n_workers=2)
    roomy = simulate(costs, n_workers=2, cores=3)
    crowded = simulate(costs, n_workers=2, cores=2)
    assert alone.wall_s == roomy.wall_s == 4.0
    assert crowded.wall_s == pytest.approx(5.0)
    assert crowded.ledger.waiting_s == pytest.approx(2.0)
    assert crowded.ledger.whole_s == pytest.approx(10.0)


def test_more_workers_than_cores_share_them():
    """Items that sleep are no burden; items that compute take turns."""
    assert simulate(EVEN, n_workers=8, cores=2).wall_s == pytest.approx(4.0)
    asleep = dataclasses.replace(EVEN, cpu_share=0.0)
    assert simulate(asleep, n_workers=8, cores=2).wall_s == pytest.approx(1.0)


def test_items_that_waited_for_the_caller_would_not_wait_elsewhere():
    """What the caller has taken of the workers' cores is not what items cost."""
    stamps = tuple(Stamp(w, 0.0, 1.25, 1.0, k, 1) for k, w in enumerate("ab"))
    trace = Trace(2, 1.25, stamps, caller_cpu_s=0.5)
    crowded = estimate_costs(trace, cores=2)
    assert crowded.durations_s.tolist() == pytest.approx([1.0, 1.0])
    assert crowded.cpu_share == pytest.approx(1.0)
    assert simulate(crowded, n_workers=2, cores=2).wall_s == pytest.approx(1.25)
    assert estimate_costs(trace, cores=4).durations_s.tolist() == [1.25, 1.25]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_workers": 0}, "n_workers must be a whole number of at least 1, .* 0"),
        ({"n_workers": 2.5}, "n_workers must be a whole number .* received 2.5"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"n_items": True}, "n_items must be a whole number .* received True"),
        ({"item_cost": 0.0}, "item_cost must be a positive number, received 0.0"),
        ({"bandwidth": math.nan}, "bandwidth must be a positive number, received nan"),
    ],
)
def test_impossible_questions_are_refused(asked, message):
    """A wrong number is named, with what was received and what is allowed."""
    with pytest.raises(ArgumentError, match=message):
        simulate(EVEN, **({"n_workers": 1} | asked))


def test_costs_are_plain_numbers():
    """Costs can be changed one by one, to ask about one of them."""
    faster = dataclasses.replace(EVEN, durations_s=EVEN.durations_s / 2)
    assert simulate(faster, n_workers=1).wall_s == 4.0
