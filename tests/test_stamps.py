"""Stamps: who executed which items, when, and on how much CPU."""

from __future__ import annotations

import math
import os
import pickle
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import daskkit as dk
from daskkit.comparison.books import (
    make_folder,
    read_passages,
    read_ready,
    read_stamps,
)
from daskkit.comparison.ledger import make_ledger, make_trace
from daskkit.comparison.stamps import size_of, stamp_workload


def _nap(x):
    time.sleep(0.002)
    return x


def _spin(x):
    began = time.thread_time()
    while time.thread_time() - began < 0.002:
        pass
    return x


def _refuse(x):
    raise ValueError(x)


def test_every_item_is_stamped_once(tmp_path):
    """Consecutive items of a thread are one stamp; together they cover all items."""
    work = stamp_workload(
        dk.Workload("n", abs, range(1_000), combine=sum), str(tmp_path)
    )
    assert work.loop() == sum(range(1_000))
    stamps = read_stamps(str(tmp_path))
    assert sum(stamp.n_items for stamp in stamps) == 1_000
    assert stamps[0].first == 0
    assert all(stamp.start_s <= stamp.end_s for stamp in stamps)
    (path,) = tmp_path.glob("*.stamps")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("is_plenty", [True, False])
def test_stamps_lie_in_shared_memory_where_there_is_plenty(monkeypatch, is_plenty):
    """A full one would end whoever writes there; the folder is private, and goes."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("this machine has no /dev/shm")
    free = shutil.disk_usage(shared).free
    monkeypatch.setattr(
        "daskkit.comparison.books._PLENTY_BYTES", free // 2 if is_plenty else 2 * free
    )
    with make_folder() as folder:
        assert (Path(folder).parent == shared) is is_plenty
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        stamp_workload(dk.Workload("n", abs, range(5)), folder).loop()
        assert sum(stamp.n_items for stamp in read_stamps(folder)) == 5
    assert not Path(folder).exists()


def test_stamps_without_shared_memory(monkeypatch):
    """They lie where all temporary files do."""
    monkeypatch.setattr("daskkit.comparison.books._SHARED_MEMORY", Path("/nowhere"))
    with make_folder() as folder:
        assert Path(folder).parent == Path(tempfile.gettempdir())


def test_waiting_and_computing_are_told_apart(tmp_path):
    """CPU seconds are those of the thread: a nap has none, a loop nearly all."""
    shares = []
    for name, func in (("nap", _nap), ("spin", _spin)):
        folder = tmp_path / name
        folder.mkdir()
        stamp_workload(dk.Workload(name, func, range(20)), str(folder)).loop()
        stamps = read_stamps(str(folder))
        wall_s = sum(stamp.end_s - stamp.start_s for stamp in stamps)
        shares.append(sum(stamp.cpu_s for stamp in stamps) / wall_s)
    assert shares[0] < 0.5
    assert shares[1] > shares[0]


def _spin_or_nap(x):
    return _spin(x) if x < 5 else _nap(x)


def test_naps_at_the_end_of_a_batch_are_seen(tmp_path):
    """The CPU clock is read now and then: what it has not seen is at most 10 ms."""
    work = stamp_workload(dk.Workload("n", _spin_or_nap, range(10)), str(tmp_path))
    work.loop()
    stamps = read_stamps(str(tmp_path))
    wall_s = sum(stamp.end_s - stamp.start_s for stamp in stamps)
    assert sum(stamp.cpu_s for stamp in stamps) < 0.85 * wall_s


def test_a_full_file_goes_on_in_its_last_stamp(tmp_path, monkeypatch):
    """No item is lost; they are told apart no longer."""
    monkeypatch.setattr("daskkit.comparison.books._MOST_ENTRIES", 2)
    work = stamp_workload(dk.Workload("n", abs, range(5)), str(tmp_path))
    for number in (0, 2, 4, 1):
        work.func(work.items[number])
    found = [(one.first, one.n_items) for one in read_stamps(str(tmp_path))]
    assert found == [(0, 1), (2, 3)]


def test_threads_have_files_of_their_own(tmp_path):
    """Each thread is a worker."""
    work = stamp_workload(dk.Workload("nap", _nap, range(40)), str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work.func, work.items))
    assert len({stamp.worker for stamp in read_stamps(str(tmp_path))}) == 2


def test_an_item_that_raises_is_stamped_too(tmp_path):
    """Its time was spent as well."""
    work = stamp_workload(dk.Workload("no", _refuse, [1]), str(tmp_path))
    with pytest.raises(ValueError, match="1"):
        work.loop()
    assert [stamp.n_items for stamp in read_stamps(str(tmp_path))] == [1]


def test_items_and_results_time_their_pickles(tmp_path):
    """Whoever opens an item or a result notes when it was packed, by whom, its size."""
    array = np.arange(200_000).tolist()
    work = stamp_workload(dk.Workload("list", list, [array]), str(tmp_path))
    (item,) = pickle.loads(pickle.dumps(work.items))
    result = pickle.loads(pickle.dumps(work.func(item)))
    assert result.value == array
    passages = read_passages(str(tmp_path))
    assert [one.is_result for one in passages] == [False, True]
    for one in passages:
        assert one.pack_start_s < one.pack_end_s <= one.open_start_s < one.open_end_s
        assert one.by_caller
        assert one.to_caller
        assert one.n_bytes > 200_000 * 8


def test_items_that_are_packed_together_are_one_passage(tmp_path):
    """Consecutive items that are opened one right after the other are one entry."""
    work = stamp_workload(dk.Workload("n", len, [bytes(2_000)] * 50), str(tmp_path))
    pickle.loads(pickle.dumps(work.items))
    passages = read_passages(str(tmp_path))
    assert sum(one.n_items for one in passages) == 50
    assert len(passages) < 10
    assert sum(one.n_bytes for one in passages) == 50 * 2_000
    assert read_passages(str(tmp_path), time.perf_counter()) == []


def test_small_values_carry_no_times(tmp_path):
    """It would take as long as to pickle them."""
    work = stamp_workload(dk.Workload("n", abs, range(50)), str(tmp_path))
    items = pickle.loads(pickle.dumps(work.items))
    assert items == list(enumerate(range(50)))
    results = pickle.loads(pickle.dumps(list(map(work.func, items))))
    assert results == list(range(50))
    assert read_passages(str(tmp_path)) == []


def test_a_process_tells_when_it_had_the_function(tmp_path):
    """The start of workers ends when they have imported what the function needs."""
    work = stamp_workload(dk.Workload("n", abs, [1]), str(tmp_path))
    began_s = time.perf_counter()
    assert read_ready(str(tmp_path), began_s) == began_s
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(work.func, work.items[0]).result()
    ended_s = time.perf_counter()
    assert began_s < read_ready(str(tmp_path), began_s) < ended_s


@pytest.mark.parametrize(
    ("value", "n_bytes"),
    [
        (np.zeros(1_000), 8_000),
        ("x" * 100, 100),
        ([b"12345678"] * 1_000, 8_000),
        (dict.fromkeys(range(1000), b"12345678"), 36_000),
        (pd.DataFrame({"a": np.zeros(1_000)}), 8_132),
    ],
    ids=["array", "text", "list", "dict", "frame"],
)
def test_sizes_are_told_without_a_copy(value, n_bytes):
    """Of long collections the first elements stand for all."""
    assert size_of(value) == pytest.approx(n_bytes, rel=0.02)


def test_vectorised_and_compiled_forms_get_what_they_always_get(tmp_path):
    """A vectorised form is handed a slice of the items, a compiled one single items."""
    work = dk.Workload(
        "sum",
        func=int,
        items=np.arange(6.0),
        combine=sum,
        vectorized=lambda items: float(items.sum()),
        compiled=lambda: int,
    )
    stamped = stamp_workload(work, str(tmp_path))
    assert stamped.vectorized(stamped.items[2:4]) == 5.0
    assert stamped.compiled()(stamped.items[3]) == 3
    found = [(one.first, one.n_items) for one in read_stamps(str(tmp_path))]
    assert found == [(2, 2), (3, 1)]


def test_earlier_stamps_are_left_out(tmp_path):
    """Those of a first execution, for instance."""
    work = stamp_workload(dk.Workload("nap", _nap, range(3)), str(tmp_path))
    work.loop()
    began_s = time.perf_counter()
    work.loop()
    stamps = read_stamps(str(tmp_path), began_s)
    assert sum(stamp.n_items for stamp in stamps) == 3
    trace = make_trace(
        stamps, n_workers=1, began_s=began_s, ended_s=time.perf_counter()
    )
    ledger = make_ledger(trace)
    assert math.isclose(sum(ledger.parts().values()), ledger.whole_s, rel_tol=0.01)
    assert ledger.waiting_s > ledger.compute_s


@pytest.mark.slow
def test_a_comparison_accounts_for_every_core_second():
    """The parts of each row sum to workers x wall; a sleep is named as the loss."""
    work = dk.Workload("nap", func=_nap, items=range(60), combine=sum)
    comparison = dk.compare(
        work,
        backends=["threads", "daskkit"],
        n_workers=2,
        repeats=1,
        ledger=True,
    )
    table = comparison.ledger()
    assert set(table["backend"]) == {run.backend for run in comparison.runs}
    parts = [name for name in table.columns if name.endswith("_s") and name != "wall_s"]
    whole = table["workers"] * table["wall_s"]
    np.testing.assert_allclose(table[parts].sum(axis=1), whole, rtol=0.01)
    threads = table.set_index("backend").loc["threads"]
    assert threads["waiting_s"] == max(threads[name] for name in parts)
    assert "waiting" in comparison.explain("threads")
    assert comparison.what_if(backend="threads", n_workers=4).wall_s > 0


def test_a_comparison_without_ledger_says_so():
    """Nothing is stamped unless asked for, and the error says what to do."""
    work = dk.Workload("n", func=abs, items=range(3))
    comparison = dk.compare(work, backends="serial", repeats=1)
    assert comparison.ledger().empty
    with pytest.raises(dk.DaskkitError, match="ledger=True"):
        comparison.explain()
    with pytest.raises(dk.BackendError, match="ledger must be True or False"):
        dk.compare(work, ledger="yes")


def test_a_forked_child_writes_into_its_own_file(tmp_path):
    """What a parent has written before the fork stays the parent's."""
    work = stamp_workload(dk.Workload("n", abs, [1, 2]), str(tmp_path))
    work.func(work.items[0])
    pid = os.fork()
    if pid == 0:
        work.func(work.items[1])
        os._exit(0)
    os.waitpid(pid, 0)
    assert len({stamp.worker for stamp in read_stamps(str(tmp_path))}) == 2
