"""The ledger: parts that sum to workers x wall, each for what it is named after."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.accounts import PARTS, Ledger, Stamp, Trace
from daskkit.comparison.ledger import lay_out, make_ledger, make_trace


def make_stamp(worker, start, end, *, first=0, n_items=1, cpu=None, **fields):
    cpu = end - start if cpu is None else cpu
    return Stamp(worker, start, end, cpu, first, n_items, **fields)


def make_call(*stamps, n_workers=2, wall=4.0, **fields):
    return Trace(n_workers=n_workers, wall_s=wall, stamps=stamps, **fields)


BOTH_BUSY = make_stamp("a", 0.0, 4.0), make_stamp("b", 0.0, 4.0)

# A call of two workers and 4 s, 8 core-seconds, and what its ledger holds.
CASES = {
    "nothing but compute": (make_call(*BOTH_BUSY), {"compute_s": 8.0}),
    "one giant item": (
        make_call(make_stamp("a", 0.0, 4.0), make_stamp("b", 0.0, 1.0)),
        {"compute_s": 5.0, "tail_s": 3.0},
    ),
    "items that sleep": (
        make_call(*(dataclasses.replace(stamp, cpu_s=1.0) for stamp in BOTH_BUSY)),
        {"compute_s": 2.0, "waiting_s": 6.0},
    ),
    "slow start of the workers": (
        make_call(make_stamp("a", 1.5, 4.0), make_stamp("b", 1.5, 4.0), startup_s=1.5),
        {"startup_s": 3.0, "compute_s": 5.0},
    ),
    "one worker is up before the others": (
        make_call(make_stamp("a", 1.0, 4.0), make_stamp("b", 2.0, 4.0), startup_s=2.0),
        {"startup_s": 3.0, "compute_s": 5.0},
    ),
    "gaps between batches": (
        make_call(
            make_stamp("a", 0.0, 1.0),
            make_stamp("a", 2.5, 4.0),
            make_stamp("b", 0.0, 4.0),
        ),
        {"compute_s": 6.5, "dispatch_s": 1.5},
    ),
    "one worker gets its first batch late": (
        make_call(make_stamp("a", 0.0, 4.0), make_stamp("b", 0.5, 4.0)),
        {"compute_s": 7.5, "dispatch_s": 0.5},
    ),
    "the caller prepares and combines": (
        make_call(make_stamp("a", 1.0, 3.0), make_stamp("b", 1.0, 3.0)),
        {"caller_s": 4.0, "compute_s": 4.0},
    ),
    "the first batch is long on its way": (
        make_call(
            make_stamp("a", 1.0, 4.0), make_stamp("b", 1.0, 4.0), prepared_s=0.25
        ),
        {"caller_s": 0.5, "dispatch_s": 1.5, "compute_s": 6.0},
    ),
    "more workers than batches": (
        make_call(make_stamp("a", 0.0, 4.0)),
        {"compute_s": 4.0, "tail_s": 4.0},
    ),
    "large results": (
        make_call(
            make_stamp("a", 0.0, 2.0, serialise_s=0.5, transfer_s=0.25),
            make_stamp("a", 3.0, 4.0),
            make_stamp("b", 0.0, 4.0),
        ),
        {
            "compute_s": 7.0,
            "serialise_s": 0.5,
            "transfer_s": 0.25,
            "dispatch_s": 0.25,
        },
    ),
    "large inputs": (
        make_call(
            make_stamp("a", 0.0, 1.0),
            make_stamp("a", 2.0, 4.0, serialise_s=5.0),  # more than there is room for
            make_stamp("b", 0.0, 4.0),
        ),
        {"compute_s": 7.0, "serialise_s": 1.0},
    ),
    "no batch at all": (make_call(startup_s=1.0), {"startup_s": 2.0, "caller_s": 6.0}),
    "a start that takes longer than the call": (
        make_call(startup_s=9.0),
        {"startup_s": 8.0},
    ),
    "the caller lends a hand before two workers are there": (
        make_call(
            make_stamp("caller", 0.0, 1.0),
            make_stamp("a", 1.0, 4.0),
            make_stamp("b", 1.0, 4.0),
            startup_s=1.0,
        ),
        {"startup_s": 1.0, "compute_s": 7.0},
    ),
    "three threads on two workers": (
        make_call(*BOTH_BUSY, make_stamp("caller", 0.0, 4.0)),
        {"compute_s": 8.0},
    ),
    "clocks that are a little off": (
        make_call(make_stamp("a", -0.5, 4.0), make_stamp("b", 0.0, 4.5)),
        {"compute_s": 8.0},
    ),
    "more CPU time than time": (
        make_call(*(dataclasses.replace(stamp, cpu_s=5.0) for stamp in BOTH_BUSY)),
        {"compute_s": 8.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_loss_has_its_name(case):
    """Time goes to the part that is named after its cause, and to no other."""
    trace, expected = CASES[case]
    ledger = make_ledger(trace)
    parts = {name: s for name, s in ledger.parts().items() if s > 1e-12}
    assert parts == pytest.approx(expected)
    assert sum(expected.values()) == pytest.approx(ledger.whole_s)


seconds = st.floats(0.0, 10.0, allow_nan=False, width=32)
stamps = st.builds(
    lambda worker, start, length, cpu, serialise, transfer: Stamp(
        worker, start, start + length, cpu, 0, 1, 0, 0, serialise, transfer
    ),
    st.sampled_from("abcdef"), seconds, seconds, seconds, seconds, seconds,
)  # fmt: skip


@given(
    stamps=st.lists(stamps, max_size=20),
    n_workers=st.integers(1, 4),
    wall_s=seconds,
    startup_s=seconds,
    prepared_s=seconds | st.just(math.nan),
)
def test_parts_sum_to_the_whole_whatever_the_stamps_say(
    stamps, n_workers, wall_s, startup_s, prepared_s
):
    """Overlaps, too many workers, wrong clocks: the sum is workers x wall, none is < 0."""
    trace = Trace(n_workers, wall_s, tuple(stamps), startup_s, prepared_s)
    ledger = make_ledger(trace)
    parts = ledger.parts()
    assert math.fsum(parts.values()) == pytest.approx(n_workers * wall_s, abs=1e-9)
    assert min(parts.values()) >= 0


@given(stamps=st.lists(stamps, max_size=20), n_workers=st.integers(1, 4))
def test_lines_have_no_overlaps(stamps, n_workers):
    """On each line a batch begins only after the one before it has ended."""
    lines = lay_out(Trace(n_workers, 8.0, tuple(stamps)))
    assert len(lines) == n_workers
    for line in lines:
        at_s = 0.0
        for stamp in line:
            assert at_s <= stamp.start_s <= stamp.end_s <= 8.0
            at_s = stamp.end_s


def test_workers_keep_their_lines():
    """As many workers as lines: each has its own, in the order in which they begin."""
    trace = make_call(
        make_stamp("b", 0.5, 1.0), make_stamp("a", 0.0, 1.0), make_stamp("a", 2.0, 3.0)
    )
    assert [[s.worker for s in line] for line in lay_out(trace)] == [["a", "a"], ["b"]]


def test_trace_counts_from_the_begin_of_the_call():
    """Stamps come on the caller's clock, and are kept relative to its call, sorted."""
    trace = make_trace(
        [make_stamp("a", 103.0, 104.0), make_stamp("b", 101.0, 102.0)],
        n_workers=2, began_s=100.0, ended_s=105.0, prepared_s=100.5,
    )  # fmt: skip
    assert [stamp.start_s for stamp in trace.stamps] == [1.0, 3.0]
    assert (trace.wall_s, trace.prepared_s) == (5.0, 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_workers": 0}, "n_workers must be at least 1, received 0"),
        ({"ended_s": -1.0}, "can't end before it begins, received 0.0 to -1.0"),
        ({"ended_s": math.nan}, "can't end before it begins"),
        ({"startup_s": -0.1}, "startup_s must be at least 0 s, received -0.1"),
    ],
)
def test_trace_refuses_what_makes_no_sense(changes, message):
    """A wrong number is named, with what was received and what is allowed."""
    fields = {"n_workers": 1, "began_s": 0.0, "ended_s": 1.0} | changes
    with pytest.raises(ValueError, match=message):
        make_trace([], **fields)


def test_ledger_refuses_parts_that_do_not_sum():
    """A ledger whose parts aren't the whole, or are negative, can't be made."""
    with pytest.raises(ValueError, match="must sum to workers x wall = 2 core-seconds"):
        Ledger(2, 1.0, compute_s=1.5)
    with pytest.raises(ValueError, match=r"received -0\.5 as tail_s"):
        Ledger(2, 1.0, compute_s=2.5, tail_s=-0.5)


def test_ledger_names_all_its_parts():
    """`PARTS` has every field but workers and wall, in their order."""
    fields = [field.name for field in dataclasses.fields(Ledger)]
    assert ["n_workers", "wall_s", *PARTS] == fields
