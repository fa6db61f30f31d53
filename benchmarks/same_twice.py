"""Whether a back end that is entered twice is called equal to itself.

An A/A test of `daskkit.compare`: the same back end takes part under two names, so every
difference that is claimed is a false alarm. A 95 % interval allows one in twenty, and
no more than one of the twenty comparisons may claim a difference.

    python benchmarks/same_twice.py [SPECIFICATION ...]
"""

from __future__ import annotations

import sys

import numpy as np

import daskkit as dk
from daskkit.comparison.stats import differ

BACKENDS = ("serial", "multiprocessing")
N_COMPARISONS = 20
N_EQUAL_WANTED = 19
N_WORKERS = 2
REPEATS = 5
# The plain loop takes 30 to 50 ms: long beside the clock and a hand-over, short enough
# for 20 comparisons in a minute or two.
N_ITEMS = 40
N_TERMS = 15_000


def sum_squares(n_terms: int) -> int:
    """Return a sum that takes about a millisecond of pure Python."""
    return sum(i * i for i in range(n_terms))


def measure_once(specification: str) -> tuple[float, bool]:
    """Return the ratio of the two medians, and whether a difference is claimed."""
    workload = dk.Workload("same-twice", sum_squares, [N_TERMS] * N_ITEMS, combine=sum)
    comparison = dk.compare(
        workload,
        backends={"first": specification, "second": specification},
        n_workers=N_WORKERS,
        repeats=REPEATS,
        progress=False,
    )
    runs = {run.backend: run for run in comparison.runs}
    first, second = runs["first"], runs["second"]
    for run in (first, second):
        if run.status != "ok":
            sys.exit(f"{specification} {run.status}: {run.error}")
    ratio = float(np.median(first.walls) / np.median(second.walls))
    return ratio, differ(first.walls, second.walls)


def run_series(specification: str) -> bool:
    """Compare a back end with itself, print what was said, return whether it passes."""
    ratios, n_equal = [], 0
    for _ in range(N_COMPARISONS):
        ratio, is_different = measure_once(specification)
        ratios.append(ratio)
        n_equal += not is_different
    passed = n_equal >= N_EQUAL_WANTED
    print(
        f"{specification:16} no difference in {n_equal} of {N_COMPARISONS} comparisons "
        f"(wanted: {N_EQUAL_WANTED}): {'PASS' if passed else 'FAIL'}; ratio of the "
        f"medians {min(ratios):.3f} to {max(ratios):.3f}",
        flush=True,
    )
    return passed


def main(specifications: tuple[str, ...] = BACKENDS) -> int:
    """Run the series of each back end; return 0 if all pass, else 1."""
    passed = [run_series(text) for text in specifications]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or BACKENDS))
