"""Back ends that misbehave; known to a contestant once it has loaded `double`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing.shared_memory import SharedMemory

from daskkit.backends import registry
from daskkit.backends.serial import Serial


def double(x):
    return 2 * x


def _leave_child(**options):
    subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(600)"], **options
    )


class HangsAtStart(Serial):
    name = "hangs-at-start"

    def start(self, workload):
        time.sleep(600)


class Hangs(Serial):
    """Hangs with a child in a session of its own."""

    name = "hangs"

    def run(self):
        _leave_child(start_new_session=True)
        time.sleep(600)


class Dies(Serial):
    """Is ended, as if by the kernel for want of memory, and can't clean up."""

    name = "dies"

    def run(self):
        _leave_child(start_new_session=True)
        self._memory = SharedMemory(create=True, size=1_000)
        os.kill(os.getpid(), signal.SIGKILL)


class DiesLater(Serial):
    """Works until it is warm."""

    name = "dies-later"
    _n_runs = 0

    def run(self):
        self._n_runs += 1
        if self._n_runs == 3:
            os._exit(3)
        return super().run()


class Wrong(Serial):
    name = "wrong"

    def run(self):
        return [*super().run()[:-1], -1]


class Leaks(Serial):
    """Works, but leaves a child that knows nothing of where it comes from."""

    name = "leaks"

    def start(self, workload):
        super().start(workload)
        _leave_child(start_new_session=True, env={})


class HangsAtStop(Serial):
    name = "hangs-at-stop"

    def stop(self):
        time.sleep(600)


class LacksLibrary(Serial):
    name = "lacks-library"
    requires = {"no_such_module": "nosuch>=2"}  # noqa: RUF012 - ClassVar in the base


CLASSES = {
    backend.name: f"tests.broken:{backend.__name__}"
    for backend in (
        HangsAtStart,
        Hangs,
        Dies,
        DiesLater,
        Wrong,
        Leaks,
        HangsAtStop,
        LacksLibrary,
    )
}
if "daskkit.comparison.runner" in sys.orig_argv:
    registry._CLASSES.update(CLASSES)
