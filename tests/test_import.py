"""Importing daskkit is cheap, and every public name can still be seen."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import daskkit as dk

SOURCE = Path(dk.__file__)


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_import_is_light():
    """A fresh process that imports daskkit has loaded none of the heavy packages."""
    heavy = ["distributed", "dask", "pandas", "bokeh", "numpy"]
    out = _run(f"import sys, daskkit; print([m for m in {heavy} if m in sys.modules])")
    assert out == "[]"


def test_first_call_is_light():
    """A call that forks imports nothing that it could do without: its user waits."""
    avoidable = ["logging", "pathlib", "platform", "subprocess", "tempfile", "uuid"]
    out = _run(
        "import sys, os, time, daskkit as dk\n"
        "began = time.perf_counter()\n"
        "pids = dk.map(lambda x: time.sleep(0.01) or os.getpid(), range(20), timeout=9)"
        "\nis_long = time.perf_counter() - began > 0.3"
        f"\nprint(is_long, len(pids), os.getpid() in pids, "
        f"[m for m in {avoidable} if m in sys.modules])"
    )
    if out.startswith("True 20 False"):
        pytest.skip(
            "the machine is busy: a call of 0.2 s took longer, and prepared for that"
        )
    assert out == "False 20 False []"


def test_short_first_call_is_lighter_still():
    """What is over at once has imported nothing that only longer calls need."""
    avoidable = ["dataclasses", "inspect", "pickle", "queue", "typing"]
    out = _run(
        "import sys, daskkit as dk; results = dk.map(abs, [-1, 2])\n"
        "ours = [m for m in sys.modules if m.startswith('daskkit')]\n"
        f"print(results, len(ours) < 20, 'daskkit.run.feeder' in ours,"
        f"[m for m in {avoidable} if m in sys.modules])"
    )
    assert out == "[1, 2] True False []"


def test_arrays_need_no_masked_ones():
    """`numpy.ma`, which NumPy imports when it is looked at, takes 20 ms."""
    out = _run(
        "import sys, numpy as np, daskkit as dk\n"
        "from daskkit.transport.wire import dump\n"
        "dump([np.arange(10_000), np.sum])\n"
        "n = dk.monte_carlo(lambda rng, size: rng.random(size), 1_000, seed=1).size\n"
        "doubled = dk.map_blocks(lambda block: 2 * block, np.arange(10)).sum()\n"
        "print(n, doubled, 'numpy.ma' in sys.modules)"
    )
    assert out == "1000 90 False"


def test_dir_shows_every_public_name():
    """dir() of a fresh import lists all names of __all__."""
    out = _run("import daskkit; print(set(daskkit.__all__) - set(dir(daskkit)))")
    assert out == "set()"


@pytest.mark.parametrize("name", dk.__all__)
def test_public_name_loads(name):
    """Each public name can be used and has a docstring."""
    value = getattr(dk, name)
    assert name == "__version__" or value.__doc__


def test_type_checkers_see_every_public_name():
    """The names imported for type checkers are those of __all__ and of the lazy table."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    typed = {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed | {"__version__"} == set(dk.__all__)
    assert typed == set(dk._HOMES)


def test_compare_stays_a_function_whatever_is_imported_first():
    """No subpackage hides a public function of the same name."""
    out = _run(
        "import daskkit.comparison.stats, daskkit.pages.page, daskkit.samples;"
        "import daskkit; print(callable(daskkit.compare), callable(daskkit.load))"
    )
    assert out == "True True"


def test_unknown_attribute_is_an_ordinary_error():
    """A name that doesn't exist raises AttributeError that says which."""
    with pytest.raises(AttributeError, match="'daskkit' has no attribute 'mapp'"):
        dk.mapp  # noqa: B018 - the access is the test
