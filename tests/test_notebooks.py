"""The notebooks execute from top to bottom, show what they promise, and are stripped."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import daskkit as dk
from daskkit.backends.registry import DEFAULT_SPECS

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What a notebook's first code cell sets is replaced by these, so that a test is cheap.
SMALL = {"first-comparison": "N_POINTS = 60\nN_WORKERS = 2\nREPEATS = 5"}
# For one cell; a comparison starts five clusters, which a loaded machine does slowly.
_CELL_S = 240
_NOTEBOOK_S = _CELL_S + 60

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _read(path):
    return nbformat.read(path, as_version=4)


def _code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _constants(source):
    """Return the names that a cell assigns at its top level."""
    return {
        target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
    }


@pytest.fixture
def execute(tmp_path):
    """Return a function that executes a notebook with small sizes, in a new folder."""
    working = tmp_path / "work"
    working.mkdir()
    own = {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "jupyter"),
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }

    def run(name):
        notebook = _read(FOLDER / f"{name}.ipynb")
        _code_cells(notebook)[0].source = SMALL[name]
        path = tmp_path / "executed.ipynb"
        nbformat.write(notebook, path)
        # In a process of its own: the client of a kernel leaves sockets to the garbage
        # collector, and this process is watched for what is left behind.
        done = subprocess.run(
            [sys.executable, __file__, path, working],
            check=False,  # its error is shown below
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=_NOTEBOOK_S,
        )
        assert done.returncode == 0, done.stderr
        assert list(working.iterdir()) == []
        return _code_cells(_read(path))

    return run


def _execute_in_place(path, working):
    """Execute a notebook by this interpreter, whatever kernels are installed."""
    from ipykernel.kernelspec import write_kernel_spec
    from nbclient import NotebookClient

    write_kernel_spec(Path(os.environ["JUPYTER_DATA_DIR"], "kernels", "here"))
    notebook = _read(path)
    NotebookClient(
        notebook,
        kernel_name="here",
        timeout=_CELL_S,
        resources={"metadata": {"path": working}},
    ).execute()
    nbformat.write(notebook, path)


def _only_output(cells, words):
    """Return the single output of the one cell whose source contains some words."""
    (cell,) = [cell for cell in cells if words in cell.source]
    (output,) = [out for out in cell.outputs if out.get("name") != "stderr"]
    return output


def _texts(html, tag):
    """Return the texts of all elements of a kind, without what is marked up inside."""
    found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", html, flags=re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", " ", text).split()) for text in found]


def test_every_notebook_has_sizes_for_the_tests():
    """A new notebook is executed, too: it has an entry in SMALL and a test."""
    assert {path.stem for path in NOTEBOOKS} == set(SMALL)


@each_notebook
def test_notebook_is_stripped(path):
    """No outputs, no execution counts, and no metadata but the language."""
    notebook = _read(path)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.metadata for cell in notebook.cells)
    for cell in _code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


@each_notebook
def test_first_code_cell_sets_all_sizes(path):
    """It assigns constants and does nothing else; the tests' sizes are the same ones."""
    source = _code_cells(_read(path))[0].source
    assert all(isinstance(node, ast.Assign) for node in ast.parse(source).body)
    assert _constants(source) == _constants(SMALL[path.stem])
    assert all(name.isupper() for name in _constants(source))


@each_notebook
def test_notebook_uses_public_names_only(path):
    """Of daskkit it imports the package itself, and takes what `__all__` lists."""
    for cell in _code_cells(_read(path)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "daskkit"
            elif isinstance(node, ast.Import):
                assert not any(name.name.startswith("daskkit.") for name in node.names)
            elif isinstance(node, ast.Attribute):
                is_ours = isinstance(node.value, ast.Name) and node.value.id == "dk"
                assert not is_ours or node.attr in dk.__all__


@pytest.mark.slow
@pytest.mark.timeout(_NOTEBOOK_S + 30)
def test_first_comparison(execute):
    """It shows every back end with a checked result, a verdict, and what a start costs."""
    cells = execute("first-comparison")
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert "Warning" not in output.get("text", "")

    shown = _only_output(cells, "dk.compare(").data
    html = shown["text/html"]
    assert "<script" not in html
    assert "<iframe" not in html
    rows = _texts(html, "tr")[1:]
    assert [row.split()[0] for row in rows] == list(DEFAULT_SPECS)
    assert "nearest neighbours" in html

    plain = shown["text/plain"].splitlines()
    assert plain[0] == "nearest neighbours"
    lines = plain[2 : 2 + len(DEFAULT_SPECS)]
    assert [line.split()[0] for line in lines] == list(DEFAULT_SPECS)
    assert [line.split()[2] for line in lines] == ["ok"] * len(DEFAULT_SPECS)

    verdict = _only_output(cells, ".verdict()").text.strip()
    assert verdict in shown["text/plain"]
    assert "The plain loop takes" in verdict
    assert "for 60 items on one core." in verdict

    table = _only_output(cells, "calls_to_pay").data["text/html"]
    names = _texts(table, "th")
    assert "calls_to_pay" in names
    assert names[-len(DEFAULT_SPECS) :] == list(DEFAULT_SPECS)
    assert _texts(table, "td")[1::6] == ["ok"] * len(DEFAULT_SPECS)


if __name__ == "__main__":
    _execute_in_place(*sys.argv[1:])
