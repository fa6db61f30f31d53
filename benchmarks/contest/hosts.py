"""The process trees of contestants, as seen by the one that asks them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

# Longest answer of a contestant: then it hangs.
LIMIT_S = 120
# How long a contestant may take to end, and its helpers after it.
CLOSE_S, TIDY_S = 20, 1
ENVIRONMENT = {
    # Compiled modules are kept, as those of every installed package are.
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONWARNINGS": "ignore",  # sending much data is what is measured
    "DASK_LOGGING__DISTRIBUTED": "error",
    # Being frozen is no unresponsive event loop and no dead worker.
    "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1h",
}


class ContestantError(Exception):
    """A contestant raised an error, ended, or did not answer in time."""


class Host:
    """A contestant's process tree, running only while it is asked something."""

    def __init__(self, name):
        path = os.pathsep.join(
            filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
        )
        # Everyone's modules are compiled once, as on any user's machine.
        inherited = dict(os.environ)
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        # A group in the same session: should this process be killed, the system
        # wakes the frozen ones; they see the end of their input.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "contest.server", name],
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
