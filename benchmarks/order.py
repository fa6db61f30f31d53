"""Whether the order in which back ends are named changes what is measured of them.

Four comparisons are made, the second and the third with the back ends in reversed
order, so that each starts, and for the first time runs, in another neighbourhood. The
intervals of both speed-ups should overlap (of speed-ups, since the machine may have got
busier in between), as far as a difference is ever claimed: processes that do the same
differ by 3 % for as long as they live. Two comparisons in the same order show how often
they part by chance.

    python benchmarks/order.py [NAME ...]
"""

from __future__ import annotations

import sys

import daskkit as dk
from daskkit.backends.registry import GROUPS

# The workload has no vectorised and no compiled form.
BACKENDS = tuple(
    name for name in GROUPS["all"] if not name.startswith(("serial", "num"))
)
N_WORKERS = 2
REPEATS = 7
SHARE_WANTED = 0.9
# As in `daskkit.comparison.stats.differ`.
SAME = 1.03
# The plain loop takes some 200 ms.
N_ITEMS = 200
N_TERMS = 15_000


def sum_squares(n_terms: int) -> int:
    """Return a sum that takes about a millisecond of pure Python."""
    return sum(i * i for i in range(n_terms))


def measure(backends: tuple[str, ...]) -> dict[str, tuple[float, float, float]]:
    """Return speed-up, low and high of each back end that could run."""
    workload = dk.Workload("order", sum_squares, [N_TERMS] * N_ITEMS, combine=sum)
    comparison = dk.compare(
        workload, backends=backends, n_workers=N_WORKERS, repeats=REPEATS
    )
    return {
        row.backend: (row.speedup, row.speedup_low, row.speedup_high)
        for row in comparison.summaries[1:]
        if row.status == "ok"
    }


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Return whether two speed-ups, each with low and high, may be the same."""
    return one[1] <= other[2] * SAME and other[1] <= one[2] * SAME


def main(backends: tuple[str, ...] = BACKENDS) -> int:
    """Compare in both orders and print each ratio; return 0 if enough overlap."""
    orders = (backends, backends[::-1], backends[::-1], backends)
    first, reversed_1, reversed_2, again = map(measure, orders)
    pairs = [(first, reversed_1), (again, reversed_2)]
    n_overlapping, n_alike, n_pairs = 0, 0, 0
    for name in first:
        ratios = [other[name][0] / one[name][0] for one, other in pairs]
        together = [overlap(one[name], other[name]) for one, other in pairs]
        alike = [
            overlap(one[name], other[name])
            for one, other in ((first, again), (reversed_1, reversed_2))
        ]
        n_overlapping, n_alike = n_overlapping + sum(together), n_alike + sum(alike)
        n_pairs += len(pairs)
        print(
            f"{name:16} reversed / first: {ratios[0]:.3f} and {ratios[1]:.3f}, "
            f"{sum(together)} of 2 overlap; in the same order {sum(alike)} of 2"
        )
    share = n_overlapping / n_pairs
    passed = share >= min(SHARE_WANTED, n_alike / n_pairs)
    print(
        f"{n_overlapping} of {n_pairs} overlap (wanted: {SHARE_WANTED:.0%}, or as many "
        f"as in the same order, {n_alike} of {n_pairs}): {'pass' if passed else 'FAIL'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or BACKENDS))
