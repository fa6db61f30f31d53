"""Whether threads may go on: where they hold the GIL, where memory is new, where unclear."""

from __future__ import annotations

import pytest

from daskkit.run.probation import Probation, judge

COMPUTES = Probation(began_s=1.0, n_done=3, item_s=0.006, needs_cpu=True, cpu_s=2.0)
WAITS = COMPUTES._replace(needs_cpu=False)


@pytest.mark.parametrize(
    ("n_new", "wall_s", "n_cores", "wanted"),
    [
        # Two cores are busy, and twice as much is done.
        (12, 0.04, 1.95, True),
        # One is, however much seems to be done: the first items took too long.
        (12, 0.04, 1.0, False),
        # Two are, but items take twice as long at first, since their memory is new.
        (7, 0.042, 1.95, None),
        (6, 0.042, 1.95, None),
        (25, 0.1, 1.95, True),
        # And if they still do, it is for another reason.
        (21, 0.13, 1.95, False),
        # Threads that take each other's turns are sent away at once.
        (6, 0.06, 1.6, False),
        # Too few are done to tell.
        (5, 0.04, 1.95, None),
        (5, 1.1, 1.95, False),
    ],
)
def test_threads_that_compute(n_new, wall_s, n_cores, wanted):
    """Cores that they keep busy count as well as items that are done."""
    now_s, cpu_s = 1.0 + wall_s, 2.0 + n_cores * wall_s
    assert judge(COMPUTES, 3 + n_new, 2, now_s, cpu_s) is wanted


@pytest.mark.parametrize(("n_new", "wanted"), [(20, True), (6, False)])
def test_threads_that_wait(n_new, wanted):
    """Items that wait need no core: only what is done counts."""
    assert judge(WAITS, 3 + n_new, 2, 1.04, 2.001) is wanted
