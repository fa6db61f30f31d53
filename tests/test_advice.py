"""What is said about a ledger: the largest loss by name, and what to do about it."""

from __future__ import annotations

import pytest

from daskkit.accounts import PARTS, Ledger, Stamp, Trace
from daskkit.comparison.advice import explain
from daskkit.comparison.ledger import make_ledger


def make_loss(part):
    return Ledger(n_workers=2, wall_s=2.0, **{"compute_s": 1.0, part: 3.0})


@pytest.mark.parametrize(
    ("part", "name", "advice"),
    [
        ("startup_s", "start-up", "keep them for all calls"),
        ("waiting_s", "waiting within items", "use processes instead of threads"),
        ("serialise_s", "serialisation", "daskkit.share"),
        ("transfer_s", "the transfer of bytes", "combine on the workers"),
        ("dispatch_s", "the gaps between batches", "larger batches"),
        ("tail_s", "the tail", "Make batches smaller towards the end"),
        ("caller_s", "the caller's serial part", "map_reduce"),
    ],
)
def test_largest_loss_is_named_with_what_to_do(part, name, advice):
    """Each part of the ledger has its name, its share and its remedy."""
    text = " ".join(explain(make_loss(part)))
    assert f"The largest loss is {name}" in text
    assert "3.00 core-seconds or 75 %" in text
    assert advice in text


def test_every_part_can_be_explained():
    """No part but computing is without an explanation."""
    for part in PARTS:
        if part != "compute_s":
            assert len(explain(make_loss(part))) >= 3


def test_little_loss_means_cheaper_items():
    """Where nearly all is computing, the advice is about the items themselves."""
    text = " ".join(explain(Ledger(2, 1.0, compute_s=1.9, tail_s=0.1)))
    assert "95 % went into computing" in text
    assert "vectorise" in text
    assert "largest loss" not in text


@pytest.mark.parametrize(
    ("kind", "advice"), [("threads", "GIL: use them"), ("processes", "use threads")]
)
def test_advice_about_waiting_depends_on_the_workers(kind, advice):
    """Threads are told of processes, and processes of threads."""
    assert advice in explain(make_loss("waiting_s"), kind=kind)[-1]


def make_tail(n_items):
    giant = Stamp("a", 0.0, 4.0, 4.0, 37, n_items)
    return Trace(2, 4.0, (giant, Stamp("b", 0.0, 1.0, 1.0, 0, 37)))


def test_slow_item_is_named():
    """A batch of one item that ends last is named by the item's index and time."""
    trace = make_tail(1)
    text = " ".join(explain(make_ledger(trace), trace))
    assert "item 37, which took 4.00 s by itself" in text
    assert "split this one" in text


def test_slow_batch_is_named():
    """A batch of several items that ends last is named by the indices it spans."""
    trace = make_tail(3)
    text = " ".join(explain(make_ledger(trace), trace))
    assert "items 37 to 39, took 4.00 s" in text
    assert "smaller batches" in text


def make_gaps(length):
    stamps = tuple(
        Stamp("a", 4 * k * length, (4 * k + 1) * length, length, k, 1) for k in range(9)
    )
    return Trace(1, stamps[-1].end_s, stamps)


@pytest.mark.parametrize(
    ("length", "advice"),
    [(0.001, "Use larger batches"), (0.5, "The batches are long enough")],
)
def test_advice_about_gaps_depends_on_the_batches(length, advice):
    """Short batches should be larger; long ones with gaps are handed over too slowly."""
    trace = make_gaps(length)
    text = " ".join(explain(make_ledger(trace), trace))
    assert "There were 9 items in 9 batches" in text
    assert advice in text


def test_bytes_are_counted():
    """Serialisation and transfer say how many bytes there were."""
    stamp = Stamp("a", 1.0, 2.0, 1.0, 0, 1, 3 * 2**20, 2**10, serialise_s=1.0)
    trace = Trace(1, 2.0, (stamp,))
    text = " ".join(explain(make_ledger(trace), trace))
    assert "3.00 MiB went to the workers, 1.00 KiB came back" in text


def test_items_that_cost_more_beside_others_are_noticed():
    """CPU time well beyond the loop's hints at shared caches; CPU time like it doesn't."""
    ledger = Ledger(2, 2.0, compute_s=4.0)
    assert "2.00 times the CPU time" in explain(ledger, loop_s=2.0)[-1]
    assert "times the CPU time" not in " ".join(explain(ledger, loop_s=4.0))


def test_nothing_is_said_about_nothing():
    """A call that took no time has a sum, and no advice."""
    assert len(explain(Ledger(2, 0.0))) == 1
