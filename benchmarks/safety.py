"""What does safety cost? Times with all of it, to those of a cluster without.

    python benchmarks/safety.py [CASE ...]

Three clusters of two workers take turns: one as it is, one without what only safety
needs, and as a control one more as it is. Without: the secret of its connections, the
look at whose sockets these are, the trial of results whose class could do anything, the
notes of what tasks do, and the watches for frozen workers and for full disks. All is
repeated with other clusters: two that do the same differ by some per cent for as long
as they live. With everything on, a case should take at most 1.03 times as long; where
the two equal clusters differ by 2 % or more, a ratio above that is not judged.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

import daskkit as dk
from daskkit.run import lane, secret, workers
from daskkit.transport import auto, deaths, trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client

STARTS, ROUNDS = 4, 9
WANTED = 0.03
BLURRED = 0.02
SAFE, BARE, CONTROL = range(3)
# About a millisecond of pure Python.
MS = 20_000


class Point:
    """A result whose class has a say in how it is rebuilt, and so is tried."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__dict__.update(state)


def spin(n_terms: int) -> int:
    """Return a sum."""
    return sum(i * i for i in range(n_terms))


def make_record(x: int) -> dict[str, Any]:
    """Return what a worker has to pickle, after some 20 us."""
    return {"id": x, "name": f"record {x}", "sum": spin(400)}


def make_point(x: int) -> Point:
    """Return what is tried, after some 100 us."""
    return Point(x + spin(MS // 10))


def make_array(x: int) -> np.ndarray[Any, Any]:
    """Return 8 MB."""
    return np.full(1_000_000, float(x))


def _submit(client: Client) -> None:
    for x in range(20):
        client.submit(make_array, x, pure=False).result()


CASES: dict[str, Callable[[Client], Any]] = {
    "verb, 500 items of 1 ms": lambda _: dk.map(spin, [MS] * 500, where="cluster"),
    "verb, 20,000 records": lambda _: dk.map(
        make_record, range(20_000), where="cluster"
    ),
    "verb, 3,000 objects": lambda _: dk.map(make_point, range(3_000), where="cluster"),
    "verb, 40 results of 8 MB": lambda _: dk.map(
        make_array, range(40), where="cluster"
    ),
    "bag of 200,000 ints": lambda _: dk.build_bag(
        dk.Workload("ints", abs, range(200_000))
    ).compute(),
    "lazy, 200 tasks of 2 ms": lambda _: dk.lazy.map_reduce(
        spin, [MS] * 400, sum, batch_size=2
    ).compute(),
    "lazy, 3,000 objects": lambda _: dk.lazy.map(
        make_point, range(3_000), npartitions=16
    ).compute(),
    "Dask, 20 results of 8 MB": _submit,
}


def _pack_untried(
    self: object, value: Any, home: Any, items_s: float, announce: object
) -> Any:
    del self, items_s, announce
    return auto.pack(value, home=home)


def _bare_here() -> contextlib.ExitStack:
    """Leave out, in this process, what only safety needs."""
    stack = contextlib.ExitStack()
    for module in (lane, workers):
        stack.enter_context(mock.patch.object(module, "is_own_user", return_value=True))
    return stack


def _strip() -> None:
    """Leave it out in a worker, for good."""
    logging.getLogger("distributed").setLevel(logging.ERROR)
    _bare_here()
    trial.Trial.pack = _pack_untried  # type: ignore[method-assign]
    deaths._pages.clear()  # noqa: SLF001 - there is no other way to do without


@contextlib.contextmanager
def opened(which: int) -> Iterator[Client]:
    """Yield a client of a cluster, as it is or bare."""
    if which != BARE:
        with dk.cluster(n_workers=2) as client:
            yield client
        return
    plain = functools.partial(lambda *_: None)
    with (
        mock.patch.object(secret, "SCHEME", "tcp"),
        mock.patch.object(secret, "SecretSecurity", plain),
    ):
        context = dk.cluster(n_workers=2)
        client = context.__enter__()
    try:
        scheduler = client.cluster.scheduler
        for name in ("daskkit-spill-watch", "daskkit-freeze-watch"):
            scheduler.periodic_callbacks.pop(name).stop()
        client.run(_strip)
        yield client
    finally:
        context.__exit__(None, None, None)


def time_call(case: Callable[[Client], Any], client: Client, which: int) -> float:
    """Return the seconds of one execution."""
    gc.collect()
    with (
        client.as_current(),
        _bare_here() if which == BARE else contextlib.nullcontext(),
    ):
        began = time.perf_counter()
        answer = case(client)
        wall_s = time.perf_counter() - began
    del answer
    return wall_s


def time_start(number: int, names: list[str]) -> dict[str, list[list[float]]]:
    """Return the times of all cases, of three clusters opened in an order by number."""
    times: dict[str, list[list[float]]] = {name: [[], [], []] for name in names}
    with contextlib.ExitStack() as stack:
        clients = {}
        for turn in range(3):
            which = (turn + number) % 3
            clients[which] = stack.enter_context(opened(which))
        assert clients[BARE].scheduler.address.startswith("tcp:")
        assert clients[SAFE].scheduler.address.startswith("daskkit:")
        for name in names:
            for k in range(ROUNDS + 1):  # the first one warms up
                for turn in range(3):
                    which = (turn + k) % 3 if k % 2 else (k - turn) % 3
                    wall_s = time_call(CASES[name], clients[which], which)
                    if k:
                        times[name][which].append(wall_s)
    return times


def main(*names: str) -> int:
    """Measure and print ratios; return 0 if all were judged and passed, else 1."""
    chosen = list(names or CASES)
    starts = [time_start(number, chosen) for number in range(STARTS)]
    words = []
    for name in chosen:
        safe, bare, control = (
            statistics.fmean(statistics.median(start[name][arm]) for start in starts)
            for arm in (SAFE, BARE, CONTROL)
        )
        ratio, blur = (safe + control) / 2 / bare, control / safe
        fine = ratio <= 1 + WANTED
        blurred = abs(blur - 1) >= BLURRED
        words.append("PASS" if fine else "NOT JUDGED" if blurred else "FAIL")
        print(
            f"{name:26} {ratio:.3f} (wanted: {1 + WANTED:.2f}; control {blur:.3f}): "
            f"{words[-1]}",
            flush=True,
        )
    return 0 if set(words) == {"PASS"} else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
