"""daskkit needs none of the other libraries: imports, lists and compares without them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from daskkit.backends.registry import load_backend, names

MODULES = sorted({m for name in names() for m in load_backend(name).requires})
# Run by each interpreter that starts: none of them, contestants and workers included,
# finds the libraries.
HIDE = f"""
    import importlib.machinery as machinery

    class Hiding:
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name.partition(".")[0] in {MODULES!r}:
                return None
            return machinery.PathFinder.find_spec(name, path, target)

    import sys
    sys.meta_path[sys.meta_path.index(machinery.PathFinder)] = Hiding
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs Python where no other library is installed."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(HIDE))
    path = os.pathsep.join([str(tmp_path), *sys.path])

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    return run


def test_they_are_hidden(run):
    """The test is one: not even an import of what is installed succeeds."""
    for module in MODULES:
        assert f"No module named {module!r}" in run("-c", f"import {module}").stderr


def test_import_and_list(run):
    """`import daskkit` works; `daskkit list` says what to install for each peer."""
    done = run("-W", "error", "-c", "import daskkit; print(daskkit.__all__[0])")
    assert (done.returncode, done.stderr) == (0, "")
    done = run("-m", "daskkit", "list")
    assert done.returncode == 0, done.stderr
    for module in MODULES:
        text = f"can't run here: {module} is not installed; pip install '{module}>="
        assert text in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_compare_what_is_built_in(run):
    """Every built-in row is ok, and a peer is a row with what to install."""
    arguments = ["compare", "fractal", "--backend", "builtin", "--backend", "mpire"]
    done = run("-m", "daskkit", *arguments, "--n-workers", "2", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:13]]
    statuses = {row[0]: row[2] for row in rows}
    assert statuses.pop("mpire") == "unavailable"
    assert len(statuses) == 10
    assert set(statuses.values()) == {"ok"}
    assert (
        "mpire could not run: mpire is not installed; pip install 'mpire>=2.10'."
    ) in done.stdout
