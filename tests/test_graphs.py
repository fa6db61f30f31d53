"""Bags and delayed objects compute what the loop computes, on any scheduler."""

from __future__ import annotations

import itertools

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskkit as dk
from daskkit.graphs.bag import reduce_bag
from daskkit.graphs.partitions import find_edges


def _square(x):
    return x * x


def _join(results):
    """Concatenate, which shows the order."""
    return [
        x
        for result in results
        for x in (result if isinstance(result, list) else [result])
    ]


def _workload(n, combine=None):
    return dk.Workload("squares", _square, range(n), combine=combine)


@given(n=st.integers(0, 200), npartitions=st.integers(1, 50))
def test_partitions_hold_every_item_once_and_in_order(n, npartitions):
    """Parts are contiguous, complete and differ by at most one item."""
    edges = find_edges(n, npartitions)
    assert len(edges) == npartitions + 1
    assert (edges[0], edges[-1]) == (0, n)
    sizes = [stop - start for start, stop in itertools.pairwise(edges)]
    assert min(sizes) >= 0
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("npartitions", [1, 2, 7, 100, None])
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_collections_equal_the_loop(n, npartitions, scheduler):
    """For every number of items and partitions: same values, order and types."""
    work, combined = _workload(n), _workload(n, _join)
    bag = dk.build_bag(work, npartitions=npartitions)
    results = {
        "bag": (bag.compute(scheduler=scheduler), work.loop()),
        "delayed": (
            dk.build_delayed(work, npartitions=npartitions).compute(
                scheduler=scheduler
            ),
            work.loop(),
        ),
        "reduced bag": (
            reduce_bag(bag, _join).compute(scheduler=scheduler),
            combined.loop(),
        ),
        "combined": (
            dk.build_delayed(combined, npartitions=npartitions).compute(
                scheduler=scheduler
            ),
            combined.loop(),
        ),
    }
    for name, (result, expected) in results.items():
        assert (name, type(result), result) == (name, type(expected), expected)


def test_collections_equal_the_loop_on_a_cluster(shared_client):
    """The same on worker processes, functions of this module and lambdas included."""
    work = dk.Workload("lambda", lambda x: (x, str(x)), range(50))
    assert dk.build_bag(work).compute() == work.loop()
    assert dk.build_delayed(work).compute() == work.loop()


def test_collections_compose_with_dask(shared_client):
    """A bag can be mapped on, a delayed object can be an argument."""
    bag = dk.build_bag(_workload(10), npartitions=3)
    assert bag.map(lambda x: x + 1).filter(lambda x: x % 2).sum().compute() == 125
    assert dask.delayed(len)(dk.build_delayed(_workload(10))).compute() == 10


def test_building_computes_nothing():
    """A function that always raises can be put into a graph."""
    work = dk.Workload("division", lambda x: 1 / x, [0])
    dk.build_bag(work)
    dk.build_delayed(work)


def test_keys_read_well():
    """The name before the token is the workload's and the step's."""
    work = _workload(20, sum)
    names = {dask.utils.key_split(key) for key in dk.build_delayed(work).dask}
    assert names == {"squares-map", "squares-combine"}
    assert dask.utils.key_split(dk.build_bag(work).name) == "squares-map"


def test_equal_workloads_get_different_keys():
    """Dask must not answer a second run from the memory of the first."""
    work = _workload(5)
    assert dk.build_bag(work).name != dk.build_bag(work).name
    assert dk.build_delayed(work).key != dk.build_delayed(work).key


def test_combine_is_a_tree():
    """Sixty-four parts are combined eight at a time, in two levels."""
    graph = dict(dk.build_delayed(_workload(64, sum), npartitions=64).dask)
    n_combines = sum(dask.utils.key_split(key) == "squares-combine" for key in graph)
    assert n_combines == 8 + 1


def _join(answers):
    """Return one list; a combine may well look for the very type that it returns."""
    return [
        one
        for answer in answers
        for one in (answer if type(answer) is list else [answer])
    ]


@pytest.mark.parametrize("n_parts", [1, 9])
def test_combine_gets_its_own_answers(shared_client, n_parts):
    """Of the type that it gave them, wherever they were combined."""
    work = dk.Workload("own", abs, range(-40, 0), combine=_join)
    expected = list(range(40, 0, -1))
    assert dk.build_delayed(work, npartitions=n_parts).compute() == expected
    bag = dk.build_bag(work, npartitions=n_parts)
    assert reduce_bag(bag, _join).compute() == expected


@pytest.mark.parametrize("build", [dk.build_bag, dk.build_delayed])
def test_failing_item_is_named(build):
    """The exception keeps its type, and a note names the item."""
    work = dk.Workload("division", lambda x: 1 / (x - 7), range(20))
    with pytest.raises(ZeroDivisionError) as caught:
        build(work, npartitions=3).compute(scheduler="synchronous")
    assert caught.value.__notes__ == ["raised by item 7 (value 7)"]


@pytest.mark.parametrize("npartitions", [0, -1, 1.5, "2", True])
@pytest.mark.parametrize("build", [dk.build_bag, dk.build_delayed])
def test_wrong_npartitions(build, npartitions):
    """Only whole numbers of at least 1 are accepted."""
    with pytest.raises(dk.WorkloadError, match="npartitions must be a whole number"):
        build(_workload(5), npartitions=npartitions)
