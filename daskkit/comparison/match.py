"""One comparison from the first contestant's start to the last one's end.

Says who does what, and when; what is measured goes into records.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import pickle
import random
import sys
from typing import TYPE_CHECKING, Any

from daskkit.backends.registry import BackendSpec, load_backend
from daskkit.checks import check_equal
from daskkit.comparison.contestant import Contestant, ContestantError
from daskkit.comparison.halving import find_best, list_chunksizes
from daskkit.errors import WorkloadError
from daskkit.records import Repeat, Run, Status, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from daskkit.comparison.warden import Warden

__all__ = ["OTHER_STEPS", "Match"]

# A contestant that takes this many times the loop's time, and a minute more for its
# start, is taken for hung.
_LIMIT_FACTOR = 20
_LIMIT_S = 60.0
#: Steps of a contestant besides its repeats: start with first run, memory.
OTHER_STEPS = 2


class Match:
    """The contestants of one comparison, and what has been measured of them."""

    def __init__(  # noqa: PLR0917 - called once, in this module
        self,
        workload: Workload,
        pickled: bytes,
        n_workers: int,
        n_steps: int,
        warden: Warden,
        bar: Any,
    ) -> None:
        self.runs: dict[str, Run] = {}
        self._workload = workload
        self._pickled = pickled
        self._n_workers = n_workers
        self._n_steps = n_steps
        self._warden = warden
        self._bar = bar
        self._contestants: dict[str, Contestant] = {}
        self._steps_left: dict[str, int] = {}
        self._check: Callable[[Any, Any], Any] = workload.check or check_equal
        self._expected: Any = None
        self._limit_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for label, contestant in self._contestants.items():
            self._note(label, leftovers=contestant.close(at_once=kind is not None))

    def enter(self, label: str, spec: BackendSpec) -> None:
        """Start a contestant and let it execute the workload for the first time."""
        n_workers = self._n_workers if spec.n_workers is None else spec.n_workers
        self.runs[label] = Run(label, str(spec), n_workers, "", "ok")
        # Without a refresh, which would not wait for the bar's delay.
        self._bar.set_postfix_str(f"{label}: start", refresh=False)
        contestant = Contestant(self._warden, load_backend(spec.name).environment)
        self._contestants[label] = contestant
        self._steps_left[label] = self._n_steps
        try:
            contestant.ask("load", sys.path, self._pickled)
            started = contestant.ask(
                "start", str(spec), self._n_workers, limit_s=self._limit_s
            )
            if "unavailable" in started:
                if started["single"]:
                    self._note(label, workers=1)
                self._drop(label, "unavailable", started["unavailable"])
                return
            self._note(label, **started)
            first_s, answer = contestant.ask("run", limit_s=self._limit_s)
            if not self._contains_loop():
                self._expected = pickle.loads(answer)
                self._limit_s = _LIMIT_S + _LIMIT_FACTOR * first_s
            self._check_answer(answer)
        except ContestantError as error:
            self._fail(label, error)
        except _WrongError as error:
            self._drop(label, "wrong", str(error))
        else:
            self._note(label, first_s=first_s)
            contestant.freeze()
            self._step(label)

    def tune(self, specs: Mapping[str, BackendSpec]) -> None:
        """Let each contestant that has a chunk size find its best one."""
        n_items = len(self._workload.items)
        for label in list(self._contestants):
            spec, n_workers = specs[label], self.runs[label].workers
            options = load_backend(spec.name).options
            if "chunksize" not in options or "chunksize" in dict(spec.options):
                continue
            sizes = ["default", *map(str, list_chunksizes(n_items, n_workers))]
            self._bar.set_postfix_str(f"{label}: tuning", refresh=False)
            with self._turn(label, n_steps=0) as contestant:
                best = find_best(sizes, functools.partial(self._try, contestant))
                setting = contestant.ask("set_chunksize", best)
                self._note(label, setting=f"{setting}, tuned")
                if best != "default":
                    chosen = (*spec.options, ("chunksize", best))
                    tuned = dataclasses.replace(spec, options=chosen)
                    self._note(label, spec=str(tuned))

    def _try(self, contestant: Contestant, size: str) -> float:
        """Return how long a contestant takes with a chunk size, once, in seconds."""
        contestant.ask("set_chunksize", size)
        wall_s, answer = contestant.ask("run", limit_s=self._limit_s)
        self._check_answer(answer)
        return float(wall_s)

    def play(self, n_rounds: int) -> None:
        """Let all contestants take one timed turn a round."""
        # Seeded, so that two comparisons of the same back ends are alike.
        order = random.Random(0)  # noqa: S311 - an order, no secret
        for i in range(n_rounds):
            labels = list(self._contestants)
            order.shuffle(labels)
            for label in labels:
                text = f"{label}: round {i + 1} of {n_rounds}"
                self._bar.set_postfix_str(text, refresh=False)
                with self._turn(label) as contestant:
                    before_s = contestant.cpu_s()
                    wall_s, answer = contestant.ask("run", limit_s=self._limit_s)
                    repeat = Repeat(i, wall_s, contestant.cpu_s() - before_s)
                    self._check_answer(answer)
                    repeats = (*self.runs[label].repeats, repeat)
                    self._note(label, repeats=repeats)

    def measure_memory(self) -> None:
        """Let all contestants execute once more, untimed, while memory is read."""
        for label in list(self._contestants):
            self._bar.set_postfix_str(f"{label}: memory", refresh=False)
            with self._turn(label) as contestant:
                with contestant.watch_memory() as samples:
                    _, answer = contestant.ask("run", limit_s=self._limit_s)
                self._check_answer(answer)
                peak = max(samples, default=0.0)
                self._note(label, peak_memory_bytes=peak or math.nan)

    def trace(self) -> None:
        """Let all contestants execute once more with stamps on all batches, untimed.

        One that fails at that keeps its row, without a ledger.
        """
        for label in list(self._contestants):
            self._bar.set_postfix_str(f"{label}: ledger", refresh=False)
            contestant, run = self._contestants[label], self.runs[label]
            contestant.thaw()
            try:
                limit_s = None if self._limit_s is None else 3 * self._limit_s
                arguments = ("trace", run.spec, self._n_workers)
                cold, trace = contestant.ask(*arguments, limit_s=limit_s)
                self._note(label, trace=trace, cold_trace=cold)
            except ContestantError:
                self._note(label, leftovers=self._contestants.pop(label).close())
            else:
                contestant.freeze()

    @contextlib.contextmanager
    def _turn(self, label: str, n_steps: int = 1) -> Iterator[Contestant]:
        """Thaw a contestant for what it has to do; one that fails drops out."""
        contestant = self._contestants[label]
        contestant.thaw()
        try:
            yield contestant
        except ContestantError as error:
            self._fail(label, error)
        except _WrongError as error:
            self._drop(label, "wrong", str(error))
        else:
            contestant.freeze()
            self._step(label, n_steps)

    def _contains_loop(self) -> bool:
        return self._limit_s is not None

    def _check_answer(self, pickled: bytes) -> None:
        """Raise _WrongError unless an answer is the loop's."""
        try:
            # A user's check is asked to raise, but may return a truth value instead.
            passed: object = self._check(pickle.loads(pickled), self._expected)
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise _WrongError(text) from error
        if passed is False:
            msg = "its check returned False"
            raise _WrongError(msg)

    def _fail(self, label: str, error: ContestantError) -> None:
        if label == self._loop_label():
            msg = f"the plain loop of workload {self._workload.name!r} failed: {error}"
            raise WorkloadError(msg) from error
        self._drop(label, "failed", str(error))

    def _loop_label(self) -> str:
        """Return the row that is the oracle: the first one entered."""
        return next(iter(self.runs))

    def _drop(self, label: str, status: Status, error: str) -> None:
        """Record why a contestant is out, and end its processes."""
        if label == self._loop_label():
            msg = (
                f"the plain loop of workload {self._workload.name!r} gives another "
                f"result when it is run again, so that nothing can be checked: {error};"
                " seed its random numbers by the item, or give it a check with a "
                "tolerance"
            )
            raise WorkloadError(msg)
        self._note(label, status=status, error=error, repeats=())
        self._contestants.pop(label).close()
        self._bar.update(self._steps_left.pop(label))

    def _step(self, label: str, n_steps: int = 1) -> None:
        self._steps_left[label] -= n_steps
        self._bar.update(n_steps)

    def _note(self, label: str, **measured: Any) -> None:
        self.runs[label] = dataclasses.replace(self.runs[label], **measured)


class _WrongError(Exception):
    """An answer is not the loop's; the message is the first difference."""
