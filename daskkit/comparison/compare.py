"""`compare`: one workload over many back ends, side by side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

import cloudpickle

from daskkit.arguments import check_whole
from daskkit.backends.registry import BackendSpec, load_backend, parse_spec, parse_specs
from daskkit.comparison.host import describe_host
from daskkit.comparison.match import OTHER_STEPS, Match
from daskkit.comparison.result import Comparison
from daskkit.comparison.warden import Warden
from daskkit.errors import BackendError, WorkloadError
from daskkit.loop import short_repr
from daskkit.progress import make_bar
from daskkit.records import Workload
from daskkit.run.cluster import check_n_workers
from daskkit.run.threads import usable_cores

__all__ = ["compare"]

_LOOP = "serial"


def compare(
    workload: Workload,
    *,
    backends: str | Iterable[str] | Mapping[str, str] | None = None,
    n_workers: int | None = None,
    repeats: int = 5,
    tune: bool = False,
    ledger: bool = False,
    progress: bool | None = None,
) -> Comparison:
    """Return how long a workload takes on several back ends, measured side by side.

    Computes: every back end executes the workload ``repeats + 2`` times, and more if it
    is tuned, in processes of its own, all of which have ended when the function returns
    or raises.

    Parameters
    ----------
    workload : Workload
        What is to be done. It is sent to other processes, so cloudpickle has to be
        able to serialise it.
    backends : str, iterable of str or mapping of str to str, optional
        Which back ends, as ``name[@n_workers][:option=value,...]``, such as
        ``"dask-bag@1"`` or ``"mpire:chunksize=50"``; a mapping gives them names of its
        own. A group stands for many: ``"builtin"``, ``"processes"``, ``"threading"``,
        ``"dask"`` or ``"all"``. The plain loop, ``"serial"``, is always among them.
        Default: all that are built in.
    n_workers : int, optional
        Workers of each back end, at least 1. Default: one a core that this process may
        use.
    repeats : int, default 5
        Timed executions of each back end once it is warm, at least 1. Fewer than 5
        give no 95 % interval, and nothing is claimed.
    tune : bool, default False
        Search the chunk size of each back end that has one, unless it was given: by
        successive halving of sizes from a few items to a worker's share. What is
        reported is the best, its default among them; the column ``setting`` shows it.
    ledger : bool, default False
        Start each back end once more, with stamps on its batches, so that
        `Comparison.ledger`, `explain` and `what_if` can say where its core-seconds go.
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
        If a back end, one of its options, `n_workers`, `repeats` or `tune` isn't
        allowed.

    Notes
    -----
    - Each result is compared with the plain loop's before its time counts.
    - Start-up and first execution are measured apart from the warm repeats.
    - Back ends take turns, in a random order that differs from round to round, so
      that a drift of the machine hits all alike. While one runs, the processes of all
      others are frozen.
    - Each worker gets one BLAS thread.
    - A back end whose library isn't installed is a row that says what to install. One
      that raises, dies, hangs or gives another result is a row that says so, too.
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
    repeats = check_whole(repeats, "repeats", 1, error=BackendError)
    for name, flag in (("tune", tune), ("ledger", ledger)):
        if not isinstance(flag, bool):
            msg = f"{name} must be True or False, received {short_repr(flag)}"
            raise BackendError(msg)
    specs = _choose_backends(backends, n_workers)
    pickled = _pickle_workload(workload)
    host = describe_host(_list_requirements(specs))
    created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    n_steps = repeats + OTHER_STEPS
    bar = make_bar(n_steps * len(specs), workload.name, show=progress)
    with bar, Warden() as warden:
        match = Match(workload, pickled, n_workers, n_steps, warden, bar)
        with match:
            for label, spec in specs.items():
                match.enter(label, spec)
            if tune:
                match.tune(specs)
            match.play(repeats)
            match.measure_memory()
            if ledger:
                match.trace()
    return Comparison(
        workload=workload.name,
        n_items=len(workload.items),
        n_workers=n_workers,
        n_rounds=repeats,
        created=created,
        host=host,
        runs=tuple(match.runs.values()),
    )


def _choose_backends(
    backends: str | Iterable[str] | Mapping[str, str] | None, n_workers: int
) -> dict[str, BackendSpec]:
    """Return the specifications by row name, the plain loop first."""
    if backends is None:
        backends = "builtin"
    if isinstance(backends, str):
        backends = [backends]
    if isinstance(backends, Mapping):
        pairs = [(label, parse_spec(text)) for label, text in backends.items()]
    elif isinstance(backends, Iterable):
        pairs = [
            (str(spec), spec)
            for text in backends
            for spec in _choose_specs(text, n_workers)
        ]
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
    chosen: dict[str, BackendSpec] = {}
    for label, spec in [*loops[:1], *rest]:
        chosen.setdefault(label, spec)
    return chosen


def _choose_specs(text: str, n_workers: int) -> list[BackendSpec]:
    """Return what one name stands for, without the doubles of a group."""
    specs = parse_specs(text)
    if n_workers == 1 and len(specs) > 1:
        # "on a single worker" and "on many" are the same row here.
        specs = [spec for spec in specs if spec.n_workers != 1]
    return specs


def _list_requirements(specs: Mapping[str, BackendSpec]) -> list[str]:
    """Return the distributions that some back ends need."""
    return [
        requirement
        for spec in specs.values()
        for requirement in load_backend(spec.name).requires.values()
    ]


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
    for field in ("func", "combine", "vectorized", "check", "compiled"):
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
