"""The same faults in every verb, eager and lazy: the loop's answer, or a named error."""

from __future__ import annotations

import functools
import os
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import daskkit as dk
from daskkit import lazy
from daskkit.testing import Faulty

pytestmark = [
    pytest.mark.slow,
    # distributed says that a worker has died, and what it was doing.
    pytest.mark.filterwarnings("ignore"),
]

N, BAD = 20, 7
# Each death is the start of another worker: `make chaos` tries all verbs.
IS_LONG = "DASKKIT_CHAOS" in os.environ
# The longest that an error may take.
LIMIT_S = 20
ROWS = pd.DataFrame({"x": range(N), "k": range(N)}, index=[f"row{i}" for i in range(N)])
COLUMNS = pd.DataFrame({f"column{i}": [i, i] for i in range(N)})


class _On:
    """A verb's function, made of one of a number.

    ``pick`` finds the number in what the verb gives, ``give`` makes what it expects.
    """

    def __init__(self, func, pick, give=None):
        self.func, self.pick, self.give = func, pick, give

    def __call__(self, *args):
        result = self.func(self.pick(*args))
        if self.give is None or type(result) is not int:
            return result
        return self.give(result, *args)


def _itself(x):
    return x


def _is_bad(x):
    return x == BAD


def _first(part):
    return int(np.ravel(part)[0])


def _stem(path):
    return int(Path(path).stem)


def _draw(rng, size):
    del size
    return int(rng.integers(1_000_000))


def _same(result, part):
    del result
    return part


def _as_frame(result, path):
    del path
    return pd.DataFrame({"x": [result]})


def _gather(results):
    """Join results and lists of results, in order."""
    return [
        one for result in results for one in ([result], result)[type(result) is list]
    ]


@functools.cache
def _draws():
    """Return the first number of each block's stream, by which it is recognised."""
    return dk.monte_carlo(
        _draw, N, seed=1, block_size=1, combine=_gather, where="inline"
    )


def _find_block(rng, size):
    return _draws().index(_draw(rng, size))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a pattern of as many files as there are items."""
    folder = tmp_path_factory.mktemp("files")
    for i in range(N):
        (folder / f"{i:02}.csv").write_text(f"x\n{i}\n", encoding="utf-8")
    return str(folder / "*.csv")


# What each verb makes of a function of a number; and what it calls the guilty item.
EAGER = {
    "map": (lambda f, _, o: dk.map(f, range(N), **o), "item 7 (value 7)"),
    "starmap": (
        lambda f, _, o: dk.starmap(f, [(x,) for x in range(N)], **o),
        "item 7 (value (7,))",
    ),
    "imap": (lambda f, _, o: list(dk.imap(f, range(N), **o)), "item 7"),
    "imap_unordered": (
        lambda f, _, o: sorted(dk.imap_unordered(f, range(N), **o)),
        "item 7",
    ),
    "map_reduce": (lambda f, _, o: dk.map_reduce(f, range(N), _gather, **o), "item 7"),
    "rows": (
        lambda f, _, o: dk.apply(ROWS, _On(f, _first), axis=1, **o),
        "row 7 (label 'row7')",
    ),
    "columns": (
        lambda f, _, o: dk.apply(COLUMNS, _On(f, _first), **o),
        "column 7 (label 'column7')",
    ),
    "elements": (lambda f, _, o: dk.apply(ROWS["x"], f, **o), "element 7"),
    "elementwise": (
        lambda f, _, o: dk.apply(ROWS[["x"]], f, elementwise=True, **o),
        "row 7 (label 'row7') of column 0",
    ),
    "groups": (
        lambda f, _, o: dk.apply(ROWS.groupby("k"), _On(f, _first), **o),
        "group 7 (key 7)",
    ),
    "windows": (
        lambda f, _, o: dk.apply(ROWS["x"].rolling(1), _On(f, _first), **o),
        "window 7 (ending at 'row7')",
    ),
    "map_partitions": (
        lambda f, _, o: dk.map_partitions(
            ROWS, _On(f, _first, _same), npartitions=N, **o
        ),
        "partition 7 (rows 7 to 7)",
    ),
    "read_files": (
        lambda f, files, o: dk.read_files(files, _On(f, _stem, _as_frame), **o),
        "file 7",
    ),
    "map_blocks": (
        lambda f, _, o: dk.map_blocks(
            _On(f, _first, _same), np.arange(N), blocks=N, **o
        ),
        "block (7,)",
    ),
    "reduce_blocks": (
        lambda f, _, o: dk.reduce_blocks(
            _On(f, _first), np.arange(N), _gather, blocks=N, **o
        ),
        "block (7,)",
    ),
    "monte_carlo": (
        lambda f, _, o: dk.monte_carlo(
            _On(f, _find_block), N, seed=1, block_size=1, combine=_gather, **o
        ),
        "block 7",
    ),
}
LAZY = {
    "lazy.map": (lambda f, _: lazy.map(f, range(N)), "item 7 (value 7)"),
    "lazy.starmap": (
        lambda f, _: lazy.starmap(f, [(x,) for x in range(N)]),
        "item 7 (value (7,))",
    ),
    "lazy.map_reduce": (
        lambda f, _: lazy.map_reduce(f, range(N), _gather),
        "item 7 (value 7)",
    ),
    "lazy rows": (
        lambda f, _: lazy.apply(ROWS, _On(f, _first), axis=1),
        "row 7 (label 'row7')",
    ),
    "lazy groups": (
        lambda f, _: lazy.apply(ROWS.groupby("k"), _On(f, _first)),
        "group 7 (key 7)",
    ),
    "lazy.map_partitions": (
        lambda f, _: lazy.map_partitions(ROWS, _On(f, _first, _same), npartitions=N),
        "partition 7 (rows 7 to 7)",
    ),
    "lazy.read_files": (
        lambda f, files: lazy.read_files(files, _On(f, _stem, _as_frame)),
        "file 7",
    ),
    "lazy.map_blocks": (
        lambda f, _: lazy.map_blocks(_On(f, _first, _same), np.arange(N), blocks=N),
        "block (7,)",
    ),
    "lazy.reduce_blocks": (
        lambda f, _: lazy.reduce_blocks(
            _On(f, _first), np.arange(N), _gather, blocks=N
        ),
        "block (7,)",
    ),
    "lazy.monte_carlo": (
        lambda f, _: lazy.monte_carlo(
            _On(f, _find_block), N, seed=1, block_size=1, combine=_gather
        ),
        "block 7",
    ),
    "lazy.pipeline": (
        lambda f, _: lazy.pipeline(range(N), f, _itself),
        "item 7 (value 7) of stage 1",
    ),
}
VERBS = [*EAGER, *LAZY]
MORTAL = [
    *("map_reduce", "elements", "windows", "read_files", "monte_carlo"),
    *("lazy.map", "lazy groups", "lazy.map_blocks"),
]
DEADLY = ["imap", "groups", "map_blocks", "lazy rows", "lazy.pipeline"]
CRASHING = ["groups", "lazy groups"]
# Whose results are numbers or arrays, which is seen where they are made.
CHECKED = {"windows", "map_blocks", "lazy.map_blocks"}


def _call(verb, func, files, **options):
    if verb in LAZY:
        return LAZY[verb][0](func, files).compute(**options)
    options.setdefault("where", "cluster")
    return EAGER[verb][0](func, files, options)


def _expect(verb, files):
    """Return the answer without a fault, and without a cluster."""
    if verb in LAZY:
        return _call(verb, _itself, files, scheduler="synchronous")
    return _call(verb, _itself, files, where="inline")


def _name_item(verb):
    return (LAZY.get(verb) or EAGER[verb])[1]


def _fail(verb, func, files, expected):
    """Return the error that a call ends in, with its notes, in time."""
    began = time.monotonic()
    with pytest.raises(expected) as caught:
        _call(verb, func, files)
    assert time.monotonic() - began < LIMIT_S
    return " | ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


class _Crashes:
    """Ends whatever process rebuilds it."""

    def __reduce__(self):
        return os._exit, (9,)


class _Unloadable:
    """Can be pickled, but not rebuilt."""

    def __reduce__(self):
        return _refuse, ("not here",)


def _refuse(why):
    raise ValueError(why)


class _Odd:
    """Returns for one number, in a worker, what is made by a function."""

    def __init__(self, make):
        self.make, self.pid = make, os.getpid()

    def __call__(self, x):
        return self.make() if _is_bad(x) and os.getpid() != self.pid else x


@pytest.fixture
def _cluster():
    """Have two workers of the test's own, of which some are going to die."""
    with dk.cluster(n_workers=2):
        yield
        assert dk.map(abs, range(-50, 0), where="cluster") == list(range(50, 0, -1))
        assert lazy.map(abs, range(-3, 0)).compute() == [3, 2, 1]


@pytest.mark.usefixtures("_cluster")
def test_death_of_a_worker_costs_no_result(tmp_path, files):
    """The answer is the loop's, of the same type."""
    for number, verb in enumerate(VERBS if IS_LONG else MORTAL):
        folder = tmp_path / str(number)
        folder.mkdir()
        faulty = Faulty(_itself, "kill", _is_bad, folder, times=1)
        answer = _call(verb, faulty, files)
        assert faulty.n_struck == 1, verb
        dk.check_equal(answer, _expect(verb, files))


@pytest.mark.usefixtures("_cluster")
def test_item_that_ends_its_worker_is_named(tmp_path, files):
    """With the cause."""
    faulty = Faulty(_itself, "exit", _is_bad, tmp_path)
    for verb in VERBS if IS_LONG else DEADLY:
        text = _fail(verb, faulty, files, dk.WorkerDiedError)
        assert f"died while it ran {_name_item(verb)}" in text
        assert "exit code 9" in text


def test_item_that_raises_is_named(shared_client, tmp_path, files):
    """The error is the item's own."""
    faulty = Faulty(_itself, "raise", _is_bad, tmp_path)
    for verb in VERBS:
        text = _fail(verb, faulty, files, RuntimeError)
        assert text.startswith("a fault of daskkit.testing"), verb
        assert _name_item(verb) in text


def test_result_that_cannot_be_sent_is_named(shared_client, files):
    """Its type always; its item unless pandas has made one object of all results."""
    odd = _Odd(threading.Lock)
    for verb in VERBS:
        text = _fail(verb, odd, files, (TypeError, dk.ArgumentError))
        assert "lock" in text, verb
        assert verb in LAZY or _name_item(verb) in text


def test_result_that_cannot_be_rebuilt_is_an_error(shared_client, files):
    """Also where it is another worker that would rebuild it."""
    odd = _Odd(_Unloadable)
    for verb in VERBS:
        text = _fail(verb, odd, files, Exception)
        # It may be seen first that it isn't what the verb needs.
        assert "not here" in text or "_Unloadable" in text or verb in CHECKED, verb


@pytest.mark.usefixtures("_cluster")
def test_result_that_ends_whoever_rebuilds_it(files):
    """It ends workers, not the caller; its type is named."""
    odd = _Odd(_Crashes)
    for verb in [one for one in VERBS if one not in CHECKED] if IS_LONG else CRASHING:
        text = _fail(verb, odd, files, dk.WorkerDiedError)
        assert "tried to rebuild the result of" in text, verb
        assert "_Crashes" in text
