"""What measurements on several numbers of workers allow to be said, in sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from daskkit.comparison.laws import LAW_NAMES
from daskkit.comparison.stats import differ
from daskkit.records import FEWEST_ROUNDS
from daskkit.units import format_count, format_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from daskkit.accounts import Law, Point
    from daskkit.records import Run

__all__ = ["format_scaling"]

# What two digits round to 100 %.
_WHOLE = 0.995


def format_scaling(
    backend: str,
    runs: Sequence[Run],
    *,
    points: Sequence[Point],
    laws: Sequence[Law],
    weak_laws: Sequence[Law],
    n_cores: int,
) -> list[str]:
    """Return what can be said about how a workload scales, and no more.

    Parameters
    ----------
    backend : str
        What it was measured with.
    runs : sequence of Run
        The plain loop first, then one a number of workers.
    points : sequence of Point
        Speed-ups over one worker.
    laws, weak_laws : sequence of Law
        Fitted to the same work, and to work that grows.
    n_cores : int
        Cores that could be used.

    Returns
    -------
    list of str
        Sentences; the first one is the headline.
    """
    rows = {run.workers: run for run in runs[1:] if run.status == "ok" and run.walls}
    return [
        *_say_best(backend, runs[0], rows, points),
        *(sentence for law in laws for sentence in _say_law(law)),
        *(
            f"Where the work grows with the workers, {_percent(law.contention)} of it "
            f"is done by one worker at a time ({_interval(law)})."
            for law in weak_laws
        ),
        *_say_left_out(runs, n_cores),
    ]


def _say_best(
    backend: str, loop: Run, rows: dict[int, Run], points: Sequence[Point]
) -> Iterator[str]:
    """Say on how many workers it is fastest, and how that compares with one."""
    if len(points) < 2:  # noqa: PLR2004 - one point is no scaling
        yield f"{backend} was measured on too few numbers of workers to scale."
        return
    if min(len(run.walls) for run in rows.values()) < FEWEST_ROUNDS:
        yield (
            f"With fewer than {FEWEST_ROUNDS} repeats nothing can be said for certain."
        )
    best = max(points, key=lambda point: point.speedup)
    n_best = int(best.n_workers)
    one = rows[1].walls
    if n_best == 1 or not differ(one, rows[n_best].walls):
        yield f"No number of workers is shown to be faster than one with {backend}."
    else:
        yield (
            f"{backend} is fastest on {format_count(n_best, 'worker')}: "
            f"{format_ratio(best.speedup)} times as fast as on one (95 % interval "
            f"{format_ratio(best.low)} to {format_ratio(best.high)}), an efficiency of "
            f"{format_ratio(best.speedup / best.n_workers)}."
        )
    if differ(one, loop.walls):
        ratio = sorted(one)[len(one) // 2] / sorted(loop.walls)[len(loop.walls) // 2]
        yield (
            f"On one worker it takes {format_ratio(ratio)} times as long as the plain "
            "loop."
        )


def _say_law(law: Law) -> Iterator[str]:
    name = LAW_NAMES[law.name]
    crosstalk = ""
    if law.name == "usl":
        crosstalk = (
            f", and keeping two workers in step costs {_percent(law.crosstalk)} "
            f"({_percent(law.crosstalk_low)} to {_percent(law.crosstalk_high)})"
        )
    name = f"the {name}" if law.name == "usl" else name
    yield (
        f"By {name}, {_percent(law.contention)} of the work is done by one "
        f"worker at a time ({_interval(law)}){crosstalk}."
    )
    if law.name == "usl":
        if math.isinf(law.peak_high):
            yield "No number of workers is shown beyond which more is slower."
        elif law.peak_workers <= law.limit:
            yield (
                f"Beyond {law.peak_workers:.0f} workers more is slower (90 % interval "
                f"{law.peak_low:.0f} to {law.peak_high:.0f})."
            )
    yield (
        f"{name[0].upper()}{name[1:]} is not read beyond "
        f"{format_count(law.limit, 'worker')}: {law.refusal}."
    )


def _say_left_out(runs: Sequence[Run], n_cores: int) -> Iterator[str]:
    """Say which numbers of workers are missing, and why."""
    crowded = sorted({run.workers for run in runs[1:] if run.workers > n_cores})
    if crowded:
        yield (
            f"{', '.join(map(str, crowded))} workers share "
            f"{format_count(n_cores, 'core')} and are left out of the laws."
        )
    for run in runs[1:]:
        if run.status != "ok":
            words = "gave a wrong result" if run.status == "wrong" else run.status
            yield (
                f"{format_count(run.workers, 'worker')}: {words}: {run.error}."
            ).replace("..", ".")


def _interval(law: Law) -> str:
    low, high = _percent(law.contention_low), _percent(law.contention_high)
    return f"90 % interval {low} to {high}"


def _percent(share: float) -> str:
    # Two digits, but never as a power of ten.
    text = "100" if share >= _WHOLE else f"{100 * share:.2g}"
    return f"{text} %"
