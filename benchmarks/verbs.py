"""Is `dk.map` as fast as the best tool for each job? Ratios against loop and peers.

    python benchmarks/verbs.py [PART ...] [--starts N] [--rounds N] [--scale F]
                               [--workloads NAME ...]

Four parts, all without an argument:

* ``warm``: everyone's two workers are started before; regret is daskkit's median over
  the best of all others' (1.00: a hand-tuner could not have chosen better). All start
  anew a few times: of two processes that do the same, one may be slower for all its
  life, and of eight contestants one is lucky;
* ``trivial``: a million items of ``x + 1`` with no cluster open, against the loop;
* ``cold``: each time in a fresh process, from the import of the library to the result
  and the end of its workers, on loops of less than two seconds;
* ``stream``: whether `dk.imap` costs the same for each item, and no memory, however
  long its input is.

Each contestant lives in a process tree of its own, which is frozen while it isn't its
turn, so that idle clusters take nothing from the others. Contestants take turns in
random order within each round, each result is checked against the plain loop's before
its time counts, and one that is far behind after a round or two isn't repeated. All
figures are ratios of medians of that one run; "wanted" stands beside each.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import hashlib
import importlib.util
import itertools
import json
import math
import operator
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

# Nothing else here: what a contestant imports is part of its cold start.

N_WORKERS = 2
LOOP, OURS = "plain loop", "daskkit"
SEED = 20_260_801
# Pure Python of about a millisecond (see `spin`).
MS = 20_000
# Loops of the cold part take less than 2 s; those of the warm part up to 4.
COLD_SCALE, COLD_LOOP_S = 0.4, 2.0
# Rounds, unless the command line says how many. Those of the warm part are of each
# start; fewer for a loop of more than LONG_S.
N_ROUNDS, N_WARM_ROUNDS, N_LONG_ROUNDS, LONG_S = 5, 4, 2, 1.5
# After that many rounds, who has always been over so many times the fastest rival's
# median is not repeated: it can't become the best.
RETIRE = {1: 3.0, 2: 1.6}
# A contestant that would take so many loops is tried on a part and then left out.
TOO_SLOW = 20
TRY_S, CHUNKS, PART = 0.15, 4 * N_WORKERS, 1000
# Longest answer of a contestant: then it hangs.
LIMIT_S = 120
# How long a contestant may take to end, and its helpers after it.
CLOSE_S, TIDY_S = 20, 1
# Event loops that were frozen catch up before a clock starts.
SETTLE_S = 0.2
WANTED_REGRET, WANTED_MEDIAN_REGRET = 1.10, 1.00
WANTED_EFFICIENCY = 0.93
WANTED_TO_LOOP = 1.10
WANTED_GROWTH_MB = 100
ENVIRONMENT = {
    # Compiled modules are kept, as those of every installed package are.
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONWARNINGS": "ignore",  # sending much data is what is measured
    "DASK_LOGGING__DISTRIBUTED": "error",
    # Being frozen is no unresponsive event loop and no dead worker.
    "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1h",
}


# What the workers execute. Results are exact and print the same in every process.


def increment(x):
    return x + 1


def spin(n_terms):
    return sum(i * i for i in range(n_terms))


def nap(duration_s):
    time.sleep(duration_s)
    return duration_s


def compress(block):
    return len(zlib.compress(block))


def wave(seed):
    import numpy as np

    values = np.random.default_rng(seed).integers(0, 1000, 40_000)
    return int(np.sort(values * values % 997)[::100].sum())


def reduce_slice(array, i):
    width = 500_000
    start = i * 7919 % (len(array) - width)
    return int((array[start : start + width] % 1021).sum())


def reduce_array(array):
    return int(abs(array - array[0]).max())


def make_array(seed):
    import numpy as np

    return np.random.default_rng(seed).integers(0, 2**40, 500_000)


def count_words(paragraph):
    counts = {}
    for word in paragraph.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def score_record(record):
    mean = sum(record["values"]) // len(record["values"])
    moments = [
        sum(abs(value - mean) ** power for value in record["values"])
        for power in (2, 3, 4)
    ]
    return {"id": record["id"], "label": record["name"].title(), "moments": moments}


# The workloads: function and list of items, for a scale of the loop's time.


def several(n, scale):
    return max(8, int(n * scale))


def make_trivial(scale):
    return increment, list(range(several(1_000_000, scale)))


def make_python_1ms(scale):
    return spin, [MS] * several(1000, scale)


def make_python_seconds(scale):
    return spin, [20 * MS] * several(200, scale)


def make_skewed(scale):
    rng = random.Random(SEED)
    costs = [rng.lognormvariate(-1.0, 1.5) for _ in range(several(350, scale))]
    return spin, [int(MS * min(cost, 60)) for cost in costs]


def make_giant(scale):
    costs = [MS] * several(200, scale)
    costs[len(costs) * 5 // 8] = int(500 * MS * scale)
    return spin, costs


def make_rising(scale):
    n = several(250, scale)
    return spin, [4 * MS * i // n for i in range(n)]


def make_gil_free(scale):
    rng = random.Random(SEED)
    blocks = (rng.choices(b"abcdefgh \n", k=60_000) for _ in range(several(100, scale)))
    return compress, [bytes(block) for block in blocks]


def make_numpy(scale):
    import numpy as np  # noqa: F401 - an import that everyone's user would have made

    return wave, list(range(several(200, scale)))


def make_waiting(scale):
    rng = random.Random(SEED)
    return nap, [rng.uniform(0.005, 0.010) for _ in range(several(60, scale))]


def make_captured(scale):
    import numpy as np

    array = np.arange(several(16_000_000, min(scale + 0.05, 1.0)))  # 128 MB
    return functools.partial(reduce_slice, array), list(range(several(100, scale)))


def make_big_arguments(scale):
    return reduce_array, [make_array(seed) for seed in range(several(80, scale))]


def make_big_results(scale):
    import numpy as np  # noqa: F401 - an import that everyone's user would have made

    return make_array, list(range(several(60, scale)))


def make_few_heavy(scale):
    return spin, [int(300 * MS * scale)] * 8


def make_text(scale):
    paragraphs, wanted = [], several(40_000, scale)
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        paragraphs += [part for part in text.split("\n\n") if part.strip()]
    return count_words, (paragraphs * (wanted // len(paragraphs) + 1))[:wanted]


def make_random(scale):
    rng = random.Random(SEED)
    costs = [10 ** rng.uniform(-2, 1) for _ in range(several(300, scale))]
    return spin, [int(MS * cost) for cost in costs]


def make_small_records(scale):
    rng = random.Random(SEED)
    return score_record, [
        {
            "id": i,
            "name": f"record {i}",
            "values": rng.choices(range(1000), k=150),
        }
        for i in range(several(7000, scale))
    ]


WORKLOADS = {
    "trivial": make_trivial,
    "python-1ms": make_python_1ms,
    "python-seconds": make_python_seconds,
    "skewed": make_skewed,
    "giant": make_giant,
    "rising": make_rising,
    "gil-free": make_gil_free,
    "numpy": make_numpy,
    "waiting": make_waiting,
    "captured": make_captured,
    "big-arguments": make_big_arguments,
    "big-results": make_big_results,
    "few-heavy": make_few_heavy,
    "text": make_text,
    "random": make_random,
    "small-records": make_small_records,
}


# The contestants: contexts that yield a parallel `map`. They import what they need.


@contextlib.contextmanager
def open_loop():
    yield lambda func, items: [func(item) for item in items]


@contextlib.contextmanager
def open_threads():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(N_WORKERS) as executor:
        yield lambda func, items: list(executor.map(func, items))


@contextlib.contextmanager
def open_pool():
    import multiprocessing

    with multiprocessing.Pool(N_WORKERS) as pool:
        yield pool.map


@contextlib.contextmanager
def open_executor():
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(N_WORKERS) as executor:

        def run(func, items):
            chunksize = -(-len(items) // (4 * N_WORKERS))  # as Pool.map has it
            return list(executor.map(func, items, chunksize=chunksize))

        yield run


@contextlib.contextmanager
def open_joblib():
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    with Parallel(n_jobs=N_WORKERS) as parallel:
        yield lambda func, items: parallel(delayed(func)(item) for item in items)
    get_reusable_executor().shutdown()


@contextlib.contextmanager
def open_mpire():
    from mpire import WorkerPool
    from mpire.utils import make_single_arguments

    with WorkerPool(N_WORKERS, keep_alive=True) as pool:

        def run(func, items):
            # Otherwise tuples and dicts are unpacked, and arrays joined to one.
            single = make_single_arguments(items, generator=False)
            return pool.map(func, single, concatenate_numpy_output=False)

        yield run


@contextlib.contextmanager
def open_raw_dask():
    """Yield a client of a plain cluster, current while the context is open."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=N_WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def open_bag():
    import dask.bag as db

    with open_raw_dask() as client:

        def run(func, items):
            bag = db.from_sequence(items, npartitions=4 * N_WORKERS).map(func)
            return bag.compute(scheduler=client)

        yield run


@contextlib.contextmanager
def open_bag_processes():
    import dask.bag as db

    def run(func, items):
        bag = db.from_sequence(items, npartitions=4 * N_WORKERS).map(func)
        return bag.compute(scheduler="processes", num_workers=N_WORKERS)

    yield run


@contextlib.contextmanager
def open_client_map():
    with open_raw_dask() as client:
        yield lambda func, items: client.gather(client.map(func, items, pure=False))


@contextlib.contextmanager
def open_daskkit():
    """Yield dk.map on daskkit's own cluster, the default client."""
    import daskkit as dk

    with dk.cluster(n_workers=N_WORKERS):
        yield dk.map


@contextlib.contextmanager
def open_daskkit_alone():
    """Yield dk.map with no cluster open: it chooses by itself."""
    import daskkit as dk

    yield dk.map


WARM = {
    LOOP: open_loop,
    "ThreadPoolExecutor": open_threads,
    "multiprocessing.Pool": open_pool,
    "ProcessPoolExecutor": open_executor,
    "joblib": open_joblib,
    "mpire": open_mpire,
    "dask.bag": open_bag,
    "Client.map": open_client_map,
    OURS: open_daskkit,
}
COLD = {
    LOOP: open_loop,
    "multiprocessing.Pool": open_pool,
    "ProcessPoolExecutor": open_executor,
    "joblib": open_joblib,
    "mpire": open_mpire,
    "dask.bag": open_bag_processes,
    "Client.map": open_client_map,
    OURS: open_daskkit_alone,
}
NEEDS = {"joblib": "joblib", "mpire": "mpire"}


# A contestant's own process: it answers questions, a line of JSON each.


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


@contextlib.contextmanager
def watch_rss():
    """Yield a list that holds the highest RSS of this process in bytes."""
    import psutil

    process, stop = psutil.Process(), threading.Event()
    peak = [process.memory_info().rss]

    def watch():
        while not stop.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


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
        with watch_rss() as peak:
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


# The process that asks.


class ContestantError(Exception):
    """A contestant raised an error, ended, or did not answer in time."""


class Host:
    """A contestant's process tree, running only while it is asked something."""

    def __init__(self, name):
        path = os.pathsep.join(
            filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
        )
        # Everyone's modules are compiled once, as on any user's machine.
        inherited = dict(os.environ)
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        # A group in the same session: should this process be killed, the system
        # wakes the frozen ones; they see the end of their input.
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--host", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            env={**inherited, **ENVIRONMENT, "PYTHONPATH": path},
        )

    def signal(self, number):
        """Send a signal to the whole process tree."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def ask(self, do, **arguments):
        """Return a Server's answer to one question."""
        self.signal(signal.SIGCONT)
        try:
            print(
                json.dumps({"do": do, **arguments}),
                file=self.process.stdin,
                flush=True,
            )
            ready, _, _ = select.select([self.process.stdout], [], [], LIMIT_S)
            line = self.process.stdout.readline() if ready else None
        except OSError as error:
            line, reason = None, f"ended: {error}"
        else:
            reason = "its process ended" if ready else f"no answer in {LIMIT_S} s"
        self.signal(signal.SIGSTOP)
        if not line:
            raise ContestantError(reason)
        answer = json.loads(line)
        if "error" in answer:
            raise ContestantError(answer["error"])
        return answer

    def close(self):
        """End the process tree in good order; return how long its root took, in s."""
        self.signal(signal.SIGCONT)
        started = time.perf_counter()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(CLOSE_S)
        took = time.perf_counter() - started
        # Helpers that tidy up after the root (resource trackers) end after it.
        while self.is_alive() and time.perf_counter() - started < took + TIDY_S:
            time.sleep(0.005)
        self.kill()
        return took

    def is_alive(self):
        """Return whether a process of the tree is left, zombies aside."""
        import psutil

        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if (
                    os.getpgid(process.pid) == self.process.pid
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    return True
        return False

    def kill(self):
        """End the process tree at once."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(OSError):
            self.process.stdin.close()


class Hosts(dict):
    """The warm contestants' hosts by name, each started when it is first needed."""

    def __missing__(self, name):
        host = self[name] = Host(name)
        host.ask("open")
        return host

    def drop(self, name):
        """End a host; the next question gets a new one."""
        if name in self:
            self.pop(name).kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.values():
            host.close()


def is_missing(name):
    return name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None


class Race:
    """One workload's contestants: their times so far, or why they have none."""

    def __init__(self, names, expected):
        self.expected = expected
        self.walls = {name: [] for name in names if not is_missing(name)}
        self.remarks = {
            name: "not installed" for name in names if name not in self.walls
        }
        #: In which start each of the times was taken.
        self.starts = {name: [] for name in self.walls}
        self.active = set(self.walls)
        self.n_starts = self.n_rounds = 0

    def leave_out(self, name, remark):
        """Take a contestant out of the race, and say why."""
        self.remarks[name] = remark
        self.walls.pop(name, None)
        self.active.discard(name)

    def median(self, name):
        """Return a contestant's median wall time in seconds."""
        return statistics.median(self.walls[name])

    def medians(self, names):
        """Return the medians of those that have times, by name."""
        return {name: self.median(name) for name in names if self.walls.get(name)}

    def fastest(self, besides):
        """Return the fastest, some left aside, and its median; None and nan if none."""
        medians = self.medians(name for name in self.walls if name not in besides)
        name = min(medians, key=medians.get, default=None)
        return name, medians.get(name, float("nan"))

    def median_picked(self, besides):
        """Return the median of whoever was fastest in the other starts, nan if unknown.

        Of eight who are about as fast the fastest was lucky, too; who picks one goes by
        other runs than those that come.
        """
        picked = []
        for start in range(1, self.n_starts + 1):
            here, elsewhere = {}, {}
            for name in set(self.walls) - set(besides):
                for number, wall in zip(
                    self.starts[name], self.walls[name], strict=True
                ):
                    part = here if number == start else elsewhere
                    part.setdefault(name, []).append(wall)
            both = here.keys() & elsewhere.keys()
            name = min(
                both, key=lambda one: statistics.median(elsewhere[one]), default=None
            )
            picked += here.get(name, [])
        return statistics.median(picked) if picked else float("nan")

    def take_turns(self, run, n_rounds, besides):
        """Let each run once a round; retire those far behind the fastest rival."""
        self.n_starts += 1
        for _ in range(n_rounds):
            self.n_rounds += 1
            for name in random.sample(sorted(self.active), len(self.active)):
                try:
                    answer = run(name)
                except ContestantError as error:
                    self.leave_out(name, f"failed: {error}")
                    continue
                if answer["digest"] != self.expected:
                    self.leave_out(name, f"WRONG RESULT: {answer['digest']}")
                    continue
                self.walls[name].append(answer["wall"])
                self.starts[name].append(self.n_starts)
            if self.n_rounds in RETIRE:
                limit = RETIRE[self.n_rounds] * self.fastest(besides)[1]
                behind = {n for n in self.active if min(self.walls[n]) > limit}
                self.active -= behind - {LOOP, OURS}

    def print_table(self, extra=lambda _: ""):
        """Print who took how long, fastest first, and who did not take part."""
        loop_s = self.median(LOOP)
        print(f"  {'contestant':22s} {'median':>12s} {'/ loop':>9s} {'runs':>5s}")
        medians = self.medians(self.walls)
        for name in sorted(medians, key=medians.get):
            print(
                f"  {name:22s} {medians[name] * 1e3:9,.1f} ms "
                f"{medians[name] / loop_s:9.2f} {len(self.walls[name]):5d}{extra(name)}"
            )
        for name, remark in self.remarks.items():
            print(f"  {name:22s} {remark}")

    def is_right(self):
        """Return whether daskkit gave the loop's result each time."""
        return OURS not in self.remarks


def judge(value, wanted, is_good):
    """Return a figure with what is wanted of it beside."""
    return f"{value:.2f} (wanted {wanted}: {'pass' if is_good else 'FAIL'})"


def at_most(value, limit):
    # As printed: a 1.10 that failed would puzzle.
    return judge(value, f"at most {limit:.2f}", round(value, 2) <= limit)


def choose_rounds(options, loop_s):
    return options.rounds or (N_LONG_ROUNDS if loop_s > LONG_S else N_WARM_ROUNDS)


# Part warm.


def try_out(time_part, n_items, loop_s):
    """Run ever larger parts, which warms up; return why to leave out, or None."""
    most = max(1, n_items // 4)
    before = last = (1, time_part(1))
    # What is paid for each chunk shows its price only with more items than chunks.
    while last[0] < most and (last[0] <= CHUNKS or last[1] < TRY_S):
        n_tried = min(most, 8 * last[0])
        before, last = last, (n_tried, time_part(n_tried))
    return explain_slowness(before, last, n_items, loop_s)


def explain_slowness(before, last, n_items, loop_s):
    """Return why a contestant is left out, or None if it is fast enough to be timed.

    The two parts tried, pairs of items and seconds, tell what all items would take.
    """
    (n_before, before_s), (n_tried, part_s) = before, last
    each_s = max(0.0, part_s - before_s) / max(1, n_tried - n_before)
    whole_s = part_s + each_s * (n_items - n_tried)
    if whole_s <= TOO_SLOW * loop_s:
        return None
    return (
        f"left out: about {whole_s / loop_s:,.0f} times slower than the loop "
        f"({part_s:.2f} s for {n_tried:,} of {n_items:,} items)"
    )


def run_warm(hosts, workload, options, race=None):
    """Return the race of one workload after the rounds of one start."""
    arguments = {"workload": workload, "scale": options.scale}
    n_items = hosts[LOOP].ask("load", **arguments)["n_items"]
    first = hosts[LOOP].ask("run")
    if race is None:
        race = Race(WARM, first["digest"])
        print(f"{workload}: {n_items:,} items", flush=True)
    for name in sorted(race.active - {LOOP}):
        try:
            hosts[name].ask("load", **arguments)
            remark = try_out(
                lambda n, host=hosts[name]: host.ask("run", n_items=n)["wall"],
                n_items,
                first["wall"],
            )
        except ContestantError as error:
            remark = f"failed: {error}"
            hosts.drop(name)
            race.leave_out(name, remark)
            continue
        if remark is not None and name != OURS:
            race.leave_out(name, remark)

    def run(name):
        try:
            return hosts[name].ask("run")
        except ContestantError:
            hosts.drop(name)
            raise

    race.take_turns(run, choose_rounds(options, first["wall"]), besides={OURS})
    return race


def part_warm(options):
    """Print tables and daskkit's regret; return whether it was always right."""
    regrets, picks, right, races = {}, {}, True, {}
    for number in range(1, options.starts + 1):
        print(f"\nstart {number} of {options.starts}", flush=True)
        with Hosts() as hosts:
            for workload in options.workloads:
                race = run_warm(hosts, workload, options, races.get(workload))
                races[workload] = race
    for workload, race in races.items():
        print(f"\n{workload}")
        race.print_table()
        right = right and race.is_right()
        if not race.walls.get(OURS):
            continue
        best, best_s = race.fastest(besides={OURS})
        regrets[workload] = race.median(OURS) / best_s
        picks[workload] = race.median(OURS) / race.median_picked({OURS})
        verdict = at_most(regrets[workload], WANTED_REGRET)
        print(f"  regret {verdict}; best of the others: {best}")
        print_uncertainty(race, best, picks[workload])
        if workload == "python-seconds":
            print_efficiency(race, regrets[workload])
    print_regrets(regrets, picks)
    return right


def print_uncertainty(race, best, to_picked):
    """Print how sure the regret is, and that over who was best in the other starts."""
    from daskkit.comparison.stats import ratio_interval

    low, high = ratio_interval(race.walls[OURS], race.walls[best])
    if not math.isnan(low):
        print(f"  its 95 % interval {low:.2f} to {high:.2f}", end="; ")
    else:
        print("  too few runs for an interval", end="; ")
    print(f"over whoever was best in the other starts {to_picked:.2f}")


def print_efficiency(race, regret):
    efficiency = race.median(LOOP) / N_WORKERS / race.median(OURS)
    print(
        "  efficiency "
        + judge(
            efficiency,
            f"at least {WANTED_EFFICIENCY}, or no slower than the fastest peer",
            efficiency >= WANTED_EFFICIENCY or regret <= 1,
        )
    )


def print_regrets(regrets, picks):
    if not regrets:
        return
    print(
        "\nregret: daskkit's median / the best of all others'; at the right over that"
    )
    print("of whoever was best in the other starts")
    for workload, regret in sorted(regrets.items(), key=lambda pair: -pair[1]):
        print(f"  {workload:22s} {regret:5.2f} {picks[workload]:8.2f}")
    maximum, median = max(regrets.values()), statistics.median(regrets.values())
    print(f"  maximum {at_most(maximum, WANTED_REGRET)}")
    print(f"  median {at_most(median, WANTED_MEDIAN_REGRET)}")
    known = [ratio for ratio in picks.values() if not math.isnan(ratio)]
    if known:
        print(f"  at the right: maximum {max(known):.2f}", end=", ")
        print(f"median {statistics.median(known):.2f}")


# Part trivial.


@contextlib.contextmanager
def alone():
    """Yield a host of daskkit's with no cluster open, ended afterwards."""
    host = Host(OURS)
    try:
        yield host
    finally:
        host.close()


def part_trivial(options):
    n_items = several(1_000_000, options.scale)
    n_rounds = 3 * (options.rounds or N_ROUNDS)
    with alone() as host:
        try:
            answer = host.ask("trivial", n_items=n_items, n_rounds=n_rounds)
        except ContestantError as error:
            print(f"\ntrivial: daskkit failed: {error}")
            return False
    ours, loop = (statistics.median(answer["walls"][name]) for name in (OURS, LOOP))
    print(f"\ndk.map(increment, range({n_items:,})), no cluster open")
    print(f"  daskkit / loop {at_most(ours / loop, WANTED_TO_LOOP)}", end="")
    print("" if answer["right"] else "; WRONG RESULT")
    return answer["right"]


# Part cold.


def ask_cold(name, arguments, n_items=None):
    """Return a cold run's answer from a fresh process, with the time of its end."""
    host = Host(name)
    try:
        n_loaded = host.ask("load", **arguments)["n_items"]
        answer = host.ask("run_cold", n_items=n_items)
    except ContestantError:
        host.kill()
        raise
    return {**answer, "n_items": n_loaded, "end": host.close()}


def run_cold(workload, options):
    """Return the finished race of one workload, and what each left behind."""
    arguments = {"workload": workload, "scale": COLD_SCALE * options.scale}
    first = ask_cold(LOOP, arguments)
    print(f"\n{workload}: a loop of {first['wall'] * 1e3:,.0f} ms", end="")
    if first["wall"] > COLD_LOOP_S:
        print(f", left out: over {COLD_LOOP_S:.0f} s")
        return None, {}
    print(flush=True)
    race, aftermath = Race(COLD, first["digest"]), {}
    n_items = first["n_items"]
    if n_items > 4 * PART:
        # A task for each of so many items can take minutes.
        parts = [(n, ask_cold("Client.map", arguments, n)["wall"]) for n in (1, PART)]
        remark = explain_slowness(*parts, n_items, first["wall"])
        if remark is not None:
            race.leave_out("Client.map", remark)

    def run(name):
        answer = ask_cold(name, arguments)
        aftermath.setdefault(name, []).append((answer["end"], answer["left"]))
        return answer

    race.take_turns(run, options.rounds or N_ROUNDS, besides={OURS, LOOP})
    return race, aftermath


def format_aftermath(pairs):
    """Return a contestant's columns: the end of its process, and children left."""
    ends, left = zip(*pairs, strict=True)
    return f" {statistics.median(ends) * 1e3:9,.0f} ms {max(left):5d}"


def part_cold(options):
    """Print tables of cold runs; return whether daskkit was always right."""
    rows, right = {}, True
    print("\ncold; at the right the end of the process, not in the ratios, and its")
    print("child processes that were still there before it")
    for workload in options.workloads:
        race, aftermath = run_cold(workload, options)
        if race is None:
            continue
        race.print_table(lambda name, found=aftermath: format_aftermath(found[name]))
        right = right and race.is_right()
        if race.walls.get(OURS):
            peer, peer_s = race.fastest(besides={OURS, LOOP})
            ours_s = race.median(OURS)
            rows[workload] = ours_s / race.median(LOOP), ours_s / peer_s, peer
    print_cold(rows)
    return right


def print_cold(rows):
    if not rows:
        return
    print(f"\n  {'cold':16s} {'daskkit / loop':>14s} {'/ fastest peer':>14s}")
    for workload, (to_loop, to_peer, peer) in rows.items():
        print(f"  {workload:16s} {to_loop:14.2f} {to_peer:14.2f}  {peer}")
    to_loop = max(row[0] for row in rows.values())
    to_peer = max(row[1] for row in rows.values())
    print(f"  largest daskkit / loop {at_most(to_loop, WANTED_TO_LOOP)}")
    verdict = judge(to_peer, "below 1.00", to_peer < 1)
    print(f"  largest daskkit / fastest process-based peer {verdict}")


# Part stream.


def part_stream(options):
    sizes = [several(n, options.scale) for n in (100_000, 1_000_000)]
    n_rounds = min(options.rounds or N_ROUNDS, 3)
    right = True
    for where in ("auto", "cluster"):
        print(f'\ndk.imap over a generator of cheap items, where="{where}"')
        with alone() as host:
            try:
                answer = host.ask("stream", sizes=sizes, n_rounds=n_rounds, where=where)
            except ContestantError as error:
                print(f"  daskkit failed: {error}")
                right = False
                continue
        short, long = (
            statistics.median(walls) / n
            for walls, n in zip(answer["walls"], sizes, strict=True)
        )
        growth = answer["growth"] / 1e6
        print(
            f"  an item of {sizes[1]:,} / one of {sizes[0]:,}: "
            f"{at_most(long / short, WANTED_TO_LOOP)}, {long * 1e6:.2f} us"
        )
        verdict = judge(growth, f"below {WANTED_GROWTH_MB}", growth < WANTED_GROWTH_MB)
        print(f"  growth of the caller's RSS in MB {verdict}")
        if not answer["right"]:
            print("  WRONG RESULT")
            right = False
    return right


PARTS = {
    "warm": part_warm,
    "trivial": part_trivial,
    "cold": part_cold,
    "stream": part_stream,
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--starts", type=int, default=3, metavar="N")
    parser.add_argument("--rounds", type=int, metavar="N")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F")
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        default=[*WORKLOADS],
        metavar="NAME",
        help=", ".join(WORKLOADS),
    )
    parser.add_argument("--host", choices=WARM, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; available: {', '.join(PARTS)}")
    return options


def main():
    """Run the parts asked for; return 1 if daskkit failed or was wrong, else 0."""
    options = parse_arguments()
    if options.host:
        return serve(options.host)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    right = True
    for part in options.parts or PARTS:
        right = PARTS[part](options) and right
    return 0 if right else 1


if __name__ == "__main__":
    # Under its own name, so that the functions have a module that workers can import.
    import verbs

    sys.exit(verbs.main())
