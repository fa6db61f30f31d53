"""How much the calling thread takes at a time."""

from __future__ import annotations

import pytest

from daskkit.run.call import Call
from daskkit.run.job import Job

# Not a function that a comprehension does for.
JOB = Job(abs, "abs", each=lambda items, results: results.extend(map(abs, items)))
ITEM_S = 2e-5


def _call(n_items: int) -> Call:
    return Call(JOB, range(n_items), where="auto")


@pytest.mark.parametrize(
    ("n_done", "took_s", "expected"),
    [
        (1, 2e-5, 16),  # soon over, so many times as much
        (16, 3e-4, 200),  # 4 ms, as less than 16 times as many take that
        (10, 1e-3, 20),  # one item doesn't tell of all
        (500, 1e-2, 200),
    ],
)
def test_parts_grow_with_what_is_known(n_done, took_s, expected):
    call = _call(10_000)
    part = call.take(n_done, here=True)
    assert call._fit(part, ITEM_S, took_s) == expected


def test_a_small_rest_is_taken_along():
    """A part more takes 0.1 ms where items have filled the caches of the core."""
    call = _call(16 + 290)
    assert call._fit(call.take(16, here=True), ITEM_S, 3e-4) == 290


def test_a_small_rest_is_left_to_others_who_have_items():
    """They would be done before this thread."""
    call = _call(16 + 16 + 290)
    call.take(16)
    assert call._fit(call.take(16, here=True), ITEM_S, 3e-4) == 200
