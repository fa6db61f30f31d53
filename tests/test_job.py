"""The innermost loop: results in order, errors by item, retries in place."""

from __future__ import annotations

import pytest

from daskkit.run.job import Job, is_executing, run_chunk


def _inverse(x):
    return 1 / x


def test_stops_at_the_first_error():
    """Results before it are kept, its position and error are returned."""
    results = []
    ((offset, error, attempts),) = run_chunk(
        Job(_inverse, "inverse"), [1, 2, 0, 4], results
    )
    assert (offset, type(error), attempts) == (2, ZeroDivisionError, 1)
    assert results == [1.0, 0.5]


def test_collect_goes_on():
    """None stands for each item that raised."""
    results = ["before"]
    caught = run_chunk(Job(_inverse, "inverse", collect=True), [0, 1, 0, 0], results)
    assert [offset for offset, _, _ in caught] == [0, 2, 3]
    assert results == ["before", None, 1.0, None, None]


@pytest.mark.parametrize("star", [False, True])
def test_retries_happen_in_place(star):
    """An item is tried again before the next one is begun."""
    seen = []

    def func(x):
        seen.append(x)
        if seen.count(x) < x:
            raise OSError
        return x

    items = [(1,), (3,), (2,)] if star else [1, 3, 2]
    results = []
    assert run_chunk(Job(func, "func", star=star, retries=2), items, results) == []
    assert results == [1, 3, 2]
    assert seen == [1, 3, 3, 3, 2, 2]


def test_last_error_counts():
    """After all retries the item's error is that of the last attempt."""
    errors = iter([KeyError("first"), OSError("second"), ValueError("third")])

    def func(x):
        raise next(errors)

    ((_, error, attempts),) = run_chunk(Job(func, "func", retries=2), [1], [])
    assert (repr(error), attempts) == ("ValueError('third')", 3)


def test_interrupts_go_through():
    """Ctrl-C in the caller is nobody's item's."""

    def func(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_chunk(Job(func, "func", retries=5, collect=True), [1], [])
    assert not is_executing()


def test_knows_that_it_executes():
    """Also after errors, and one within the other."""

    def func(x):
        inner = []
        run_chunk(Job(lambda _: is_executing(), "inner"), [1], inner)
        return is_executing(), inner

    results = []
    run_chunk(Job(func, "func"), [1], results)
    assert results == [(True, [True])]
    assert not is_executing()


@pytest.mark.parametrize("star", [False, True])
def test_stop_iteration_is_an_error_like_others(star):
    """StopIteration of the function names its item; results are not cut short."""

    def func(x):
        return next(iter([x] if x else []))

    items = [(1,), (0,), (2,)] if star else [1, 0, 2]
    results = []
    ((offset, error, _),) = run_chunk(Job(func, "func", star=star), items, results)
    assert (offset, type(error), results) == (1, StopIteration, [1])


def test_each_takes_the_place_of_func():
    """A function of consecutive items is called again after an item that raised."""
    calls = []

    def each(items, results):
        calls.append(list(items))
        for item in items:
            results.append(_inverse(item))

    results = []
    job = Job(_inverse, "inverse", collect=True, each=each)
    ((offset, _, _),) = run_chunk(job, [1, 0, 2], results)
    assert (offset, results) == (1, [1.0, None, 0.5])
    assert calls == [[1, 0, 2], [2]]
