"""Whether the order in which back ends are named changes what is measured of them.

Each comparison is made twice, the second time with the back ends in reversed order, so
that each starts, and for the first time runs, in another neighbourhood. The intervals
of both speed-ups should overlap (of speed-ups, since the machine may have got busier in
between); by chance up to one in ten may part.

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


def main(backends: tuple[str, ...] = BACKENDS) -> int:
    """Compare in both orders and print each ratio; return 0 if enough overlap."""
    there, back = measure(backends), measure(backends[::-1])
    n_overlapping = 0
    for name, (speedup, low, high) in there.items():
        other, other_low, other_high = back[name]
        overlap = low <= other_high and other_low <= high
        n_overlapping += overlap
        print(
            f"{name:16} reversed / first: {other / speedup:.3f}; "
            f"{low:.2f} to {high:.2f} and {other_low:.2f} to {other_high:.2f} "
            f"{'overlap' if overlap else 'DO NOT OVERLAP'}"
        )
    passed = n_overlapping >= SHARE_WANTED * len(there)
    print(
        f"{n_overlapping} of {len(there)} overlap (wanted: {SHARE_WANTED:.0%}): "
        f"{'PASS' if passed else 'FAIL'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or BACKENDS))
