"""The progress bar that each verb shows: what is done of how much, rate, time left."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import daskkit as dk
from daskkit.progress import make_bar

FRAME = pd.DataFrame({"a": range(6), "b": range(6)})


def _one(*args):
    return 1


def _draw(rng, n):
    return rng.random(n)


VERBS = {
    "map": (lambda **kw: dk.map(_one, range(6), **kw), 6),
    "starmap": (lambda **kw: dk.starmap(_one, [(1, 2)] * 6, **kw), 6),
    "imap": (lambda **kw: list(dk.imap(_one, range(6), **kw)), 6),
    "imap_unordered": (lambda **kw: list(dk.imap_unordered(_one, range(6), **kw)), 6),
    "endless": (lambda **kw: list(dk.imap(_one, iter(range(6)), **kw)), None),
    "map_reduce": (lambda **kw: dk.map_reduce(_one, range(6), sum, **kw), 6),
    "plan": (lambda **kw: dk.plan(_one, range(6), **kw).run(), 6),
    "map_blocks": (lambda **kw: dk.map_blocks(np.abs, np.ones(6), blocks=6, **kw), 6),
    "one_block": (lambda **kw: dk.map_blocks(np.abs, np.ones(6), blocks=1, **kw), 1),
    "reduce_blocks": (
        lambda **kw: dk.reduce_blocks(np.sum, np.ones(6), sum, blocks=6, **kw),
        6,
    ),
    "monte_carlo": (lambda **kw: dk.monte_carlo(_draw, 6, block_size=1, **kw), 6),
    "rows": (lambda **kw: dk.apply(FRAME, sum, axis=1, **kw), 6),
    "elements": (lambda **kw: dk.apply(FRAME["a"], _one, **kw), 6),
    "groups": (lambda **kw: dk.apply(FRAME.groupby("a")["b"], len, **kw), 6),
    "map_partitions": (
        lambda **kw: dk.map_partitions(FRAME, lambda part: part, npartitions=6, **kw),
        6,
    ),
}


def _bars(text):
    """Return done, total and the rest of each bar's last state."""
    last = re.split(r"[\r\n]+", text.strip())[-1]
    found = re.search(r"\| (\d+)/(\d+) \[(.*)\]", last) or re.search(
        r": (\d+)(item) \[(.*)\]", last
    )
    assert found, text
    done, total, rest = found.groups()
    return int(done), None if total == "item" else int(total), rest


@pytest.mark.parametrize("where", ["cluster", "inline"])
@pytest.mark.parametrize("name", VERBS)
def test_every_verb_shows_how_far_it_is(shared_client, capsys, name, where):
    """The bar ends at all items, with their rate; who can't know the total shows none."""
    run, n_items = VERBS[name]
    run(where=where, progress=True)
    done, total, rest = _bars(capsys.readouterr().err)
    # pandas calls a function of rows once by itself, to see what it returns.
    assert 5 <= done <= 6 or done == n_items
    assert total is None if n_items is None else total == done
    assert re.search(r"(item/s|s/item)", rest)


def test_files_are_counted(tmp_path, capsys):
    """`read_files` counts files."""
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.csv")
        FRAME.to_csv(paths[-1])
    dk.read_files(paths, pd.read_csv, progress=True)
    assert _bars(capsys.readouterr().err)[:2] == (3, 3)


def test_what_was_done_before_does_not_count_for_the_rate(capsys):
    """A bar that begins late shows all, and the rate of what it has seen."""
    with make_bar(10, "late", show=True, delay_s=0, n_done=9) as bar:
        bar.update(1)
    assert "10/10" in capsys.readouterr().err
