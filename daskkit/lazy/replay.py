"""How `apply` becomes lazy: pandas is asked twice, for its items and for its answer.

pandas keeps its inner loop between what it prepares and what it makes of the results
(`daskkit.frames.seam`). When the graph is built, its loop is stopped as soon as it is
known what it would do. When the results are there, in the last task, pandas is called
once more, and its loop gets them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NoReturn

from daskkit.frames.apply import apply_by
from daskkit.graphs.tasks import Step
from daskkit.run.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.frames.seam import Run
    from daskkit.run.work import Work

__all__ = ["ApplyCall"]


class _StopError(BaseException):
    """Ends a call of pandas; not an Exception, which pandas might take as its own."""


class _CalledError(_StopError):
    """pandas itself has called the function."""


@dataclasses.dataclass(frozen=True)
class ApplyCall:
    """The arguments of `daskkit.apply`."""

    obj: Any
    func: Any
    args: tuple[Any, ...]
    elementwise: bool
    kwargs: dict[str, Any]

    def find_works(self) -> list[Work]:
        """Return what is done to the items, none if pandas does the whole by itself.

        Calls the function with nothing.

        Examples
        --------
        >>> import pandas as pd
        >>> series = pd.Series([1, 2])
        >>> (work,) = ApplyCall(series, hex, (), False, {}).find_works()
        >>> work.name, work.items
        ('hex', [1, 2])
        >>> ApplyCall(series, "sum", (), False, {}).find_works()
        []
        """
        if not callable(self.func):
            return []
        # First with a function that can't be called: where pandas would call it
        # itself, the whole would be computed here and now.
        guarded = dataclasses.replace(self, func=_guard(self.func))
        try:
            is_ours = bool(_stop_at_loops(guarded))
        except _CalledError:
            return []
        return _stop_at_loops(self) if is_ours else []

    def replay(self, results: list[Any]) -> Any:
        """Return pandas' answer, made of the results of the items of all works.

        Examples
        --------
        >>> import pandas as pd
        >>> ApplyCall(pd.Series([1, 2]), hex, (), False, {}).replay(["a", "b"]).tolist()
        ['a', 'b']
        """
        left = iter(results)

        def run(work: Work) -> list[Any]:
            return list(itertools.islice(left, len(work.items)))

        return self.answer(run)

    def __call__(self) -> Any:
        """Return pandas' answer, all computed here.

        Examples
        --------
        >>> import pandas as pd
        >>> int(ApplyCall(pd.Series([1, 2]), "sum", (), False, {})())
        3
        """

        def run(work: Work) -> list[Any]:
            job = Job(work.func, work.name, each=work.each, describe=work.describe)
            return list(Step.of(job).run(work.items, 0))

        return self.answer(run)

    def answer(self, run: Run) -> Any:
        """Return pandas' answer, the items being executed by a function.

        Examples
        --------
        >>> import pandas as pd
        >>> call = ApplyCall(pd.Series([1, 2]), hex, (), False, {})
        >>> call.answer(lambda work: [item + 1 for item in work.items]).tolist()
        [2, 3]
        """
        return apply_by(
            run,
            self.obj,
            self.func,
            *self.args,
            elementwise=self.elementwise,
            **self.kwargs,
        )


def _stop_at_loops(call: ApplyCall) -> list[Work]:
    """Return the works that the loops are given, without their being done."""
    from pandas.core.window.rolling import RollingAndExpandingMixin

    found: list[Work] = []
    is_windows = isinstance(call.obj, RollingAndExpandingMixin)

    def run(work: Work) -> list[Any]:
        found.append(work)
        if is_windows:
            # There is a loop for each column, and the next comes after this one.
            return [math.nan] * len(work.items)
        raise _StopError

    try:
        call.answer(run)
    except _CalledError:
        raise
    except _StopError:
        return found  # where the loop begins: that was all to be found out
    except Exception:
        if not found:
            raise
        # Of a later column; the function may fail for an earlier one, and pandas
        # raises what comes first.
        return []
    return found


def _guard(func: Callable[..., Any]) -> Callable[..., NoReturn]:
    """Return a function of the same name that raises when it is called."""

    # Its name only: of a class such as `str` not the attributes.
    @functools.wraps(func, updated=())
    def guard(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise _CalledError

    return guard
