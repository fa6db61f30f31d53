"""What a comparison's intervals allow to be said, in plain sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from daskkit.comparison.stats import differ
from daskkit.records import FEWEST_ROUNDS
from daskkit.units import format_count, format_ratio, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from daskkit.records import Run, Summary

__all__ = ["format_verdict"]

_VECTORISED = "numpy"
_STATUS_WORDS = {
    "failed": "failed",
    "wrong": "gave a wrong result, so its time does not count",
    "unavailable": "could not run",
}


def format_verdict(
    runs: Sequence[Run], summaries: Sequence[Summary], n_items: int, n_rounds: int
) -> list[str]:
    """Return what can be said about a comparison, and no more.

    Parameters
    ----------
    runs : sequence of Run
        The plain loop first.
    summaries : sequence of Summary
        Their rows, in the same order.
    n_items : int
        Items of the workload.
    n_rounds : int
        Timed repeats of each back end.

    Returns
    -------
    list of str
        Sentences.
    """
    loop = summaries[0]
    loop_time = (
        f"The plain loop takes {format_seconds(loop.median_s)} for "
        f"{format_count(n_items, 'item')} on one core."
    )
    sentences = []  # the first one is the headline
    walls = {run.backend: run.walls for run in runs if run.status == "ok"}
    rows = {row.backend: row for row in summaries if row.status == "ok"}
    rivals = {name: row for name, row in rows.items() if name != loop.backend}
    if rivals and n_rounds < FEWEST_ROUNDS:
        sentences.append(
            f"{format_count(n_rounds, 'repeat')} can't show which is faster; "
            f"{FEWEST_ROUNDS} or more can."
        )
        sentences.append(loop_time)
    elif not rivals:
        sentences.append(loop_time)
    else:
        sentences.extend(_rank(loop, rivals, walls, n_rounds))
        sentences.insert(1, loop_time)
        sentences.extend(_warn_of_cold_start(loop, rivals, walls))
        sentences.extend(_set_against_numpy(runs, rivals, walls))
    for row in summaries:
        if row.status != "ok":
            words = _STATUS_WORDS[row.status]
            sentences.append(f"{row.backend} {words}: {row.error}.".replace("..", "."))
    sentences += [
        f"{run.backend} did not end cleanly, what it left was removed: {run.leftovers}."
        for run in runs
        if run.leftovers is not None
    ]
    return sentences


def _rank(
    loop: Summary,
    rivals: Mapping[str, Summary],
    walls: Mapping[str, list[float]],
    n_rounds: int,
) -> Iterator[str]:
    """Say which are fastest, and which are slower than the loop."""
    against_loop = walls[loop.backend]
    alike = [name for name in rivals if not differ(walls[name], against_loop)]
    faster = [
        row
        for name, row in rivals.items()
        if name not in alike and row.median_s < loop.median_s
    ]
    if faster:
        best = min(faster, key=lambda row: row.median_s)
        yield (
            f"The fastest is {best.backend}{_on(best)}: "
            f"{_interval(best)} times as fast as the loop."
        )
        ties = [
            name
            for name in rivals
            if name != best.backend and not differ(walls[name], walls[best.backend])
        ]
        if ties:
            yield (
                f"No difference between {best.backend} and {_join(ties)} in "
                f"{n_rounds} repeats."
            )
    elif alike:
        yield (
            f"Nothing is faster than the loop: no difference between it and "
            f"{_join(alike)} in {n_rounds} repeats."
        )
    else:
        yield "Nothing is faster than the loop."
    slower = [
        name
        for name, row in rivals.items()
        if row.median_s > loop.median_s and differ(walls[name], against_loop)
    ]
    if slower:
        yield f"Slower than the loop: {_join(slower)}."


def _warn_of_cold_start(
    loop: Summary, rivals: Mapping[str, Summary], walls: Mapping[str, list[float]]
) -> Iterator[str]:
    """Say which are faster than the loop only once they are warm."""
    only_warm = [
        name
        for name, row in rivals.items()
        if row.median_s < loop.median_s
        and differ(walls[name], walls[loop.backend])
        and row.cold_s > loop.median_s
    ]
    if only_warm:
        yield (
            "Counting start-up and a first run, slower than the loop when used once: "
            f"{_join(only_warm)}."
        )


def _set_against_numpy(
    runs: Sequence[Run], rivals: Mapping[str, Summary], walls: Mapping[str, list[float]]
) -> Iterator[str]:
    """Say what one core of NumPy means for the question."""
    name = next(
        (run.backend for run in runs if run.spec == _VECTORISED and run.status == "ok"),
        None,
    )
    if name is None or len(rivals) == 1:
        return
    row = rivals[name]
    loop_walls = next(iter(walls.values()))
    if differ(loop_walls, walls[name]) and row.speedup > 1:
        n_cores = math.ceil(row.speedup)
        yield (
            f"One core of NumPy is {_interval(row)} times as fast as the loop: "
            f"parallel workers would need {format_count(n_cores, 'core')} and no "
            "overhead to draw level."
        )
        faster = [
            other
            for other in rivals
            if other != name
            and differ(walls[other], walls[name])
            and np.median(walls[other]) < row.median_s
        ]
        if faster:
            yield f"Faster than one core of NumPy: {_join(faster)}."
    else:
        yield "The vectorised form is not faster than the loop here."


def _interval(row: Summary) -> str:
    return (
        f"{format_ratio(row.speedup)} (95 % interval {format_ratio(row.speedup_low)} "
        f"to {format_ratio(row.speedup_high)})"
    )


def _on(row: Summary) -> str:
    return f" on {format_count(row.workers, 'worker')}" if row.workers > 1 else ""


def _join(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
