"""The lazy verbs: what the loop returns, on any scheduler, and ordinary Dask around."""

from __future__ import annotations

import functools
import importlib
import itertools
import operator
import os
import pickle
import threading

import dask
import dask.array
import dask.bag
import numpy as np
import pytest
from dask.delayed import Delayed
from dask.utils import key_split
from hypothesis import given
from hypothesis import strategies as st

import daskkit as dk
from daskkit import lazy
from daskkit.graphs.pipeline import find_pieces
from daskkit.graphs.work import build_work
from daskkit.run.work import Work, execute

# "distributed" is the client of the shared cluster, two worker processes.
SCHEDULERS = ["synchronous", "threads", "processes", "distributed"]


@pytest.fixture(params=SCHEDULERS)
def compute(request, shared_client, process_pool):
    """Return a function that computes Dask objects on one of Dask's schedulers."""
    scheduler = shared_client if request.param == "distributed" else request.param
    options = {"pool": process_pool} if scheduler == "processes" else {}

    def compute(*lazy_objects):
        results = dask.compute(*lazy_objects, scheduler=scheduler, **options)
        return results[0] if len(lazy_objects) == 1 else results

    return compute


def square(x):
    return x * x


def divide(x):
    return 1 / (x - 7)


def half(x):
    return x / 2


def modulo(x):
    return x % 3


def count(parts):
    """Add counts up; takes its own answers."""
    total = {}
    for part in parts:
        for key, n in part.items():
            total[key] = total.get(key, 0) + n
    return total


def count_one(x):
    return {x % 3: 1}


def join(parts):
    """Concatenate, which shows the order."""
    return functools.reduce(operator.add, parts, "")


# --- map and starmap ----------------------------------------------------------------


def test_map_returns_what_the_loop_does(compute):
    """Same values, order and type, for a lambda of this module too."""
    assert compute(lazy.map(square, range(30))) == [x * x for x in range(30)]
    assert compute(lazy.map(lambda x: (x, str(x)), "abc")) == dk.map(
        lambda x: (x, str(x)), "abc"
    )
    assert compute(lazy.map(square, [])) == []


def test_several_iterables_and_tuples_are_arguments(compute):
    """Inputs are read to the end of the shortest; tuples are taken apart."""
    bag, pairs = lazy.map(pow, [2, 3, 4], [3, 2]), lazy.starmap(pow, [(2, 3), (3, 2)])
    assert compute(bag, pairs) == ([8, 9], [8, 9])


@pytest.mark.parametrize("npartitions", [1, 2, 7, 100, None])
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_no_cut_changes_a_result(n, npartitions):
    """For every number of items and partitions."""
    bag = lazy.map(square, iter(range(n)), npartitions=npartitions)
    assert isinstance(bag, dask.bag.Bag)
    assert bag.compute(scheduler="synchronous") == [x * x for x in range(n)]
    total = lazy.map_reduce(str, range(n), join, npartitions=npartitions)
    assert isinstance(total, Delayed)
    assert total.compute(scheduler="synchronous") == join(map(str, range(n)))


def test_batch_size_is_the_most_items_of_a_partition():
    """Partitions are as evenly long as can be, and none is longer."""
    bag = lazy.map(square, range(10), batch_size=4)
    sizes = bag.map_partitions(lambda part: [len(list(part))])
    assert sizes.compute(scheduler="synchronous") == [3, 3, 4]


def test_a_bag_composes(compute):
    """The methods of a bag follow, and return what they do on one of Dask's own."""
    bag = lazy.map(modulo, range(100)).filter(bool).frequencies()
    plain = dask.bag.from_sequence(range(100)).map(modulo).filter(bool).frequencies()
    assert sorted(compute(bag)) == sorted(plain.compute(scheduler="sync"))


def test_a_bag_joins_one_of_dask_and_delayed_takes_it(shared_client):
    """Bags are zipped, folded and handed to delayed functions."""
    bag = lazy.map(square, range(10), npartitions=3)
    other = lazy.map(abs, range(10), npartitions=3)
    assert dask.bag.zip(bag, other).map(sum).sum().compute() == 285 + 45
    assert bag.fold(max).compute() == 81
    assert dask.delayed(len)(bag).compute() == 10


def test_array_items_are_its_rows(shared_client):
    """An array is cut without being read into a list; rows are what func gets."""
    array = np.arange(3_000_000.0).reshape(1000, 3000)
    bag = lazy.map(np.sum, array)
    np.testing.assert_array_equal(bag.compute(), array.sum(axis=1))


def test_many_tiny_items_travel_as_few_objects(shared_client):
    """A hundred thousand items are as many objects as partitions, here and back."""
    bag = lazy.map(square, range(100_000), npartitions=8)
    assert len(dict(bag.dask)) == 8
    assert bag.compute() == [x * x for x in range(100_000)]


def test_nothing_is_computed_until_asked(tmp_path):
    """Building any lazy object calls neither func nor combine."""

    def fail(*_args):
        raise AssertionError

    lazy.map(fail, range(3))
    lazy.starmap(fail, [(1, 2)])
    lazy.pipeline(range(3), fail, fail)
    lazy.tree_reduce([lazy.map_reduce(fail, range(3), fail)], fail)
    build_work(Work("work", fail, range(3), finish=fail))


def test_verbs_within_an_item_are_plain_loops(shared_client):
    """A task that calls a verb starts nothing."""

    def nested(x):
        return dk.map(lambda y: (y, os.getpid()), range(x, x + 2)), os.getpid()

    for results, pid in lazy.map(nested, range(4)).compute():
        assert {worker for _, worker in results} == {pid}


@pytest.mark.parametrize("n_workers", [1, 3])
def test_one_and_several_workers(n_workers):
    """The cluster that is open computes; each thread gets four partitions."""
    with dk.cluster(n_workers=n_workers) as client:
        bag = lazy.map(square, range(100))
        assert bag.npartitions == 4 * sum(client.nthreads().values())
        assert bag.compute() == [x * x for x in range(100)]
        total = lazy.map_reduce(square, range(100), sum)
        assert (total + 1).compute() == 328_351


# --- map_reduce and tree_reduce -----------------------------------------------------


def test_map_reduce_combines_as_the_eager_verb(compute):
    """The answer, a dict, is exactly that of the eager verb and of the loop."""
    answer = compute(lazy.map_reduce(count_one, range(100), count))
    assert (type(answer), answer) == (dict, dk.map_reduce(count_one, range(100), count))


def test_delayed_objects_compose(compute):
    """Several are computed at once, and functions of them are delayed objects."""
    total = lazy.map_reduce(square, range(10), sum)
    largest = lazy.map_reduce(square, range(10), max)
    share = dask.delayed(operator.truediv)(total, largest)
    assert compute(total, largest, share) == (285, 81, 285 / 81)


def test_tree_reduce_keeps_the_order(compute):
    """Parts are combined in order, whatever the width of the tree."""
    parts = [dask.delayed(str)(i) for i in range(30)]
    trees = [lazy.tree_reduce(parts, join, split_every=k) for k in (2, 8, 50)]
    expected = join(map(str, range(30)))
    assert compute(*trees) == (expected,) * 3


def test_tree_reduce_takes_a_bag(compute):
    """The elements are combined within partitions first; empty partitions don't count."""
    bag = lazy.map(square, range(40), npartitions=10)
    assert compute(lazy.tree_reduce(bag, sum)) == sum(x * x for x in range(40))
    few = bag.filter(lambda x: x > 1000)
    assert compute(lazy.tree_reduce(few, max, split_every=2)) == 39**2
    plain = dask.bag.from_sequence("abcdef", npartitions=4)
    assert compute(lazy.tree_reduce(plain, join, split_every=2)) == "abcdef"


def test_tree_reduce_takes_blocks_of_other_collections():
    """Anything of Dask that has one value can be a part."""
    array = dask.array.arange(10, chunks=3)
    parts = array.to_delayed().tolist()
    total = lazy.tree_reduce(parts, lambda blocks: sum(np.sum(b) for b in blocks))
    assert total.compute(scheduler="synchronous") == 45
    sums = [array.sum(), dask.bag.from_sequence([1, 2]).sum()]
    assert lazy.tree_reduce(sums, sum).compute(scheduler="synchronous") == 48


@pytest.mark.parametrize(("n", "expected"), [(0, [1]), (1, [1, 0]), (2, [1, 0, 1])])
def test_combine_is_called_at_least_once(n, expected):
    """With one part or none combine makes the answer as well."""
    parts = [dask.delayed(i) for i in range(n)]
    tree = lazy.tree_reduce(parts, lambda values: [1, *values])
    assert tree.compute(scheduler="synchronous") == expected


def test_no_task_of_a_tree_takes_more_than_split_every():
    """Twenty parts, three at a time: 7 + 3 + 1 tasks."""
    parts = [dask.delayed(i) for i in range(20)]
    graph = dict(lazy.tree_reduce(parts, sum, split_every=3).dask)
    combines = [key for key in graph if key_split(key) == "sum-combine"]
    assert len(combines) == 7 + 3 + 1
    assert max(len(graph[key].dependencies) for key in combines) == 3


# --- pipeline -----------------------------------------------------------------------


def test_a_pipeline_is_one_function_after_the_other(compute):
    """Cut anew or not, the results are those of the composed functions, in order."""
    expected = [str(x * x) for x in range(23)]
    cuts = [{}, {"npartitions": 4}, {"batch_size": 1}, {"npartitions": 1}]
    bags = [
        lazy.pipeline(range(23), square, (str, options), len, npartitions=7)
        for options in cuts
    ]
    assert compute(*bags) == ([len(text) for text in expected],) * len(cuts)
    assert compute(lazy.pipeline(range(23), square, str)) == expected


@given(n=st.integers(0, 60), before=st.integers(1, 20), after=st.integers(1, 20))
def test_pieces_are_the_items_of_the_new_parts(n, before, after):
    """Pieces of old parts, put together, are what a cut of all items is."""
    items = list(range(n))

    def cut(npartitions):
        edges = [n * i // npartitions for i in range(npartitions + 1)]
        return edges, [items[a:b] for a, b in itertools.pairwise(edges)]

    (old_edges, old), (edges, new) = cut(before), cut(after)
    pieces = find_pieces(old_edges, edges)
    joined = [[x for i, piece in part for x in old[i][piece]] for part in pieces]
    assert joined == new
    assert all(part for part in pieces)


def test_each_stage_is_a_layer_that_stays_one():
    """After Dask's optimisation each stage has tasks of its own name."""
    bag = lazy.pipeline(range(8), square, (str, {"name": "format"}), len, npartitions=4)
    assert [key_split(name) for name in bag.dask.layers] == [
        "square",
        "format",
        "len",
    ]
    (optimized,) = dask.optimize(bag.map(abs))
    names = sorted({key_split(key) for key in dict(optimized.dask)})
    assert {"square", "format"} < set(names)


def test_an_error_in_a_stage_names_stage_and_item():
    """The index is that of the item in the input, the value what the stage received."""
    bag = lazy.pipeline(range(14, 0, -2), abs, (half, {"batch_size": 3}), divide)
    with pytest.raises(ZeroDivisionError) as caught:
        bag.compute(scheduler="synchronous")
    assert caught.value.__notes__ == [
        "raised by item 0 (value 7.0) of stage 3 (divide)"
    ]


def test_a_finer_stage_spreads_over_more_tasks():
    """A stage's own npartitions are those of the bag if it is the last."""
    bag = lazy.pipeline(range(20), abs, (square, {"npartitions": 10}), npartitions=2)
    assert bag.npartitions == 10
    kept = lazy.pipeline(range(20), abs, square, npartitions=2)
    assert kept.npartitions == 2


# --- Work: what the verbs on arrays and frames describe -----------------------------


def _each(items, results):
    for item in items:
        results.append(divide(item))


def _name_row(index, item):
    return f"row {index} (label {chr(97 + item)!r})"


def test_work_is_finished_from_all_results(compute):
    """The answer is that of the eager execution, with `each` and without."""
    plain = Work("squares", square, range(30), finish=np.array)
    by_each = Work("halves", divide, range(6), finish=tuple, each=_each)
    for work in (plain, by_each):
        answer = compute(build_work(work, batch_size=4))
        expected = execute(work)
        assert type(answer) is type(expected)
        np.testing.assert_array_equal(answer, expected)


def test_work_describes_its_items_in_errors(compute):
    """What an item is called goes along to where it fails."""
    work = Work("halves", divide, range(12), each=_each, describe=_name_row)
    with pytest.raises(ZeroDivisionError) as caught:
        compute(build_work(work, npartitions=3))
    assert caught.value.__notes__ == ["raised by row 7 (label 'h')"]


def test_large_data_of_a_work_are_shared(shared_client):
    """A captured array travels by shared memory; the answer is an ordinary array."""
    array = np.arange(1_000_000.0)
    work = Work("slices", lambda i: array[i::10] * 2, range(10), finish=np.stack)
    answer = build_work(work).compute()
    np.testing.assert_array_equal(
        answer, np.stack([array[i::10] * 2 for i in range(10)])
    )
    answer += 1


# --- Errors -------------------------------------------------------------------------


def test_an_error_names_its_item(compute):
    """The exception keeps its type, and a note names the item, for each verb."""
    for graph in (
        lazy.map(divide, range(20)),
        lazy.starmap(divide, [(x,) for x in range(20)]),
        lazy.map_reduce(divide, range(20), sum),
    ):
        with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
            compute(graph)
        (note,) = caught.value.__notes__
        assert note.startswith("raised by item 7 (value ")


class TwoArgumentsError(Exception):
    """Its own pickling loses an argument."""

    def __init__(self, text, number):
        super().__init__(text)
        self.number = number


class LockedError(Exception):
    """Can't be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def raise_odd(x):
    msg = "lost"
    raise TwoArgumentsError(msg, 2)


def raise_lock(x):
    msg = "locked"
    raise LockedError(msg)


def exit_process(x):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("func", "says"),
    [
        (raise_odd, "lost"),
        (raise_lock, "LockedError: locked"),
        (exit_process, "SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("compute", ["processes", "distributed"], indirect=True)
def test_an_error_that_cant_travel_arrives_as_its_text(compute, func, says):
    """Neither pool nor worker ends; what arrives says what was raised, and by whom."""
    with pytest.raises((dk.RemoteError, TwoArgumentsError), match=says) as caught:
        compute(lazy.map(func, range(3), npartitions=1))
    assert caught.value.__notes__[0] == "raised by item 0 (value 0)"


@pytest.mark.parametrize("compute", ["synchronous", "threads"], indirect=True)
def test_an_error_in_this_process_is_the_object_itself(compute):
    """Where nothing travels an exception needn't be fit for it."""
    with pytest.raises(LockedError):
        compute(lazy.map(raise_lock, range(3)))


# --- Names and keys -----------------------------------------------------------------


def test_layers_are_named_after_the_function():
    """A graph and a dashboard show the function, or the name that was given."""
    total = lazy.map_reduce(square, range(20), sum, npartitions=10)
    layers = [key_split(name) for name in total.dask.layers]
    assert layers == ["square-map", "square-combine", "square-combine"]
    assert key_split(lazy.map(square, range(3), name="areas").name) == "areas-map"
    work = Work("erode", square, range(3))
    assert [key_split(n) for n in build_work(work).dask.layers] == [
        "erode-map",
        "erode-finish",
    ]
    assert repr(lazy.map(functools.partial(pow, 2), [1, 2])).startswith(
        "dask.bag<pow-map, npartitions="
    )


def test_equal_calls_are_computed_twice():
    """No key is used by two calls, so Dask can't take one for the other."""
    parts = [dask.delayed(i) for i in range(3)]
    bag = lazy.map(square, range(3))
    for build in (
        lambda: lazy.map(square, range(3)),
        lambda: lazy.starmap(pow, [(1, 2)]),
        lambda: lazy.map_reduce(square, range(3), sum),
        lambda: lazy.pipeline(range(3), square, str),
        lambda: lazy.tree_reduce(parts, sum),
        lambda: lazy.tree_reduce(bag, sum),
        lambda: build_work(Work("w", square, range(3))),
    ):
        keys = [set(map(str, dask.core.flatten(build().__dask_keys__()))) for _ in "ab"]
        assert not keys[0] & keys[1]


def test_a_graph_can_be_pickled():
    """What was built here can be computed elsewhere."""
    bag = pickle.loads(pickle.dumps(lazy.map(square, range(9))))
    assert bag.compute(scheduler="synchronous") == [x * x for x in range(9)]


# --- Arguments ----------------------------------------------------------------------

_CALLS = {
    "map": lambda **options: lazy.map(square, range(3), **options),
    "starmap": lambda **options: lazy.starmap(pow, [(1, 2)], **options),
    "map_reduce": lambda **options: lazy.map_reduce(square, range(3), sum, **options),
}
each_call = pytest.mark.parametrize("verb", _CALLS)


@each_call
@pytest.mark.parametrize(
    ("option", "value", "instead"),
    [
        ("where", "threads", "scheduler='threads'"),
        ("progress", True, "ProgressBar"),
        ("retries", 2, "compute\\(retries=3\\)"),
        ("timeout", 3.0, "result\\(timeout=60\\)"),
        ("on_error", "collect", "catch the exception in func"),
    ],
)
def test_options_of_the_eager_verbs_are_refused(verb, option, value, instead):
    """The message says what takes the option's place."""
    message = f"daskkit.lazy.{verb} has no option {option}; .*{instead}"
    with pytest.raises(dk.ArgumentError, match=message):
        _CALLS[verb](**{option: value})


@each_call
def test_an_unknown_option_is_a_type_error(verb):
    """As for any function of Python."""
    message = rf"{verb}\(\) got an unexpected keyword argument 'chunks'"
    with pytest.raises(TypeError, match=message):
        _CALLS[verb](chunks=3)


@each_call
@pytest.mark.parametrize("option", ["npartitions", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_wrong_cuts(verb, option, value):
    """Only whole numbers of at least 1 cut anything."""
    message = f"{option} must be a whole number of at least 1 or None, received"
    with pytest.raises(dk.ArgumentError, match=message):
        _CALLS[verb](**{option: value})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lazy.map(3, [1]), "func must be callable"),
        (lambda: lazy.map(abs), "at least one iterable"),
        (lambda: lazy.map(abs, 3), "argument 1 after func must be iterable"),
        (lambda: lazy.map(abs, [1], name=""), "name must be a non-empty string"),
        (lambda: lazy.map(abs, [1], npartitions=2, batch_size=2), "leave one out"),
        (lambda: lazy.map(abs, lazy.map(abs, [1])), "lazy dask.bag<.*its method map"),
        (lambda: lazy.map(abs, [dask.delayed(1)]), r"dask.delayed\(func\) with each"),
        (lambda: lazy.starmap(pow, 3), "tuples must be iterable"),
        (lambda: lazy.map_reduce(abs, [1], 3), "combine must be callable"),
        (lambda: lazy.map_reduce(abs, dask.delayed([1]), sum), "compute it first"),
        (lambda: lazy.pipeline([1]), "at least one stage"),
        (lambda: lazy.pipeline([1], 3), "stage 1 must be a function of one item"),
        (lambda: lazy.pipeline([1], abs, (abs, 3)), "stage 2 must be a function"),
        (lambda: lazy.pipeline([1], (abs, {"n": 3})), "unknown option 'n'; available"),
        (lambda: lazy.pipeline([1], (abs, {"npartitions": 0})), "npartitions must be"),
        (lambda: lazy.pipeline(abs, [1]), "stage 1 must be"),
        (lambda: lazy.tree_reduce([1], sum), "part 0 must be a Dask object"),
        (lambda: lazy.tree_reduce(3, sum), "parts must be iterable"),
        (lambda: lazy.tree_reduce(dask.delayed(1), sum), "a bag or a list of"),
        (lambda: lazy.tree_reduce([], sum, split_every=1), "at least 2, received 1"),
        (lambda: lazy.tree_reduce([], 3), "combine must be callable"),
    ],
)
def test_wrong_arguments(call, message):
    """What can't be used is refused when the graph is built, in plain words."""
    with pytest.raises(dk.ArgumentError, match=message):
        call()


def test_the_module_is_an_attribute_of_the_package():
    """`dk.lazy` is the module, however it was imported."""
    assert dk.lazy is importlib.import_module("daskkit.lazy")
