"""What threads that wait for the GIL cost the caller, and a map that lets them in.

A cluster is open, whose event loop wants the GIL now and then. Items that release it
for moments never let it in: the loop over them is slower for that, and `dk.map` with
``where="inline"``, which executes them one after the other as well, should not be. For
comparison both where no cluster is open. All alternate in random order; ratios are of
medians.

    python benchmarks/waiters.py [--rounds N]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time

import numpy as np

import daskkit as dk

N_ITEMS, N_TIMES = 400, 50
WANTED = 1.0
VALUES = np.arange(9.0)


def medians(seed: int) -> float:
    """Return a sum of medians: a millisecond of small operations of NumPy."""
    return seed + sum(float(np.median(VALUES)) for _ in range(N_TIMES))


def measure(rounds: int) -> dict[str, float]:
    """Return the median seconds of the loop and of `dk.map`, alternating."""
    items = list(range(N_ITEMS))
    ways = {
        "loop": lambda: [medians(item) for item in items],
        "map": lambda: dk.map(medians, items, where="inline"),
    }
    walls: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name in random.sample(list(ways), 2):
            began = time.perf_counter()
            ways[name]()
            walls[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in walls.items()}


def main() -> int:
    """Print the ratios; return 1 if `map` is slower than the loop beside a cluster."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    measure(1)
    alone = measure(rounds)
    with dk.cluster(n_workers=2):
        measure(1)
        beside = measure(rounds)
    after = measure(rounds)
    print(f"loop, a cluster open / none: {beside['loop'] / alone['loop']:.2f}")
    print(f"  once it is closed:         {after['loop'] / alone['loop']:.2f}")
    print(f"map / loop, no cluster:      {alone['map'] / alone['loop']:.2f}")
    ratio = beside["map"] / beside["loop"]
    print(f"map / loop, a cluster open:  {ratio:.2f}   (wanted at most {WANTED:.2f})")
    return 0 if ratio <= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
