"""One call of a verb: its items and results, and the threads here that execute them.

Shared by the calling thread, those that help it, and the one that feeds the lanes.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from daskkit.loop import short_repr
from daskkit.run.clocks import Stopwatch
from daskkit.run.job import executing, run_chunk
from daskkit.run.pilot import Pilot
from daskkit.run.quick import Comprehension, is_quick
from daskkit.run.source import Part, Source
from daskkit.run.switching import Waiters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from distributed import Client

    from daskkit.run.failures import Failure
    from daskkit.run.helpers import Loan
    from daskkit.run.job import Caught, Job

__all__ = ["Call"]

# What the calling thread takes at a time: long beside the 20 us that it costs, short
# beside the patience of those who wait for it to look up; and where nobody does.
_HERE_S = 0.004
_ALONE_S = 0.03
# To send the result of such an item takes about as long.
_TRIVIAL_S = 2e-7
# Below this, to look up now and then takes more than it may bring.
_SMALL_S = 2e-6
_MOST_HERE = 1_000_000
# What was over so soon may be followed by so many times as much.
_QUICK_S, _QUICK_GROWTH = 0.0005, 16
# All that is left goes along if it is no more than so many such parts, and nobody else
# has items: one more part would cost more.
_REST = 1.5
# How often a waiting caller looks at the progress.
_PROGRESS_S = 0.1
# Chunks of results that nobody has consumed, of a stream, for each thread.
_AHEAD = 4
# Answers are combined so many at a time, as a tree.
_FAN_IN = 8
_HERE = "this process"


class Call:
    """The state of one call, shared by all threads that work on it.

    Parameters
    ----------
    job : Job
        What to do with an item.
    items : iterable
        See `Source`.
    where : {"auto", "inline", "threads", "cluster"}
        Where items may be executed.
    batch_size : int, optional
        Items that are handed over at a time; by default that adapts.
    client : distributed.Client, optional
        The cluster to use; None for none.
    is_stream : bool, default False
        Whether results are consumed while others are computed.
    bar : tqdm.tqdm, optional
        Counts items.
    """

    def __init__(
        self,
        job: Job,
        items: Iterable[Any],
        *,
        where: str,
        batch_size: int | None = None,
        client: Client | None = None,
        is_stream: bool = False,
        bar: Any = None,
    ) -> None:
        self.job = job
        self.source = Source(items, is_stream=is_stream)
        self.where = where
        self.batch_size = batch_size
        self.client = client
        self.is_stream = is_stream
        self._bar = bar
        # Guards all that follows; notified when a waiting caller should look up. Bare,
        # the lock takes two calls of Python less.
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self.error: BaseException | None = None
        self.failures: list[Failure] = []
        #: Items that somebody has, and that are done.
        self.n_open = 0
        self.n_done = 0
        #: Whether the calling thread leaves the items to others.
        self.is_paused = where == "cluster" or job.timeout is not None
        #: Whether nobody waits for the calling thread to look up.
        self.is_alone = where == "inline"
        #: Items that only the calling thread can execute.
        self.local: deque[Part] = deque()
        #: What the calling thread is asked to do between two chunks.
        self.chore: Callable[[], Any] | None = None
        self.is_closed = False
        #: Why items that others would have been quicker with stayed here.
        self.obstacle: str | None = None
        # In a stream, the item whose error ends it.
        self._stops_at: int | None = None
        self._answers: dict[int, tuple[int, Any, bool]] = {}
        # What the calling thread has executed last, and the index after it.
        self._tail: list[Any] = []
        self._tail_stop = -1
        self._here_size = 1 if batch_size is None else batch_size
        self._helpers: list[Loan] = []
        self._wants_helpers = False
        # Whether other threads have waited for the GIL in vain.
        self._is_crowded = False
        self.pilot = Pilot()
        #: Called by the calling thread after each part that it has executed.
        self.after_part: Callable[[], None] | None = None

    def finish(self) -> Any:
        """Return the answer of all parts, in the order of the items."""
        parts = [self._answers[start] for start in sorted(self._answers)]
        if self.job.combine is None:
            if len(parts) == 1 and not self.job.collect:
                # The one list of a call that stayed here, or arrived as one batch.
                only: list[Any] = parts[0][1]
                return only if type(only) is list else list(only)
            everything: list[Any] = []
            if self.job.collect:
                from daskkit.run.failures import Results

                everything = Results()
            for _, results, _ in parts:
                everything.extend(results)
            return everything
        answer = self._combine(parts)
        if not self.job.collect:
            return answer
        from daskkit.run.failures import Results

        return answer, Results(sorted(self.failures, key=lambda failure: failure.index))

    def close(self) -> None:
        """Have all threads that help end, after what they execute."""
        with self.changed:
            self.is_closed = True
            self._wants_helpers = False
            self.changed.notify_all()

    def join_helpers(self, patience_s: float | None = None) -> None:
        """Wait for their end, after `close`; a second call does nothing."""
        helpers, self._helpers = self._helpers, []
        deadline = None if patience_s is None else time.monotonic() + patience_s
        for helper in helpers:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            helper.join(left)
        if self._bar is not None:
            self._show_progress()
            self._bar.close()

    @property
    def bar(self) -> Any:
        """What shows progress; None if that isn't wanted."""
        return self._bar

    # Streams.

    def has_next(self, following: int | None) -> bool:
        """Return whether a stream can go on: with results, or with its error.

        `following` is the index of the next item, None where the order is no matter.
        """
        if self.error is not None:
            return True
        if (following in self._answers) if following is not None else self._answers:
            return True
        if self._stops_at is not None and (
            following is None or following >= self._stops_at
        ):
            self.error = self._stop_error
            return True
        return False

    def take_answer(self, following: int | None) -> tuple[int, Any] | None:
        """Return the next results and how many items they stand for, None at the end.

        Raises
        ------
        Exception
            What ended the stream.
        """
        with self.changed:
            key = following
            if key is None:
                key = next(iter(self._answers), -1)
            if key not in self._answers:
                if self.error is not None:
                    raise self.error
                return None
            n_items, results, _ = self._answers.pop(key)
            return n_items, results

    # The calling thread, and those that help it.

    def work_here(self, until: Callable[[], bool] | None = None) -> None:
        """Execute items in this thread until all are done, or `until` says so.

        Raises
        ------
        Exception
            What ended the call.
        """
        waiters = Waiters()
        while True:
            with self._lock:
                while not self._may_work(until):
                    if self._is_over(until):
                        return
                    self.changed.wait(_PROGRESS_S)
                    self._show_progress()
                chore, self.chore = self.chore, None
            if chore is not None:
                chore()
                continue
            part = self._take_here()
            if part is not None:
                self._execute(part, is_pilot=True)
                if waiters.let_in():
                    self._is_crowded = True
                self._show_progress()
                if self.after_part is not None:
                    self.after_part()

    def help(self, n_threads: int) -> None:
        """Have more threads of this process execute items."""
        from daskkit.run.helpers import lend

        self._wants_helpers = True
        for i in range(n_threads):
            self._helpers.append(lend(self._help, f"daskkit-{self.job.name}-{i}"))

    def stop_helping(self) -> None:
        """Have those threads end after what they execute."""
        with self.changed:
            self._wants_helpers = False
            self.changed.notify_all()

    @property
    def n_helpers(self) -> int:
        """Threads that help now."""
        return len(self._helpers) if self._wants_helpers else 0

    def _help(self) -> None:
        try:
            while True:
                with self.changed:
                    while not self._may_take(is_helper=True):
                        if not self._wants_helpers or self._is_done():
                            return
                        self.changed.wait(_PROGRESS_S)
                    if not self._wants_helpers:
                        return
                part = self._take_here(is_helper=True)
                if part is not None:
                    self._execute(part, is_pilot=False)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.fail(error)

    def _may_work(self, until: Callable[[], bool] | None) -> bool:
        """Return whether the calling thread has something to do; else it waits."""
        if self.error is not None and not self.is_stream:
            raise self.error
        if until is not None and until():
            return False
        return self.chore is not None or self._may_take()

    def _may_take(self, *, is_helper: bool = False) -> bool:
        if self.is_closed or self.error is not None:
            return False
        if is_helper:
            if not self._wants_helpers:
                return True  # to see that it is over
            if self.is_stream and len(self._answers) >= _AHEAD * len(self._helpers):
                return self.source.has_returned
        elif self.local:
            return True
        elif self.is_paused or self.n_helpers:
            # Helpers are better off alone: memory that they free is at hand for their
            # next arrays, what the main thread frees goes back to the system.
            return False
        return not self.source.is_empty_here and (
            self._stops_at is None or self.source.has_returned
        )

    def _is_over(self, until: Callable[[], bool] | None) -> bool:
        if self.is_closed or (self.error is not None and self.is_stream):
            return True
        return (until is not None and until()) or self._is_done()

    def _is_done(self) -> bool:
        if self.n_open or self.local or self.is_closed:
            return self.is_closed
        return self.source.is_empty or (
            self._stops_at is not None and not self.source.has_returned
        )

    @property
    def is_complete(self) -> bool:
        """Whether all items are done, and none has ended the call."""
        with self.changed:
            is_done = not (self.n_open or self.local) and self.source.is_empty
            return is_done and self.error is None and self._stops_at is None

    @property
    def is_over(self) -> bool:
        """Whether nobody has anything left to do."""
        with self.changed:
            return self.error is not None or self._is_done()

    def _take_here(self, *, is_helper: bool = False) -> Part | None:
        with self._lock:
            if self.local and not is_helper:
                part = self.local.popleft()
                self.n_open += len(part.items)
                return part
        return self.take(self._here_size, here=True)

    def take(self, n_items: int, *, here: bool = False) -> Part | None:
        """Return items for somebody to execute, or None."""
        # Counted before they are taken: nobody may believe that all is done meanwhile.
        with self._lock:
            self.n_open += 1
        part: Part | None = None
        try:
            part = self.source.take(n_items, here=here, fresh=self._stops_at is None)
        except Exception as error:  # noqa: BLE001 - of the user's own iterator
            self.fail_reading(error)
        finally:
            with self._lock:
                self.n_open += (0 if part is None else len(part.items)) - 1
                if part is None:
                    self.changed.notify_all()
        return part

    def give_back(self, part: Part) -> None:
        """Take items back that somebody had and did not execute."""
        with self.changed:
            self.source.give_back(part)
            self.n_open -= len(part.items)
            self.changed.notify_all()

    def _execute(self, part: Part, *, is_pilot: bool) -> None:
        # What follows what this thread has executed goes to the same list.
        is_next = is_pilot and part.start == self._tail_stop and not self.is_stream
        results = self._tail if is_next else []
        n_before = len(results)
        pilot = self.pilot
        if is_pilot:
            pilot.part, pilot.part_began = part, time.perf_counter()
        watch = Stopwatch()
        if is_pilot:
            pilot.part_cpu_s = watch.cpu_began_s
        was_cut = False
        if is_pilot and not self.is_stream and is_quick(self.job, part.items):
            whole = part
            part, results, caught = self._execute_quickly(part, results)
            was_cut = part is not whole
        else:
            caught = run_chunk(self.job, part.items, results)
        took_s, cpu_s = watch.read()
        if is_pilot:
            pilot.ended(part, results, n_before, took_s, cpu_s)
            if was_cut:
                pilot.begin_anew()
            pilot.seen_s = 0.0
        n_results = len(results) - n_before
        if self.batch_size is None:
            # The mean of a part that was cut says little of what follows.
            item_s = took_s / max(1, n_results)
            self._here_size = 1 if was_cut else self._fit(part, item_s, took_s)
        for offset, error, attempts in caught:
            index = part.start + offset
            item = part.items[offset]
            failure = self.note(index, item, error, _HERE, attempts, offset)
            if self.job.collect:
                results[n_before + offset] = failure
        n_executed = n_results + (bool(caught) and not self.job.collect)
        if is_pilot:
            self._tail, self._tail_stop = results, part.start + n_executed
        start = part.start - n_before if is_next else part.start
        self.store(part, results, n_executed, start=start)

    def _execute_quickly(
        self, part: Part, results: list[Any]
    ) -> tuple[Part, list[Any], list[Caught]]:
        """Execute trivial items, and leave what follows a cut to others."""
        pilot = self.pilot
        quick = Comprehension(self.job.func, part.items)
        pilot.quick = quick
        caught: list[Caught] = []
        try:
            with executing():
                new = quick.run()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller raises it
            n_done = quick.n_begun - 1
            new = [None] * n_done  # which nobody sees
            caught.append((n_done, error, 1))
        finally:
            pilot.quick = None
        if len(results) < len(new):
            new[:0] = results
            results = new
        else:
            results += new
        if quick.n_begun < len(part.items) and not caught:
            stop = part.start + quick.n_begun
            self.give_back(part.between(stop, part.stop))
            part = part.between(part.start, stop)
        return part, results, caught

    def cut(self, item_s: float) -> None:
        """Have what the calling thread executes end early, if it can.

        Its latest items have taken so long, other than those before them. What it has
        not begun is given back; from any thread.
        """
        pilot, quick = self.pilot, self.pilot.quick
        if quick is not None:
            pilot.item_s = pilot.seen_s = item_s
            quick.cut()

    def cut_short(self, age_s: float) -> None:
        """Have what the calling thread has executed for so long end early, if it can.

        What it has not begun is given back; from any thread.
        """
        quick = self.pilot.quick
        if quick is not None and time.perf_counter() - self.pilot.part_began > age_s:
            quick.cut()

    def _fit(self, part: Part, item_s: float, wall_s: float) -> int:
        """Return how many items the calling thread takes next, after a part."""
        here_s = _ALONE_S if self.is_alone and not self._is_crowded else _HERE_S
        # Not many times as many at a time: one item doesn't tell of all.
        growth = _QUICK_GROWTH if wall_s < _QUICK_S else 2
        is_trivial = item_s < (_SMALL_S if self.is_alone else _TRIVIAL_S)
        sequence = self.source.sequence
        if is_trivial and sequence is not None and is_quick(self.job, sequence):
            if self._bar is None:
                return len(sequence)  # all that is left, see `Comprehension`
            here_s, growth = _PROGRESS_S, _MOST_HERE
        fitting = int(here_s / max(item_s, 1e-9))
        size = max(1, min(fitting, growth * len(part.items), _MOST_HERE))
        n_left = self.source.n_left
        is_alone = self.n_open == len(part.items)
        if is_alone and n_left is not None and size < n_left < _REST * size:
            return n_left
        return size

    # What becomes of items, wherever they were executed.

    def store(
        self,
        part: Part,
        results: Any,
        n_items: int,
        *,
        start: int | None = None,
        is_combined: bool = False,
    ) -> None:
        """Keep the results of items that somebody had.

        Those of items from `start` on, if the list has more than this part's.
        """
        with self._lock:
            self.n_open -= len(part.items)
            self.n_done += n_items
            if n_items:
                start = part.start if start is None else start
                self._answers[start] = (n_items, results, is_combined)
            if self.is_stream or self._is_done():
                self.changed.notify_all()

    def note(  # noqa: PLR0917 - what is known of an item that raised
        self,
        index: int,
        item: Any,
        error: BaseException,
        where: str,
        attempts: int,
        n_before: int = 0,
    ) -> Failure:
        """Keep an item's error; without `collect` it ends the call.

        `n_before` items were done just before, and are not counted yet.

        Returns
        -------
        Failure
            What stands in the place of a result.
        """
        from daskkit.run.failures import Failure, format_note

        value = short_repr(item)
        failure = Failure(index, value, error, where, attempts)
        with self.changed:
            self.failures.append(failure)
            if not self.job.collect:
                n_done = self.n_done + n_before
                what = self.job.name_item(index, item)
                text = format_note(what, where, n_done, self.source.n_items)
                error.add_note(text)
                self._end_with(index, error)
        return failure

    def fail(self, error: BaseException) -> None:
        """End the call with an error that is no item's."""
        with self.changed:
            if self.error is None:
                self.error = error
            self.changed.notify_all()

    def fail_reading(self, error: BaseException) -> None:
        """End the call where the input does."""
        with self.changed:
            error.add_note(f"raised by the input, after {self.source.n_read} items")
            self._end_with(self.source.n_read, error)

    def _end_with(self, index: int, error: BaseException) -> None:
        """End the call, a stream after the items that come before; the lock is held."""
        if not self.is_stream:
            if self.error is None:
                self.error = error
        elif self._stops_at is None or index < self._stops_at:
            self._stops_at, self._stop_error = index, error
        self.changed.notify_all()

    def _combine(self, parts: Sequence[tuple[int, Any, bool]]) -> Any:
        """Return one answer: results that are neighbours first, then as a tree."""
        combine = self.job.combine
        assert combine is not None
        answers: list[Any] = []
        plain: list[Any] = []
        for _, results, is_combined in parts:
            if is_combined:
                if plain:
                    answers.append(combine(plain))
                    plain = []
                answers.append(results)
            else:
                plain += self._drop_failures(results)
        if plain or not answers:
            answers.append(combine(plain))
        while len(answers) > 1:
            answers = [
                combine(answers[i : i + _FAN_IN])
                for i in range(0, len(answers), _FAN_IN)
            ]
        return answers[0]

    def _drop_failures(self, results: list[Any]) -> list[Any]:
        if not self.failures:
            return results
        from daskkit.run.failures import Failure

        return [one for one in results if not isinstance(one, Failure)]

    @property
    def n_ahead(self) -> int:
        """Parts of a stream that wait to be consumed."""
        return len(self._answers)

    def _show_progress(self) -> None:
        if self._bar is not None:
            n_new = self.n_done + self.job.n_before - self._bar.n
            if n_new:
                self._bar.update(n_new)
