"""Bags whose results leave a worker as one object, against Dask's own bags."""

from __future__ import annotations

import operator

import dask
import dask.bag as db
import numpy as np
import pytest
from distributed.protocol import serialize

from daskkit.transport import auto, bag
from daskkit.transport.bag import PartitionBag, PartitionItem, wrap_bag
from daskkit.transport.contact import find_place
from daskkit.transport.errors import UnpicklableError
from daskkit.transport.partition import Partition

NUMBERS = list(range(20))

# What a user may do next: name -> (operation, whether the order of results is Dask's).
OPERATIONS = {
    "nothing": lambda b: b,
    "map": lambda b: b.map(lambda x: x + 1),
    "map two": lambda b: b.map(operator.add, b),
    "map with item": lambda b: b.map(operator.add, b.max()),
    "map keyword": lambda b: b.map(lambda x, y: x * y, y=b),
    "filter": lambda b: b.filter(lambda x: x % 2),
    "remove": lambda b: b.remove(lambda x: x % 2),
    "starmap": lambda b: b.map(lambda x: (x, 2)).starmap(operator.mul),
    "pluck": lambda b: b.map(lambda x: {"a": x}).pluck("a"),
    "unzip": lambda b: b.map(lambda x: (x, -x)).unzip(2)[1],
    "flatten": lambda b: b.map(lambda x: [x] * (x % 3)).flatten(),
    "map_partitions": lambda b: b.map_partitions(sorted, reverse=True),
    "map_partitions scalar": lambda b: b.map_partitions(sum),
    "map_partitions text": lambda b: b.map_partitions(lambda p: str(list(p))),
    "map_partitions dict": lambda b: b.map_partitions(lambda p: dict.fromkeys(p, 1)),
    "map_partitions iterator": lambda b: b.map_partitions(iter),
    "str": lambda b: b.map(str).str.zfill(3),
    "repartition down": lambda b: b.repartition(npartitions=2),
    "repartition up": lambda b: b.repartition(npartitions=9),
    "accumulate": lambda b: b.accumulate(operator.add),
    "product": lambda b: b.product(b),
    "join": lambda b: b.join(NUMBERS[:5], lambda x: x % 5),
    "fold": lambda b: b.fold(operator.add),
    "fold set": lambda b: b.fold(lambda a, x: a | {x}, set.union, initial=set()),
    "reduction list": lambda b: b.reduction(
        list, lambda ps: [x for p in ps for x in p]
    ),
    "reduction dict": lambda b: b.reduction(
        lambda p: dict.fromkeys(p, 1),
        lambda ps: {k: v for p in ps for k, v in p.items()},
    ),
    "reduction tuple": lambda b: b.reduction(tuple, lambda ps: sum(map(tuple, ps), ())),
    "foldby": lambda b: b.foldby(lambda x: x % 3, operator.add, 0),
    "frequencies": lambda b: b.map(lambda x: x % 3).frequencies(sort=True),
    "topk": lambda b: b.topk(3),
    "distinct": lambda b: b.map(lambda x: x % 3).distinct(),
    "groupby": lambda b: b.groupby(lambda x: x % 3, shuffle="tasks").map(
        lambda kv: (kv[0], sorted(kv[1]))
    ),
    "random_sample": lambda b: b.random_sample(0.5, 42),
    "take lazily": lambda b: b.take(3, compute=False),
    "sum": lambda b: b.sum(),
    "mean": lambda b: b.mean(),
    "std": lambda b: b.std(),
    "any": lambda b: b.any(),
    "count": lambda b: b.count(),
    "item apply": lambda b: b.sum().apply(lambda x: [x] * 3),
    "arrays": lambda b: b.map(lambda x: np.full(3, x)).map(np.ndarray.tolist),
}


def _bags():
    plain = db.from_sequence(NUMBERS, npartitions=4)
    return wrap_bag(plain), plain


def _sorted_if_unordered(name, value):
    return sorted(value) if name in ("groupby", "distinct", "foldby") else value


def _assert_same(name, ours, theirs):
    assert type(ours) is type(theirs)
    ours, theirs = (_sorted_if_unordered(name, value) for value in (ours, theirs))
    assert ours == theirs


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_without_a_cluster(name, scheduler):
    """With Dask's own schedulers each operation gives what a plain bag gives."""
    ours, plain = (OPERATIONS[name](b) for b in _bags())
    assert isinstance(ours, (PartitionBag, PartitionItem))
    _assert_same(
        name, ours.compute(scheduler=scheduler), plain.compute(scheduler=scheduler)
    )


def test_operations_on_workers(shared_client):
    """On a cluster each operation gives exactly what a plain bag gives."""
    made = {name: [op(b) for b in _bags()] for name, op in OPERATIONS.items()}
    values = dask.compute(*[b for pair in made.values() for b in pair])
    for i, name in enumerate(made):
        _assert_same(name, values[2 * i], values[2 * i + 1])
    for name in ("map", "fold", "reduction dict", "groupby"):
        ours, plain = made[name]
        _assert_same(name, ours.compute(), plain.compute())


@pytest.mark.parametrize("optimize", [True, False])
def test_result_is_an_ordinary_list(shared_client, optimize):
    """The caller gets an exact list, with and without Dask's optimisation."""
    ours, _ = _bags()
    result = ours.map(str).compute(optimize_graph=optimize)
    assert type(result) is list
    assert result == [str(x) for x in NUMBERS]


def test_results_leave_the_worker_whole(shared_client):
    """What the client receives has a handful of frames, whatever the length."""
    ours = wrap_bag(db.from_sequence(range(5000), npartitions=2)).map(lambda x: -x)
    future = shared_client.compute(ours)

    def count_frames(key, dask_worker):
        value = dask_worker.data.get(key)
        if value is None:
            return None
        from distributed.protocol import serialize

        return len(serialize(value, iterate_collection=True)[1])

    future.result()
    counts = shared_client.run(count_frames, future.key).values()
    assert max(n for n in counts if n is not None) <= 4


def test_large_results_are_mapped(shared_client):
    """Arrays come back writable and independent, through little more than tickets."""
    ours = wrap_bag(db.from_sequence(range(6), npartitions=3))
    arrays = ours.map(lambda x: np.full(200_000, float(x))).compute()
    assert [array[7] for array in arrays] == [0, 1, 2, 3, 4, 5]
    for array in arrays:
        assert array.flags.writeable
        np.add(array, 1, out=array)
    assert [array[-1] for array in arrays] == [1, 2, 3, 4, 5, 6]


def test_future_of_a_bag_can_be_used_by_tasks(shared_client):
    """A task that takes the future of a bag or an item gets ordinary containers."""
    ours, _ = _bags()
    future = shared_client.compute(ours.map(lambda x: x + 1))
    item = shared_client.compute(ours.reduction(list, lambda ps: {"n": len(list(ps))}))
    total = shared_client.submit(sum, future, pure=False)
    n = shared_client.submit(lambda d: d["n"], item, pure=False)
    assert total.result() == sum(NUMBERS) + len(NUMBERS)
    assert n.result() == 4
    assert type(item.result()) is dict


def test_persisted_bags_go_on(shared_client):
    """A persisted bag is one of ours and can be computed, mapped and folded."""
    ours, _ = _bags()
    kept = ours.map(lambda x: x + 1).persist()
    assert isinstance(kept, PartitionBag)
    assert kept.compute() == [x + 1 for x in NUMBERS]
    assert kept.filter(lambda x: x > 18).compute() == [19, 20]
    assert kept.sum().compute() == sum(NUMBERS) + len(NUMBERS)
    item = kept.sum().persist()
    assert isinstance(item, PartitionItem)
    assert item.compute() == sum(NUMBERS) + len(NUMBERS)


@pytest.mark.parametrize("optimize", [True, False])
def test_delayed_partitions_are_ordinary(shared_client, optimize):
    """Delayed objects of a bag or item give exact lists and work in other graphs."""
    ours, _ = _bags()
    parts = ours.map(lambda x: x + 1).to_delayed(optimize_graph=optimize)
    values = dask.compute(*parts)
    assert [type(value) for value in values] == [list] * 4
    assert [x for value in values for x in value] == [x + 1 for x in NUMBERS]
    assert dask.delayed(sum)(parts[0]).compute() == 15
    item = ours.reduction(list, lambda ps: [*ps])
    value = item.to_delayed(optimize_graph=optimize).compute()
    assert value == [NUMBERS[i : i + 5] for i in range(0, 20, 5)]
    assert type(value) is list
    assert parts[0].compute(scheduler="sync") == [1, 2, 3, 4, 5]


def test_take_and_iteration_compute(shared_client):
    """`take` gives a tuple, iteration the elements, as in Dask."""
    ours, _ = _bags()
    assert ours.take(3) == (0, 1, 2)
    assert ours.take(7, npartitions=2) == tuple(range(7))
    assert list(ours) == NUMBERS
    assert int(ours.sum()) == sum(NUMBERS)
    with pytest.raises(ValueError, match="only 4 partitions"):
        ours.take(3, npartitions=9)


def test_bags_of_both_kinds_in_one_compute(shared_client):
    """Ours, a plain bag and a delayed value are computed together."""
    ours, plain = _bags()
    values = dask.compute(ours.map(str), plain.map(str), dask.delayed(sum)([1, 2]))
    assert values == ([str(x) for x in NUMBERS], [str(x) for x in NUMBERS], 3)


def test_mixing_with_plain_bags():
    """Combining with a plain bag gives one of ours."""
    ours, plain = _bags()
    both = ours.map(operator.add, plain)
    assert isinstance(both, PartitionBag)
    assert both.compute(scheduler="sync") == [2 * x for x in NUMBERS]


def test_module_functions_can_be_wrapped_again(shared_client):
    """`dask.bag.zip` and `concat` return plain bags; wrapping makes them ours."""
    ours, _ = _bags()
    zipped = wrap_bag(db.zip(ours, ours.map(lambda x: -x)))
    assert zipped.compute() == [(x, -x) for x in NUMBERS]
    assert wrap_bag(db.concat([ours, ours])).compute() == NUMBERS * 2


def test_empty_bags(shared_client):
    """Empty bags and partitions give empty lists."""
    empty = wrap_bag(db.from_sequence([], npartitions=1))
    assert empty.compute() == []
    ours, _ = _bags()
    assert ours.filter(lambda x: x > 100).compute() == []
    assert ours.filter(lambda x: x > 18).compute() == [19]


def test_text_files(shared_client, tmp_path):
    """Writing text files works as with a plain bag."""
    ours, _ = _bags()
    ours.map(str).to_textfiles(str(tmp_path / "*.txt"))
    back = wrap_bag(db.read_text(str(tmp_path / "*.txt"))).map(str.strip).map(int)
    assert back.compute() == NUMBERS


def test_errors_of_functions_arrive(shared_client):
    """An exception in the user's function reaches the caller as it is."""
    ours, _ = _bags()
    with pytest.raises(ZeroDivisionError):
        ours.map(lambda x: 1 / (x - 7)).compute()


def test_unpicklable_results_are_a_clear_error(shared_client):
    """A result that can't be pickled is named, and nothing hangs."""
    import threading

    ours, _ = _bags()
    with pytest.raises(UnpicklableError, match=r"its part \[0\] \(lock\)"):
        ours.map(lambda _: threading.Lock()).compute()


def test_config_can_replace_the_optimization(shared_client):
    """Dask's `bag_optimize` setting is respected."""
    ours, _ = _bags()
    with dask.config.set(bag_optimize=False):
        assert ours.map(str).compute() == [str(x) for x in NUMBERS]


def test_results_for_another_place_carry_their_bytes(shared_client, monkeypatch):
    """A caller that runs elsewhere is sent bytes, not tickets."""
    elsewhere = find_place()._replace(machine="another")
    ours = wrap_bag(db.from_sequence(range(4), npartitions=2))
    arrays = ours.map(lambda x: np.full(200_000, float(x)))
    monkeypatch.setattr(
        PartitionBag, "__dask_postcompute__", lambda _: (bag.deliver, (elsewhere,))
    )
    future = shared_client.compute(arrays)
    assert [array[5] for array in future.result()] == [0, 1, 2, 3]

    def count_bytes(key, dask_worker):
        from distributed.protocol import serialize

        value = dask_worker.data.get(key)
        if value is None:
            return 0
        return sum(memoryview(frame).nbytes for frame in serialize(value)[1])

    sizes = shared_client.run(count_bytes, future.key).values()
    assert max(sizes) > 4 * 1_600_000


def test_in_process_workers_give_ordinary_lists(tmp_path):
    """With workers in the caller's process, where nothing is pickled, as well."""
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"temporary-directory": str(tmp_path)}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster),
    ):
        ours, _ = _bags()
        result = ours.map(lambda x: x + 1).compute()
        assert type(result) is list
        assert result == [x + 1 for x in NUMBERS]
        assert type(ours.reduction(list, lambda _: [1, 2]).compute()) is list


def test_delivery_forwards_its_parts_unopened():
    """The worker that joins the partitions sends the parts, not a new pickle."""
    parts = [auto.pack([1, 2]), auto.pack([3])]
    delivery = bag._Delivery([1, 2, 3], parts)
    assert isinstance(delivery, Partition)
    _, frames = serialize(delivery)
    assert any(bytes(frame) == parts[0].stream for frame in frames)
    assert bag._join(*parts) == [1, 2, 3]


def test_result_that_can_not_be_mapped_is_an_error(shared_client, monkeypatch):
    """If the memory is gone when the caller maps it, that is said; nothing hangs."""
    from daskkit.transport import segment, ticket
    from daskkit.transport.errors import TransportError

    ours = wrap_bag(db.from_sequence(range(2), npartitions=2))
    arrays = ours.map(lambda x: np.full(200_000, float(x)))
    monkeypatch.setattr(segment, "_blocked", True)
    monkeypatch.setattr(ticket, "open_checked", lambda *_: None)
    with pytest.raises(TransportError, match="no longer to be had"):
        arrays.compute()
    monkeypatch.undo()
    assert [array[3] for array in arrays.compute()] == [0, 1]


def test_handles_inside_partitions_are_kept(shared_client):
    """A handle made in a task and returned in a partition can still be opened."""

    def make(x):
        import numpy as np

        from daskkit.transport.shared import share

        return share(np.full(200_000, float(x)))

    ours = wrap_bag(db.from_sequence(range(4), npartitions=2)).map(make)
    kept = ours.persist()
    values = kept.map(lambda handle: float(handle.get()[7])).compute()
    assert values == [0, 1, 2, 3]
