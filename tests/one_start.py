"""A contestant that starts once for many workloads: ``python -m tests.one_start FD``.

Clusters and other libraries take seconds to start, and tests have many workloads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import sys
import time
from pathlib import Path

from daskkit.backends.registry import parse_spec
from daskkit.comparison.books import make_folder
from daskkit.comparison.contestant import Contestant
from daskkit.comparison.runner import _Runner, main
from daskkit.comparison.stamps import stamp_workload
from tests.contract import hand_over, mix


class OneStart(Contestant):
    """The test's side."""

    module = "tests.one_start"


class _OneStart(_Runner):
    """The process's side: commands that name a workload."""

    def load(self, path, pickled):
        """Take over the import path and all workloads."""
        sys.path[:] = path
        self._open = contextlib.ExitStack()
        self._folder = self._open.enter_context(make_folder())
        self._workloads = {work.name: work for work in pickle.loads(pickled)}
        self._stamped = {
            name: dataclasses.replace(
                stamp_workload(work, self._make_folder(name)), name=f"{name} stamped"
            )
            for name, work in self._workloads.items()
        }

    def _make_folder(self, name):
        folder = Path(self._folder, name)
        folder.mkdir()
        return str(folder)

    def start(self, spec_text, n_workers):
        """Start the back end, for all workloads with and without stamps."""
        began_s = time.perf_counter()
        self._backend = parse_spec(spec_text).make(n_workers)
        self._backend.start(mix([*self._workloads.values(), *self._stamped.values()]))
        self._started_s = began_s, time.perf_counter()

    def hand_over(self, name):
        """Choose one of the workloads; return how the setting is shown."""
        self._name = name
        hand_over(self._backend, self._workloads[name])
        return self._backend.setting

    def trace(self):
        """Return the trace of an execution with stamps; the first begins at the start."""
        hand_over(self._backend, self._stamped[self._name])
        began_s = started_s = time.perf_counter()
        if self._started_s is not None:
            began_s, started_s = self._started_s
            self._started_s = None
        self._backend.run()
        ended_s = time.perf_counter()
        folder = str(Path(self._folder, self._name))
        return self._read_trace(folder, began_s, started_s, ended_s)

    def stop(self):
        """Stop the back end, and remove the stamps."""
        super().stop()
        self._open.close()


if __name__ == "__main__":
    main(_OneStart())
