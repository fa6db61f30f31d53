"""The size of the next batch, checked as a state machine and by simulation."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.run.batches import DIRECT, TASK, Batches, size_claim


@given(
    n_workers=st.integers(1, 2_000),
    item_s=st.floats(0, 1e3),
    n_left=st.integers(1, 10**9),
)
def test_size_is_possible(n_workers, item_s, n_left):
    """A batch has at least one item and never more than there are."""
    assert 1 <= Batches(n_workers, item_s).next_size(n_left) <= n_left


def _warm(n_workers, item_s, way=DIRECT):
    """Return what has seen enough batches to trust the cost."""
    batches = Batches(n_workers, item_s, way)
    for _ in range(2 * n_workers):
        batches.ended(1, item_s)
    return batches


def test_first_batches_are_smaller():
    """The pilot's cost is not a worker's; it is learned soon."""
    batches = Batches(2, 0.001)
    assert batches.next_size(10**6) == 50
    for _ in range(4):
        batches.ended(15, 0.015)
    assert batches.next_size(10**6) == 200


def test_size_follows_the_cost():
    """Ten times the cost makes a batch of a tenth of the items."""
    sizes = [_warm(2, item_s).next_size(10**6) for item_s in (1e-4, 1e-3)]
    assert sizes == [2000, 200]


def test_tasks_of_dask_are_not_cut_as_fine_as_messages():
    """What costs more to hand over has to be worth more, also near the end."""
    sizes = [_warm(2, 0.001, way).next_size(60) for way in (DIRECT, TASK)]
    assert sizes == [30, 60]


def test_unknown_length_is_no_reason_for_small_batches():
    """A stream has whole batches until it ends."""
    assert _warm(2, 0.001).next_size(None) == 200


@pytest.mark.parametrize(("way", "size"), [(DIRECT, 1_200), (TASK, 2_000)])
def test_many_workers_get_longer_batches(way, size):
    """Whoever hands them out never becomes the limit."""
    n_workers = 2_000
    batches = _warm(n_workers, 0.001, way)
    assert batches.next_size(10**8) == size
    assert way.serial_s * n_workers <= size * 0.001 / 2


def test_cost_is_learned_from_what_ended():
    """A drift of the cost changes the size, a single freak doesn't decide."""
    batches = Batches(2, 0.001)
    batches.ended(10, 1.0)
    assert 0.001 < batches.item_s < 0.1
    for _ in range(20):
        batches.ended(10, 1.0)
    assert batches.item_s == pytest.approx(0.1, rel=0.01)


class _Worker:
    """A lane of the simulation: claims a few items at a time, as a board has it."""

    def __init__(self):
        self.items = range(0)
        self.item_s = 0.0

    def claim(self, costs, n_beyond):
        """Execute the next items; return how many and how long."""
        n = size_claim(self.item_s, len(self.items) + n_beyond)
        claimed, self.items = self.items[:n], self.items[n:]
        wall_s = float(np.sum(costs[claimed.start : claimed.stop]))
        self.item_s = wall_s / len(claimed)
        return len(claimed), wall_s


def _simulate(costs, n_workers, way):
    """Return wall time over ideal time of a schedule on simulated workers.

    An idle worker gets the next batch, or half of what waits at the one with the most;
    whoever hands out does one thing at a time.
    """
    batches = Batches(n_workers, float(np.mean(costs[:10])), way)
    workers = [_Worker() for _ in range(n_workers)]
    events = [(0.0, i) for i in range(n_workers)]
    heapq.heapify(events)
    position, end_s, caller_s, done = 0, 0.0, 0.0, 0
    while events:
        now_s, i = heapq.heappop(events)
        worker = workers[i]
        if not worker.items:
            if position < len(costs):
                size = batches.next_size(len(costs) - position)
                worker.items = range(position, position + size)
                position += size
            else:
                # What waits behind the items that are being executed can be taken.
                victim = max(workers, key=lambda one: len(one.items))
                half = len(victim.items) // 2
                if way is TASK or not half:
                    continue
                worker.items = victim.items[-half:]
                victim.items = victim.items[:-half]
            worker.item_s = batches.item_s
            caller_s = max(caller_s, now_s) + way.serial_s
            now_s = caller_s + way.total_s
        n, wall_s = worker.claim(costs, (len(costs) - position) // n_workers)
        batches.ended(n, wall_s)
        done += n
        end_s = max(end_s, now_s + wall_s)
        heapq.heappush(events, (now_s + wall_s, i))
    assert done == len(costs)
    return end_s / max(float(np.sum(costs)) / n_workers, float(np.max(costs)))


@pytest.mark.parametrize("n_workers", [1, 2, 16, 200, 2_000])
@pytest.mark.parametrize("kind", ["even", "skewed", "rising", "falling", "one giant"])
def test_schedule_is_close_to_ideal(kind, n_workers):
    """Uneven and drifting costs stay close to a perfect division of the work."""
    rng = np.random.default_rng(1)
    # To hand out the first batches to 2,000 workers alone takes 0.3 s.
    n, scale = (400 * n_workers, 1) if n_workers < 2_000 else (80 * n_workers, 25)
    costs = {
        "even": np.full(n, 0.005),
        "skewed": rng.lognormal(-5.5, 1, n),
        "rising": np.linspace(0.002, 0.01, n),
        "falling": np.linspace(0.01, 0.002, n),
        "one giant": np.r_[np.full(n // 20, 0.005), 2.0, np.full(n, 0.005)],
    }[kind] * scale
    assert _simulate(costs, n_workers, DIRECT) < (1.15 if scale == 1 else 1.3)


@pytest.mark.parametrize("n_workers", [1, 2, 16, 200])
def test_schedule_of_tasks_is_close_to_ideal(n_workers):
    """Without taking back, too, though not as close."""
    costs = np.random.default_rng(1).lognormal(-5.5, 1, 2_000 * n_workers)
    assert _simulate(costs, n_workers, TASK) < 1.15


@pytest.mark.parametrize("item_s", [0.0, 1e-7, 0.0003, 0.001, 0.02, 5.0])
def test_claims_shrink_with_the_batch(item_s):
    """Long ones while much is left, 4 ms at the end, and one item at least."""
    sizes = [size_claim(item_s, n_left) for n_left in (1_000_000, 40, 4, 0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] >= 1
    if item_s > 0.004:
        assert set(sizes) == {1}
    elif item_s >= 0.0003:
        assert sizes[0] == int(0.012 / item_s)
        assert sizes[-1] == int(0.004 / item_s)
