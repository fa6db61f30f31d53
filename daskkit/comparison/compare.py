"""`compare`: one workload over many back ends, side by side."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import math
import pickle
import random
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import cloudpickle

from daskkit.backends.registry import DEFAULT_SPECS, BackendSpec, parse_spec
from daskkit.checks import check_equal
from daskkit.comparison.contestant import Contestant, ContestantError, Warden
from daskkit.comparison.host import describe_host
from daskkit.comparison.result import Comparison
from daskkit.errors import BackendError, WorkloadError
from daskkit.loop import short_repr
from daskkit.progress import make_bar
from daskkit.records import Repeat, Run, Status, Workload
from daskkit.run.cluster import check_n_workers
from daskkit.run.threads import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["compare"]

_LOOP = "serial"
# A contestant that takes this many times the loop's time, and a minute more for its
# start, is taken for hung.
_LIMIT_FACTOR = 20
_LIMIT_S = 60.0
# Steps of a contestant besides its repeats: start with first run, memory.
_OTHER_STEPS = 2


def compare(
    workload: Workload,
    *,
    backends: str | Iterable[str] | Mapping[str, str] | None = None,
    n_workers: int | None = None,
    repeats: int = 5,
    progress: bool | None = None,
) -> Comparison:
    """Return how long a workload takes on several back ends, measured side by side.

    Computes: every back end executes the workload ``repeats + 2`` times, in processes
    of its own, all of which have ended when the function returns or raises.

    Parameters
    ----------
    workload : Workload
        What is to be done. It is sent to other processes, so cloudpickle has to be
        able to serialise it.
    backends : str, iterable of str or mapping of str to str, optional
        Which back ends, as ``name[@n_workers][:option=value,...]``, such as
        ``"dask-bag@1"`` or ``"multiprocessing:start_method=spawn"``; a mapping gives
        them names of its own. The plain loop, ``"serial"``, is always among them.
        Default: all that are built in.
    n_workers : int, optional
        Workers of each back end, at least 1. Default: one a core that this process may
        use.
    repeats : int, default 5
        Timed executions of each back end once it is warm, at least 1. Fewer than 5
        give no 95 % interval, and nothing is claimed.
    progress : bool, optional
        Show a progress bar on standard error after two seconds. None does so in a
        terminal and in a notebook.

    Returns
    -------
    Comparison
        Shows itself as a table with a verdict; ``table()``, ``verdict()``,
        ``save("report.html")``.

    Raises
    ------
    WorkloadError
        If the workload can't be pickled, or its plain loop or combine raises.
    BackendError
        If a back end, one of its options, `n_workers` or `repeats` isn't allowed.

    Notes
    -----
    - Each result is compared with the plain loop's before its time counts.
    - Start-up and first execution are measured apart from the warm repeats.
    - Back ends take turns, in a random order that differs from round to round, so
      that a drift of the machine hits all alike. While one runs, the processes of all
      others are frozen.
    - Each worker gets one BLAS thread.
    - Memory is read during an execution of its own, which is not timed.

    Examples
    --------
    >>> import daskkit as dk
    >>> work = dk.Workload("squares", func=lambda x: x * x, items=range(1_000))
    >>> comparison = dk.compare(work, backends="threads", n_workers=2, repeats=1)
    >>> list(comparison.table()["backend"])
    ['serial', 'threads']
    """
    if not isinstance(workload, Workload):
        msg = (
            f"workload must be a daskkit.Workload, received {short_repr(workload)} of "
            f"type {type(workload).__name__}; make one from a name, a func and items"
        )
        raise WorkloadError(msg)
    n_workers = check_n_workers(
        usable_cores() if n_workers is None else n_workers, BackendError
    )
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        msg = f"repeats must be a whole number of at least 1, received {repeats!r}"
        raise BackendError(msg)
    specs = _choose_backends(backends, n_workers)
    pickled = _pickle_workload(workload)
    host = describe_host()
    created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    n_steps = repeats + _OTHER_STEPS
    bar = make_bar(n_steps * len(specs), workload.name, show=progress)
    with bar, Warden() as warden:
        match = _Match(workload, pickled, n_workers, n_steps, warden, bar)
        with match:
            for label, spec in specs.items():
                match.enter(label, spec)
            match.play(repeats)
            match.measure_memory()
    return Comparison(
        workload=workload.name,
        n_items=len(workload.items),
        n_workers=n_workers,
        n_rounds=repeats,
        created=created,
        host=host,
        runs=tuple(match.runs.values()),
    )


class _Match:
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
        for contestant in self._contestants.values():
            contestant.close(at_once=kind is not None)

    def enter(self, label: str, spec: BackendSpec) -> None:
        """Start a contestant and let it execute the workload for the first time."""
        n_workers = self._n_workers if spec.n_workers is None else spec.n_workers
        self.runs[label] = Run(label, str(spec), n_workers, "", "ok")
        # Without a refresh, which would not wait for the bar's delay.
        self._bar.set_postfix_str(f"{label}: start", refresh=False)
        contestant = Contestant(self._warden)
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

    @contextlib.contextmanager
    def _turn(self, label: str) -> Any:
        """Thaw a contestant for one execution; one that fails drops out."""
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
            self._step(label)

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

    def _step(self, label: str) -> None:
        self._steps_left[label] -= 1
        self._bar.update()

    def _note(self, label: str, **measured: Any) -> None:
        self.runs[label] = dataclasses.replace(self.runs[label], **measured)


class _WrongError(Exception):
    """An answer is not the loop's; the message is the first difference."""


def _choose_backends(
    backends: str | Iterable[str] | Mapping[str, str] | None, n_workers: int
) -> dict[str, BackendSpec]:
    """Return the specifications by row name, the plain loop first."""
    if backends is None:
        chosen = {text: parse_spec(text) for text in DEFAULT_SPECS}
        if n_workers == 1:
            # "on a single worker" and "on many" are the same row here.
            chosen = {k: s for k, s in chosen.items() if s.n_workers is None}
        return chosen
    if isinstance(backends, str):
        backends = [backends]
    if isinstance(backends, Mapping):
        pairs = [(label, parse_spec(text)) for label, text in backends.items()]
    elif isinstance(backends, Iterable):
        pairs = [(str(spec), spec) for spec in map(parse_spec, backends)]
    else:
        msg = (
            "backends must be a name, a list of names or a mapping of labels to "
            f"names, received {short_repr(backends)}"
        )
        raise BackendError(msg)
    loops = [pair for pair in pairs if pair[1].name == _LOOP]
    if not loops:
        loops = [(_LOOP, BackendSpec(_LOOP))]
        if isinstance(backends, Mapping) and _LOOP in backends:
            msg = (
                f"the label {_LOOP!r} stands for {backends[_LOOP]!r}, but it is "
                "needed for the plain loop; choose another"
            )
            raise BackendError(msg)
    rest = [pair for pair in pairs if pair not in loops[:1]]
    chosen = {}
    for label, spec in [*loops[:1], *rest]:
        chosen.setdefault(label, spec)
    return chosen


def _pickle_workload(workload: Workload) -> bytes:
    """Return the workload's pickle, or raise saying what of it can't be pickled."""
    try:
        pickled: bytes = cloudpickle.dumps(workload, protocol=5)
    except Exception as error:
        guilty = _find_unpicklable(workload)
        msg = (
            f"workload {workload.name!r} can't be sent to another process: {guilty} "
            f"can't be pickled ({type(error).__name__}: {error})"
        )
        raise WorkloadError(msg) from error
    return pickled


def _find_unpicklable(workload: Workload) -> str:
    """Return which part of a workload can't be pickled."""
    for field in ("func", "combine", "vectorized", "check"):
        if not _is_picklable(getattr(workload, field)):
            return f"its {field}"
    for i, item in enumerate(workload.items):
        if not _is_picklable(item):
            return f"item {i} ({short_repr(item)})"
    return "it"


def _is_picklable(value: object) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever it raises, it can't be pickled
        return False
    return True
