"""A contestant's own process: it answers questions, a line of JSON each."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import json
import operator
import os
import random
import signal
import sys
import time

from contest.contestants import COLD, LOOP, N_WORKERS, OURS, WARM
from contest.memory import watch_peak
from contest.workloads import WORKLOADS, increment

# Nothing else here: what a contestant imports is part of its cold start.

# Event loops that were frozen catch up before a clock starts.
SETTLE_S = 0.2


def digest(results):
    """Return what two equal lists of results have in common, and unequal ones not."""
    if type(results) is not list:
        return f"a {type(results).__name__}, no list"
    seen = hashlib.sha1()
    for result in results:
        if not hasattr(result, "dtype"):
            seen.update(repr(results).encode())
            break
        seen.update(f"{result.dtype}{result.shape}".encode())
        seen.update(result.data)
    return f"{len(results)}, {seen.hexdigest()}"


def count_children():
    import psutil

    return len(psutil.Process().children(recursive=True))


def rss():
    """Return the RSS of this process in bytes."""
    import psutil

    return psutil.Process().memory_info().rss


class Server:
    """One contestant with its workload, inside its own process."""

    def __init__(self, name, stack):
        self.name, self.stack = name, stack
        self.run_map = self.func = self.items = None

    def open(self):
        """Start the contestant for the warm part."""
        self.run_map = self.stack.enter_context(WARM[self.name]())
        return {}

    def load(self, workload, scale):
        """Make the items, and import what the workload itself needs."""
        self.func = self.items = None
        self.func, self.items = WORKLOADS[workload](scale)
        return {"n_items": len(self.items)}

    def run(self, n_items=None):
        """Time a warm run over the first items, all by default."""
        items = self.items if n_items is None else self.items[:n_items]
        time.sleep(SETTLE_S)
        gc.collect()
        started = time.perf_counter()
        results = self.run_map(self.func, items)
        wall = time.perf_counter() - started
        return {"wall": wall, "digest": digest(results)}

    def run_cold(self, n_items=None):
        """Time a run with everything that it needs, from its imports to its end."""
        items = self.items if n_items is None else self.items[:n_items]
        gc.collect()
        started = time.perf_counter()
        with COLD[self.name]() as run_map:
            results = run_map(self.func, items)
        wall = time.perf_counter() - started
        left = count_children()
        return {"wall": wall, "digest": digest(results), "left": left}

    def trivial(self, n_items, n_rounds):
        """Time dk.map and a list comprehension in turns, in this one process."""
        import daskkit as dk

        contestants = {
            LOOP: lambda: [increment(x) for x in range(n_items)],
            OURS: lambda: dk.map(increment, range(n_items)),
        }
        expected = digest(contestants[LOOP]())
        walls, right = {name: [] for name in contestants}, True
        for _ in range(n_rounds):
            for name in random.sample(list(contestants), len(contestants)):
                gc.collect()
                started = time.perf_counter()
                results = contestants[name]()
                walls[name].append(time.perf_counter() - started)
                right = right and digest(results) == expected
                del results
        return {"walls": walls, "right": right}

    def stream(self, sizes, n_rounds, where):
        """Time dk.imap over generators of several lengths in turns; watch memory."""
        import daskkit as dk

        def consume(n_items):
            results = dk.imap(increment, (x for x in range(n_items)), where=where)
            pairs = itertools.zip_longest(results, range(1, n_items + 1))
            return all(itertools.starmap(operator.eq, pairs))

        if where == "cluster":
            self.stack.enter_context(dk.cluster(n_workers=N_WORKERS))
        right = consume(10_000)
        gc.collect()
        walls = [[] for _ in sizes]
        with watch_peak(rss, interval_s=0.01) as peak:
            before = peak[0]
            for _ in range(n_rounds):
                for i in random.sample(range(len(sizes)), len(sizes)):
                    gc.collect()
                    started = time.perf_counter()
                    right = consume(sizes[i]) and right
                    walls[i].append(time.perf_counter() - started)
        return {"walls": walls, "right": right, "growth": peak[0] - before}


def keep_to_two_cores():
    """Give everyone as many cores as workers, daskkit's own choice included."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:N_WORKERS])


def serve(name):
    """Answer the questions on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    # Sent along when the system wakes frozen processes (see Host): no reason to end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    keep_to_two_cores()
    with contextlib.ExitStack() as stack:
        server = Server(name, stack)
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = getattr(server, question.pop("do"))(**question)
            except Exception as error:  # noqa: BLE001 - one that fails is reported
                reason = " ".join(str(error).split())[:200]
                answer = {"error": f"{type(error).__name__}: {reason}"}
            print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1]))
