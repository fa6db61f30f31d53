"""How much sooner clusters start whose workers are forks.

On Linux, workers are forks of a process that has imported distributed. Elsewhere, and
as Dask starts them, each is a fresh interpreter. Fresh programs of either kind take
turns. Each imports pandas, opens three clusters of two workers, one after another, and
kills a worker of the last one. Ratios of medians, forked by spawned:

- first: from the wish for the first cluster to its readiness, imports included;
- next: the same for the others;
- replaced: from the death of a worker to the first answer of the one in its place;
- memory: what all processes of the last cluster have, shared pages counted once.

    python benchmarks/start.py [ROUNDS]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

ROUNDS = 7
KINDS = ("forked", "spawned")
# None of them may be worse than as Dask has it.
WANTED = {"first": 1.0, "next": 1.0, "replaced": 1.0, "memory": 1.0}
PROGRAM = """
import json, os, signal, sys, time
import pandas, psutil
import daskkit as dk

if sys.argv[1] == "spawned":
    from daskkit.run import forked
    forked._can_serve = lambda: False

starts = []
for _ in range(3):
    began = time.perf_counter()
    with dk.cluster(n_workers=2) as client:
        starts.append(time.perf_counter() - began)
        if len(starts) == 3:
            tree = psutil.Process().children(recursive=True)
            memory = sum(process.memory_full_info().pss for process in tree)
            before = client.run(os.getpid)
            began = time.perf_counter()
            os.kill(min(before.values()), signal.SIGKILL)
            while True:
                workers = client.nthreads()
                if len(workers) == 2 and not before.keys() >= workers.keys():
                    break
                time.sleep(0.005)
            (new,) = workers.keys() - before.keys()
            client.submit(abs, -1, workers=[new]).result()
            replaced = time.perf_counter() - began
print(json.dumps({
    "first": starts[0],
    "next": sum(starts[1:]) / 2,
    "replaced": replaced,
    "memory": memory,
}))
"""


def measure(kind: str) -> dict[str, float]:
    """Return what one program took, in seconds and bytes."""
    command = [sys.executable, "-c", PROGRAM, kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main(rounds: int = ROUNDS) -> int:
    """Let both kinds take turns, and print ratios; return 0 if all are good."""
    measure("spawned")  # what is read from disk for the first time
    figures = {kind: [] for kind in KINDS}
    for i in range(rounds):
        for kind in KINDS if i % 2 else KINDS[::-1]:
            figures[kind].append(measure(kind))
    is_good = True
    for name, wanted in WANTED.items():
        forked, spawned = (
            statistics.median(figure[name] for figure in figures[kind])
            for kind in KINDS
        )
        ratio = forked / spawned
        is_good = is_good and ratio < wanted
        word = "PASS" if ratio < wanted else "FAIL"
        print(
            f"{name:9} forked / spawned {ratio:.2f} (wanted: below {wanted:g}): {word}"
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
