"""Whether the order in which back ends are named changes what is measured of them.

Each comparison is made twice, the second time with the back ends in reversed order, so
that each starts, and for the first time runs, in another neighbourhood. The intervals
of both medians should overlap; a machine that gets busy in between makes them part as
well, so up to one in ten may do so.

    python benchmarks/order.py [NAME ...]
"""

from __future__ import annotations

import sys

import daskkit as dk
from daskkit.backends.registry import GROUPS

BACKENDS = tuple(name for name in GROUPS["all"] if name != "serial")
N_WORKERS = 2
REPEATS = 7
SHARE_WANTED = 0.9
# The plain loop takes some 200 ms.
N_ITEMS = 200
N_TERMS = 15_000


def sum_squares(n_terms: int) -> int:
    """Return a sum that takes about a millisecond of pure Python."""
    return sum(i * i for i in range(n_terms))


def measure(backends: tuple[str, ...]) -> dict[str, tuple[float, float, float]]:
    """Return median, low and high of each back end that could run, in seconds."""
    workload = dk.Workload("order", sum_squares, [N_TERMS] * N_ITEMS, combine=sum)
    comparison = dk.compare(
        workload, backends=backends, n_workers=N_WORKERS, repeats=REPEATS
    )
    return {
        row.backend: (row.median_s, row.low_s, row.high_s)
        for row in comparison.summaries
        if row.status == "ok"
    }


def main(backends: tuple[str, ...] = BACKENDS) -> int:
    """Compare in both orders and print each ratio; return 0 if enough overlap."""
    there, back = measure(backends), measure(backends[::-1])
    n_overlapping = 0
    for name, (median_s, low_s, high_s) in there.items():
        other_s, other_low_s, other_high_s = back[name]
        overlap = low_s <= other_high_s and other_low_s <= high_s
        n_overlapping += overlap
        print(
            f"{name:16} named later / named earlier: {other_s / median_s:.3f}, "
            f"intervals {'overlap' if overlap else 'DO NOT OVERLAP'}"
        )
    passed = n_overlapping >= SHARE_WANTED * len(there)
    print(
        f"{n_overlapping} of {len(there)} overlap (wanted: {SHARE_WANTED:.0%}): "
        f"{'PASS' if passed else 'FAIL'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or BACKENDS))
