"""Passages: who waits for what is packed, sent and opened, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.accounts import Stamp, Trace
from daskkit.comparison.ledger import make_ledger
from daskkit.comparison.passages import Passage, charge

MANY = 10**9


def make_input(pack, opened, *, first=0, n_bytes=MANY, to_caller=False):
    """Return an item that the caller packs."""
    times = (*pack, pack[1] - pack[0], *opened, opened[1] - opened[0])
    return Passage(
        *times, first, 1, n_bytes, is_result=False, by_caller=True, to_caller=to_caller
    )


def make_result(pack, opened, *, first=0, n_bytes=MANY):
    """Return a result that a worker packs and the caller opens."""
    times = (*pack, pack[1] - pack[0], *opened, opened[1] - opened[0])
    return Passage(
        *times, first, 1, n_bytes, is_result=True, by_caller=False, to_caller=True
    )


def parts_of(trace, *ways):
    parts = make_ledger(charge(trace, ways)).parts()
    return {name: seconds for name, seconds in parts.items() if seconds > 1e-9}


ONE = Trace(1, 6.0, (Stamp("a", 4.0, 5.0, 1.0, 0, 1),))
TWO = Trace(2, 6.0, (*ONE.stamps, Stamp("b", 4.0, 5.0, 1.0, 1, 1)))


@pytest.mark.parametrize(
    ("trace", "ways", "expected"),
    [
        (ONE, [], {"compute_s": 1, "caller_s": 5}),
        (
            ONE,
            [make_input((1, 2), (3, 4))],
            {"compute_s": 1, "caller_s": 2, "serialise_s": 2, "transfer_s": 1},
        ),
        (
            # Few bytes don't take a second.
            ONE,
            [make_input((1, 2), (3, 4), n_bytes=0)],
            {"compute_s": 1, "caller_s": 3, "serialise_s": 2},
        ),
        (
            ONE,
            [make_result((5, 5.25), (5.5, 6))],
            {"compute_s": 1, "caller_s": 4, "serialise_s": 0.75, "transfer_s": 0.25},
        ),
        (
            # While the caller packs for one worker, the other one waits for that, too.
            TWO,
            [make_input((0, 4), (4, 4)), make_input((4, 4), (4, 4), first=1)],
            {"compute_s": 2, "caller_s": 2, "serialise_s": 8},
        ),
        (
            # A start takes precedence.
            Trace(1, 6.0, ONE.stamps, startup_s=3.0),
            [make_input((1, 2), (3, 4))],
            {"startup_s": 3, "compute_s": 1, "serialise_s": 1, "caller_s": 1},
        ),
    ],
    ids=["nothing", "input", "few bytes", "result", "two workers", "start"],
)
def test_idle_time_has_its_cause(trace, ways, expected):
    """Packing and opening are serialisation, what lies between them is transfer."""
    assert parts_of(trace, *ways) == pytest.approx(expected)


def test_bytes_are_those_of_the_batch():
    """Of what travelled together a batch is charged with its share."""
    stamps = (Stamp("a", 1.0, 2.0, 1.0, 0, 2), Stamp("a", 3.0, 4.0, 1.0, 2, 2))
    way = Passage(
        0.0,
        0.1,
        0.1,
        0.2,
        0.3,
        0.1,
        0,
        4,
        4_000,
        is_result=False,
        by_caller=True,
        to_caller=False,
    )
    charged = charge(Trace(1, 4.0, stamps), [way])
    assert [stamp.bytes_in for stamp in charged.stamps] == [2_000, 2_000]
    assert [stamp.bytes_out for stamp in charged.stamps] == [0, 0]


def test_the_workers_own_clock_is_the_callers():
    """Times of passages count from the call's begin, as those of stamps do."""
    moved = make_input((101, 102), (103, 104))
    charged = charge(ONE, [moved], began_s=100.0)
    assert charged == charge(ONE, [make_input((1, 2), (3, 4))])


moments = st.lists(st.floats(-1, 8, width=32), min_size=4, max_size=4).map(sorted)
passages = st.builds(
    lambda at, first, n_bytes, is_result, by, to: Passage(
        at[0], at[1], at[1] - at[0], at[2], at[3], at[3] - at[2],
        first, 1, n_bytes, is_result=is_result, by_caller=by, to_caller=to,
    ),
    moments, st.integers(0, 2), st.integers(0, MANY),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


@given(st.lists(passages, max_size=12), st.floats(0, 8))
def test_parts_sum_whatever_has_travelled(ways, startup_s):
    """No passages make a ledger that is more or less than the whole."""
    stamps = (*TWO.stamps, Stamp("a", 5.5, 6.0, 0.5, 2, 1))
    trace = charge(Trace(2, 7.0, stamps, startup_s=startup_s), ways)
    ledger = make_ledger(trace)
    assert sum(ledger.parts().values()) == pytest.approx(14.0)
    busy_s = ledger.compute_s + ledger.waiting_s
    assert busy_s == pytest.approx(2.5)
