"""What the tasks of a graph execute on a worker, or wherever Dask puts them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import pickle
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import cloudpickle

from daskkit.errors import RemoteError
from daskkit.run.job import run_chunk
from daskkit.transport.bag import is_on_wire, leave_worker
from daskkit.transport.deaths import Doing, Record, recording
from daskkit.transport.errors import TransportError
from daskkit.transport.partition import Partition, as_made
from daskkit.transport.trial import Trial, try_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from daskkit.run.job import Caught, Job
    from daskkit.transport.carried import Carried

__all__ = [
    "Step",
    "apply_combine",
    "combine_parts",
    "finish_parts",
    "run_part",
    "run_pieces",
]

# Less than distributed's limit (distributed.admin.max-error-length).
_LONGEST = 9_000


@dataclasses.dataclass(frozen=True)
class Step:
    """What is done to each item of a layer; carried by the graph."""

    #: What is done, and by what name.
    job: Job
    #: `Job.describe`, which a job itself leaves behind when it is pickled.
    describe: Callable[[int, Any], str] | None = None
    #: ``combine(results)`` makes one answer of a part's results; None keeps them.
    combine: Callable[[list[Any]], Any] | None = None
    #: ``finish(results)`` makes the answer of all results, as the last task. It is
    #: carried along because it may know the same data: they are shared once.
    finish: Callable[[list[Any]], Any] = list
    #: Where in a pipeline, such as ``" of stage 2 (parse)"``, for messages.
    place: str = ""

    @classmethod
    def of(cls, job: Job, **fields: Any) -> Step:
        """Return the step that executes a job.

        Examples
        --------
        >>> from daskkit.run.job import Job
        >>> Step.of(Job(abs, "abs", combine=sum)).combine([1, 2])
        3
        """
        return cls(job, job.describe, job.combine, **fields)

    def run(
        self, items: Sequence[Any], start: int, record: Record | None = None
    ) -> Any:
        """Return the results of consecutive items, or their combination.

        Parameters
        ----------
        items : sequence
            Those of one part.
        start : int
            Index of the first of them in the whole input, for messages.
        record : Record, optional
            Of this attempt; if workers have died with these items before, they are
            executed one by one.

        Returns
        -------
        Partition, or the answer of `combine`

        Raises
        ------
        Exception
            What an item raised, with a note that names it; a `RemoteError` in its place
            if it can't travel from here to the caller.
        WorkerDiedError
            If workers die with an item again and again.

        Examples
        --------
        >>> from daskkit.run.job import Job
        >>> Step.of(Job(abs, "abs")).run([-1, 2], 0)
        [1, 2]
        """
        record = record or Record()
        stop = start + len(items)
        results = Partition()
        results.start = start
        if record.deaths:
            caught = self._run_singly(items, start, results, record)
        else:
            record.note(Doing.RUNS, start, stop)
            caught = run_chunk(self.job, items, results, _errors_of_items())
        if caught:
            offset, error, _ = caught[0]
            what = self._name(start, items, offset)
            error.add_note(f"raised by {what}")
            _raise(error)
        if is_on_wire():
            announce = functools.partial(record.note, Doing.TRIES, start, stop)
            try_first(results, announce)
        if self.combine is None:
            return results
        record.note(Doing.COMBINES, start, stop)
        return leave_worker(self.combine(list(results)))

    def _run_singly(
        self, items: Sequence[Any], start: int, results: list[Any], record: Record
    ) -> list[Caught]:
        """Execute items of which workers have died, or say which one it is."""
        death = record.culprit
        if death is not None:
            offset = death.start - start
            is_alone = death.stop - death.start == 1
            if is_alone and offset < len(items):
                record.blame(self._name(start, items, offset))
            record.blame(f"items {start} to {start + len(items) - 1}{self.place}")
        trial = Trial()
        for offset in range(len(items)):
            index = start + offset
            record.note(Doing.RUNS, index, index + 1)
            single = items[offset : offset + 1]
            caught = run_chunk(self.job, single, results, _errors_of_items())
            if caught:
                _, error, attempts = caught[0]
                return [(offset, error, attempts)]
            if is_on_wire():
                announce = functools.partial(record.note, Doing.TRIES, index, index + 1)
                with contextlib.suppress(TransportError):  # as when it is sent
                    trial.pack(results[-1:], None, 0.0, announce)
        return []

    def _name(self, start: int, items: Sequence[Any], offset: int) -> str:
        """Return what an item is called in messages."""
        job = self.job.replace(describe=self.describe)
        return job.name_item(start + offset, items[offset]) + self.place


def run_part(step: Carried, items: Carried, start: int) -> Any:
    """Execute one part of the items.

    Parameters
    ----------
    step : Carried of Step
        What is done to each.
    items : Carried of sequence
        The items of this part.
    start : int
        Index of the first of them.

    Returns
    -------
    object
        See `Step.run`.

    Raises
    ------
    TransportError
        If the items can't be rebuilt here; otherwise as `Step.run`.
    """
    with recording(start, "items") as record:
        if record.culprit is not None and record.culprit.doing is Doing.TAKES_IN:
            record.blame(f"its items, from {start} on")
        record.note(Doing.TAKES_IN, start, start)
        try:
            opened, batch = step.get(), items.get()
        except (Exception, SystemExit) as error:
            msg = (
                f"the items of a task, from {start} on, or its function, can't be "
                f"rebuilt where it is executed: {type(error).__name__}: {error}"
            )
            raise TransportError(msg) from error
        return opened.run(batch, start, record)


def run_pieces(
    step: Carried, pieces: Sequence[slice], start: int, *parts: Sequence[Any]
) -> Any:
    """Execute one part of the items, which are pieces of the parts of another layer.

    Parameters
    ----------
    step : Carried of Step
        What is done to each.
    pieces : sequence of slice
        Which items of each part, in order.
    start : int
        Index of the first item.
    *parts : sequence
        Results of the layer before.

    Returns
    -------
    object
        See `Step.run`.
    """
    items = [
        item for part, piece in zip(parts, pieces, strict=True) for item in part[piece]
    ]
    with recording(start, "pieces") as record:
        return step.get().run(items, start, record)


def combine_parts(combine: Carried, *parts: Any) -> Any:
    """Return one answer made of several.

    Parameters
    ----------
    combine : Carried of callable
        ``combine(answers)``, as in `daskkit.map_reduce`.
    *parts : object
        Its own answers, or results.

    Returns
    -------
    object

    Examples
    --------
    >>> from daskkit.transport.carried import Carried
    >>> combine_parts(Carried(sum), 3, 4)
    7
    """
    return leave_worker(apply_combine(combine, parts))


def apply_combine(combine: Carried, answers: Iterable[Any]) -> Any:
    """Return one answer made of several, of which no worker shall die unnoticed.

    Parameters
    ----------
    combine : Carried of callable
        As of `combine_parts`.
    answers : iterable
        Its own answers, or results.

    Returns
    -------
    object

    Examples
    --------
    >>> from daskkit.transport.carried import Carried
    >>> apply_combine(Carried(max), [3, 4])
    4
    """
    with recording("combination") as record:
        if record.culprit is not None:
            record.blame("several parts")
        record.note(Doing.COMBINES)
        return combine.get()(list(map(as_made, answers)))


def finish_parts(step: Carried, *parts: Sequence[Any]) -> Any:
    """Return what is made of all results.

    Parameters
    ----------
    step : Carried of Step
        Whose `finish` makes it.
    *parts : sequence
        Results, in the order of the items.

    Returns
    -------
    object

    Examples
    --------
    >>> from daskkit.run.job import Job
    >>> from daskkit.transport.carried import Carried
    >>> finish_parts(Carried(Step.of(Job(abs, "abs"), finish=sum)), [1, 2], [3])
    6
    """
    results = [result for part in parts for result in part]
    return leave_worker(step.get().finish(results))


def _errors_of_items() -> tuple[type[BaseException], ...]:
    """Return what counts as an item's error: in a worker there is no Ctrl-C."""
    return (BaseException,) if is_on_wire() else (Exception, SystemExit)


def _raise(error: BaseException) -> NoReturn:
    """Raise what an item raised, in a form that arrives at the caller.

    An exception that can't be pickled ends the pool of Dask's processes, and one that
    can't be unpickled arrives as the TypeError of its own ``__init__``. A SystemExit
    ends the worker, and the next one that is given the task.
    """
    if not (is_on_wire() or multiprocessing.parent_process() is not None):
        raise error
    text = str(error)
    reason = "an exception that ends a process isn't raised in the caller's"
    if len(text) > _LONGEST and is_on_wire():  # or Dask cuts it, and drops the notes
        reason = f"{len(text):,} characters"
        text = f"{text[: _LONGEST // 2]}..."
    elif isinstance(error, Exception):
        try:
            copy = pickle.loads(cloudpickle.dumps(error))
        except Exception as failed:  # noqa: BLE001 - code of the exception's class
            reason = f"{type(failed).__name__}: {failed}"
        else:
            if type(copy) is type(error) and hasattr(copy, "__notes__"):
                raise error
            reason = "its own pickling loses its type or its notes"
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    what = name.removeprefix("builtins.") + (f": {text}" if text else "")
    msg = f"{what} (only its text was sent: {reason})"
    remote = RemoteError(msg)
    remote.__notes__ = [
        *error.__notes__,
        "".join(traceback.format_tb(error.__traceback__)).rstrip(),
    ]
    raise remote from None
