"""What does stamping cost? Ratios of wall times with stamps and without.

    python benchmarks/stamps.py [--ms MILLISECONDS] [BACKEND ...]

The same code takes some per cent more or less in another process, at another depth of
the stack, or with its objects elsewhere in memory [1]_: more than is asked for here. So
each back end is started once for both: its function does the work stamped or as it is,
by the item that it gets, and its items are changed from run to run; depth and memory
differ from item to item, and all is repeated in processes of their own. Runs as they
are, stamped, and once more as they are, for control, take turns in an order that
changes from round to round.

Items are pure Python and take about 5 ms, unless another length is given; those of the
small samples take 0.5 to 33 ms, half of them less than 10. A stamp is some lines of
Python for each item, which run anew after all caches have forgotten them: 3 us on some
machines, 60 on others. So 2 % can be exceeded where items are shorter than 5 ms.

The ratio of wall times, stamped to unstamped, is taken in each round; the mean of each
process's median should be 1.02 at most. That of the two unstamped ones tells how far a
busy machine blurs it, and where it is off by 1 % or more, a ratio above that is not
judged. Nothing but a collection of garbage happens between runs: to read the CPU times
of all processes there cost stamped runs of the plain loop 1 to 2 % more than others.

References
----------
.. [1] T. Mytkowicz, A. Diwan, M. Hauswirth, P. F. Sweeney, "Producing Wrong Data
   Without Doing Anything Obviously Wrong!", ASPLOS 2009.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import daskkit as dk
from daskkit.backends.registry import parse_spec
from daskkit.comparison.books import make_folder
from daskkit.comparison.stamps import stamp_workload
from daskkit.run.threads import thread_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daskkit.backends.base import Backend

BACKENDS = (
    "serial",
    "threads",
    "multiprocessing",
    "dask-futures",
    "dask-bag",
    "daskkit",
)
N_WORKERS = 2
STARTS, ROUNDS = 5, 18
WANTED = 0.02
BLURRED = 0.01
ITEM_MS = 5.0
RUN_MS = 120.0
TERMS_PER_MS = 18_000
# Enough to go through a page of the stack (a call of an object takes some hundred
# bytes of it), of generators and of floats.
DEPTHS, GENERATORS, FLOATS = 12, 24, 130
PLAIN, STAMPED, CONTROL = range(3)


def sum_squares(n_terms: int) -> int:
    """Return a sum, computed by pure Python."""
    return sum(i * i for i in range(n_terms))


class Deeper:
    """Calls a function one call deeper."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self._func = func

    def __call__(self, value: Any) -> Any:
        """Return what the function returns."""
        return self._func(value)


class Either:
    """A function that is stamped if its argument is.

    Parameters
    ----------
    plain, stamped : callable
        Each of one argument.
    kind : type
        What stamped arguments are.
    """

    def __init__(
        self, plain: Callable[[Any], Any], stamped: Callable[[Any], Any], kind: type
    ) -> None:
        self._kind = kind
        self._plain, self._stamped = [plain], [stamped]
        for funcs in (self._plain, self._stamped):
            for _ in range(1, DEPTHS):
                funcs.append(Deeper(funcs[-1]))
        self._random = random.Random(0)

    def __call__(self, value: Any) -> Any:
        """Return what one of the two returns."""
        pick = self._random.randrange
        _kept = (
            [(i * i for i in range(1)) for _ in range(pick(GENERATORS))],
            [float(i) for i in range(pick(FLOATS))],
        )
        funcs = self._stamped if type(value) is self._kind else self._plain
        return funcs[pick(DEPTHS)](value)


@contextlib.contextmanager
def started(name: str, workload: dk.Workload) -> Iterator[Backend]:
    """Start a back end, and stop it in the end."""
    backend = parse_spec(name).make(N_WORKERS)
    try:
        backend.start(workload)
        yield backend
    finally:
        backend.stop()


def time_run(backend: Backend) -> float:
    """Return the wall time of one execution in seconds."""
    gc.collect()
    began_s = time.perf_counter()
    backend.run()
    return time.perf_counter() - began_s


def time_start(name: str, item_ms: float) -> list[list[float]]:
    """Return the wall times of the three in each round of one start."""
    items: list[Any] = [round(TERMS_PER_MS * item_ms)] * round(RUN_MS / item_ms)
    plain = dk.Workload("stamps", sum_squares, items[:], combine=sum)
    rounds = []
    with make_folder() as folder:
        stamped = stamp_workload(plain, folder)
        both = dataclasses.replace(
            plain,
            func=Either(plain.func, stamped.func, type(stamped.items[0])),
            items=items,
        )
        with started(name, both) as backend:
            for k in range(-1, ROUNDS):
                times = [0.0] * 3
                for turn in range(3):
                    arm = (turn + k) % 3 if k % 2 else (k - turn) % 3
                    items[:] = (stamped if arm == STAMPED else plain).items
                    times[arm] = time_run(backend)
                if k >= 0:
                    rounds.append(times)
    return rounds


def start_process(name: str, item_ms: float) -> list[list[float]]:
    """Return what `time_start` returns, in a process of its own."""
    command = [sys.executable, __file__, "--start", "--ms", str(item_ms), name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    rounds: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return rounds


def find_medians(rounds: list[list[float]]) -> tuple[float, float]:
    """Return the medians of what `compare_arms` returns for rounds."""
    stamped, control = zip(*map(compare_arms, rounds), strict=True)
    return statistics.median(stamped), statistics.median(control)


def compare_arms(seconds: list[float]) -> tuple[float, float]:
    """Return stamped over unstamped, and control over plain."""
    unstamped = (seconds[PLAIN] + seconds[CONTROL]) / 2
    return seconds[STAMPED] / unstamped, seconds[CONTROL] / seconds[PLAIN]


def main(arguments: list[str]) -> int:
    """Measure all and print ratios; return 0 if all were judged and passed, else 1."""
    parser = argparse.ArgumentParser(description="What does stamping cost?")
    parser.add_argument("--ms", type=float, default=ITEM_MS, help="length of an item")
    parser.add_argument("--start", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("backends", nargs="*", default=BACKENDS, metavar="BACKEND")
    given = parser.parse_args(arguments)
    if given.start:
        print(json.dumps(time_start(given.backends[0], given.ms)))
        return 0
    os.environ.update(thread_variables(1))
    words = []
    for name in given.backends:
        starts = [start_process(name, given.ms) for _ in range(STARTS)]
        medians = map(find_medians, starts)
        ratio, control = map(statistics.fmean, zip(*medians, strict=True))
        blurred = abs(control - 1) >= BLURRED
        fine = ratio <= 1 + WANTED
        words.append("PASS" if fine else "NOT JUDGED" if blurred else "FAIL")
        print(
            f"{name:16} wall {ratio:.3f} (wanted: {1 + WANTED:.2f}; control "
            f"{control:.3f}): {words[-1]}",
            flush=True,
        )
    return 0 if set(words) == {"PASS"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
