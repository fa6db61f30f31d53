"""SIGKILL at random points: nothing is left, nothing is wrong, nothing hangs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

# Sends arrays both ways until told to stop; ends with code 3 at the first wrong value.
CALLER = """
import sys, time
import dask, numpy as np
from distributed import Client, KilledWorker, LocalCluster
from distributed.client import FutureCancelledError
from daskkit.transport import auto
from daskkit.transport.errors import TransportError
from daskkit.transport.shared import share


def work(packed, handle, i):
    array = auto.unpack(packed)
    array += i
    return auto.pack([array, handle.get()[i]], home=packed.place)


if __name__ == "__main__":
    seconds, route, scratch = float(sys.argv[1]), sys.argv[2], sys.argv[3]
    dask.config.set({
        "daskkit.transport.route": route, "temporary-directory": scratch,
        "distributed.scheduler.allowed-failures": 10,
    })
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    with cluster, Client(cluster) as client:
        client.run(dask.config.set, {"daskkit.transport.route": route})
        base = np.arange(300_000)
        pids = client.run(__import__("os").getpid)
        print(*pids.values(), flush=True)
        ended = time.monotonic() + seconds
        done = lost = 0
        while time.monotonic() < ended:
            with share(base * 2) as handle, auto.Packer().pack(base) as packed:
                futures = [client.submit(work, packed, handle, i, pure=False)
                           for i in range(8)]
                for i, future in enumerate(futures):
                    try:
                        array, one = auto.unpack(future.result(), last=True)
                    except (TransportError, KilledWorker, FutureCancelledError):
                        lost += 1
                        continue
                    done += 1
                    if one != 2 * i or not (array == base + i).all():
                        sys.exit(3)
                del futures, future
        print("done", done, lost, flush=True)
        sys.exit(0 if done else 4)
"""


def _descendants(marker):
    """Return the processes that carry an environment variable's value."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("DASKKIT_TEST_KILL") == marker:
                found.append(process)
    return found


def _wait_for_none(find, seconds):
    deadline = time.monotonic() + seconds
    while left := find():
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victims", "route"),
    [
        ("caller", "auto"),
        ("caller", "file"),
        ("worker", "auto"),
        ("worker", "file"),
        ("both", "file"),
    ],
)
def test_kill(victims, route, tmp_path):
    """Whoever is killed, no process, file or segment stays, and no value is wrong."""
    script, temporary = tmp_path / "caller.py", tmp_path / "tmp"
    script.write_text(CALLER)
    temporary.mkdir()
    marker = f"{os.getpid()}-{time.monotonic_ns()}"
    caller = subprocess.Popen(
        [sys.executable, str(script), "3", route, str(tmp_path / "scratch")],
        env={**os.environ, "DASKKIT_TEST_KILL": marker, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with caller:
        workers = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(workers) == 2, caller.stderr.read()
        time.sleep(random.uniform(0, 1.5))
        killed = {"caller": [], "worker": workers[:1], "both": workers[:1]}[victims]
        if victims != "worker":
            killed = [*killed, caller.pid]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        out, err = caller.communicate(timeout=60)
    if victims == "worker":
        assert caller.returncode == 0, (caller.returncode, out, err[-3000:])
    _wait_for_none(lambda: _descendants(marker), 30)
    _wait_for_none(lambda: list(Path(temporary).glob("daskkit-*")), 10)
