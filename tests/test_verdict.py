"""Sentences that say what the intervals allow, and nothing else."""

from __future__ import annotations

from daskkit.comparison.stats import summarize
from daskkit.comparison.verdict import format_verdict
from daskkit.records import Repeat, Run


def _run(name, walls, workers=2, **fields):
    repeats = tuple(Repeat(i, wall, wall) for i, wall in enumerate(walls))
    fields = {
        "status": "ok",
        "start_s": 0.1,
        "first_s": walls[0] if walls else 0.1,
    } | fields
    return Run(name, name, workers, "", repeats=repeats, **fields)


def _verdict(*runs, n_rounds=5):
    summaries = [summarize(run, runs[0]) for run in runs]
    return " ".join(format_verdict(runs, summaries, 100, n_rounds))


LOOP = _run("serial", [4.0, 4.1, 4.0, 4.2, 4.0], workers=1)


def test_fastest_is_named_with_its_interval():
    """A clear winner is named with the workers and the interval of its speed-up."""
    text = _verdict(LOOP, _run("pool", [2.0] * 5), _run("slow", [3.0] * 5))
    assert "The fastest is pool on 2 workers: 2.00 (95 % interval 2.00 to 2.1" in text
    assert "No difference" not in text


def test_ties_are_called_ties():
    """Back ends whose intervals overlap are not ranked."""
    one = _run("one", [2.0, 2.1, 2.2, 2.0, 2.1])
    other = _run("other", [2.1, 2.0, 2.2, 2.1, 2.0])
    text = _verdict(LOOP, one, other)
    assert "No difference between" in text
    assert "in 5 repeats" in text


def test_nothing_is_faster():
    """Where the loop can't be told from its rivals, that is what is said."""
    text = _verdict(LOOP, _run("pool", [4.0, 4.1, 4.2, 4.0, 4.0]))
    assert "no difference between it and pool in 5 repeats" in text


def test_slower_rows_are_named():
    """What is slower than the loop is said to be so."""
    text = _verdict(LOOP, _run("pool", [2.0] * 5), _run("snail", [9.0] * 5))
    assert "Slower than the loop: snail." in text


def test_all_slower():
    """If the best rival is slower, nothing is faster."""
    text = _verdict(LOOP, _run("snail", [9.0] * 5))
    assert "Nothing is faster than the loop." in text
    assert "Slower than the loop: snail." in text


def test_numpy_is_put_into_cores():
    """A vectorised form 20 times as fast means 20 cores to draw level."""
    numpy = _run("numpy", [0.2, 0.2, 0.2, 0.2, 0.2], workers=1)
    text = _verdict(LOOP, numpy, _run("pool", [2.0] * 5))
    assert "parallel workers would need 20 cores and no overhead to draw level" in text


def test_parallel_rows_that_beat_numpy_are_named():
    """Workers that are faster than one core of NumPy get their due."""
    numpy = _run("numpy", [3.0] * 5, workers=1)
    text = _verdict(LOOP, numpy, _run("pool", [1.0] * 5))
    assert "Faster than one core of NumPy: pool." in text


def test_cold_start_is_counted():
    """A back end that is faster only when warm is said to be slower when used once."""
    text = _verdict(LOOP, _run("cluster", [2.0] * 5, start_s=5.0))
    assert "slower than the loop when used once: cluster." in text


def test_too_few_repeats_claim_nothing():
    """With fewer than 5 repeats nothing is ranked."""
    loop = _run("serial", [4.0, 4.0], workers=1)
    text = _verdict(loop, _run("pool", [1.0, 1.0]), n_rounds=2)
    assert "2 repeats can't show which is faster; 5 or more can." in text
    assert "fastest" not in text


def test_rows_that_are_not_ok_say_why():
    """Each status has its words, each with its reason."""
    text = _verdict(
        LOOP,
        _run("a", [], status="failed", error="ValueError: no"),
        _run("b", [], status="wrong", error="result is 1, the plain loop's is 2"),
        _run("c", [], status="unavailable", error="x is not installed"),
    )
    assert "a failed: ValueError: no." in text
    assert "b gave a wrong result, so its time does not count: result is 1" in text
    assert "c could not run: x is not installed." in text


def test_the_loop_alone():
    """A comparison of the loop with nothing states its time."""
    assert _verdict(LOOP) == "The plain loop takes 4.00 s for 100 items on one core."
