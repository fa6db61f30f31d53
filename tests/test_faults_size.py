"""Large and many: what crosses arrives whole, and nothing grows."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import numpy as np
import psutil
import pytest

import daskkit as dk

#: Set by `make chaos`, for what takes minutes or most of a machine's memory.
is_long = pytest.mark.skipif(
    "DASKKIT_CHAOS" not in os.environ, reason="only with `make chaos`"
)
_MB = 10**6


def _itself(x):
    return x


class SlowToOpen:
    """Takes longer to be rebuilt than a caller waits before it gives work away."""

    def __reduce__(self):
        return _wait_and_make, ()


def _wait_and_make():
    time.sleep(0.3)
    return "made"


def test_item_that_is_slow_to_open_stays_where_it_is(shared_client):
    """A second, idle worker does not take it away; that would go on for ever."""
    results = dk.map(_itself, [SlowToOpen()], where="cluster")
    assert results == ["made"]
    results = dk.map(_itself, [SlowToOpen() for _ in range(5)], where="cluster")
    assert results == ["made"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "array"])
def test_half_a_gigabyte_crosses_both_ways(kind):
    """As an argument and as a result, in one piece, whatever it is made of."""
    n = 500 * _MB
    big = bytes(n) if kind == "bytes" else np.arange(n // 8)
    with dk.cluster(n_workers=2, memory_limit=None):
        (result,) = dk.map(_itself, [big], where="cluster")
    assert type(result) is type(big)
    assert np.array_equal(np.frombuffer(result, "u1"), np.frombuffer(big, "u1"))


@is_long
@pytest.mark.slow
@pytest.mark.skipif(psutil.virtual_memory().available < 16e9, reason="needs 16 GB")
@pytest.mark.parametrize("kind", ["bytes", "array"])
def test_more_than_two_gigabytes_cross_both_ways(kind):
    """Nothing counts bytes in 32 bits."""
    n = 2_200 * _MB
    big = bytes(n) if kind == "bytes" else np.zeros(n, "u1")
    with dk.cluster(n_workers=1, memory_limit=None):
        (result,) = dk.map(_itself, [big], where="cluster")
    assert len(result) == n


def _tree_bytes():
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(one.memory_info().rss for one in tree)


def test_many_tiny_items_take_little_memory(shared_client):
    """100,000 of them, within 300 MB in all processes together."""
    dk.map(abs, range(100), where="cluster")
    before = _tree_bytes()
    results = dk.map(abs, range(-100_000, 0), where="cluster")
    assert results == list(range(100_000, 0, -1))
    assert _tree_bytes() - before < 300 * _MB


def test_many_calls_leave_nothing(shared_client):
    """200 calls later there are as many descriptors and threads as after 20."""

    def count():
        process = psutil.Process()
        return process.num_fds(), threading.active_count()

    seen = []
    for i in range(220):
        assert dk.map(abs, range(-50, 0), where="cluster") == list(range(50, 0, -1))
        if i == 20:
            before = _tree_bytes()
        seen.append(count())
    # Heartbeats and the like come and go.
    assert min(n for n, _ in seen[-50:]) <= max(n for n, _ in seen[:20]) + 2
    assert min(n for _, n in seen[-50:]) <= max(n for _, n in seen[:20]) + 2
    assert _tree_bytes() - before < 50 * _MB


def test_slow_consumer_holds_production_back(shared_client):
    """What is read of an endless input stays within bounds while nobody takes results."""
    made = []

    def source():
        for i in range(10**9):
            made.append(i)
            yield i

    def wait(x):
        time.sleep(0.001)
        return x

    with contextlib.closing(dk.imap(wait, source(), where="cluster")) as stream:
        assert [next(stream) for _ in range(50)] == list(range(50))
        n_before = -1
        while len(made) > n_before:  # until nothing is read for a while
            assert len(made) < 10_000
            n_before = len(made)
            time.sleep(0.5)
