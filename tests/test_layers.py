"""Imports only point down: the rooms of docs/architecture.md, held by a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "daskkit"

# From top to bottom; a module may import from rows below its own, and from its own room.
ROWS = [
    ["__main__"],
    ["cli"],
    ["cli_options"],
    ["__init__"],  # the public names, loaded lazily
    ["doctor", "lazy", "testing", "verbs"],
    ["comparison"],
    ["backends", "dashboard", "samples"],
    ["arrays", "frames", "graphs"],
    ["run", "report"],
    ["transport", "records", "arguments", "checks", "loop", "progress", "files"],
    ["accounts", "errors", "units"],
]
# Within the lowest rooms: who may import whom.
SAME_ROW = {
    ("records", "loop"),
    ("arguments", "loop"),
    ("checks", "loop"),
    ("loop", "transport"),
}
LEVEL = {room: level for level, row in enumerate(ROWS) for room in row}


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _imports(path: Path) -> set[str]:
    """Return the daskkit modules that a file imports, early, late or for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {_target(node.module, alias.name) for alias in node.names}
    return {name for name in found if name.split(".")[0] == "daskkit"}


def _target(module: str, name: str) -> str:
    """Return what `from module import name` imports: a module, or a name of one."""
    inner = PACKAGE.parent.joinpath(*module.split("."), name)
    is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
    return f"{module}.{name}" if is_module else module


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _own_room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    """A module imports from its own room and from rows below, from no other."""
    own = _own_room(path)
    assert own in LEVEL, f"{own} has no row in this test and in docs/architecture.md"
    for module in _imports(path):
        room = _room(module)
        allowed = (
            room == own
            or LEVEL.get(room, -1) > LEVEL[own]
            or (own, room) in SAME_ROW
            or (own == "__init__" and room in LEVEL)  # the lazy list of public names
        )
        assert allowed, f"{path.relative_to(PACKAGE.parent)} imports {module}"


def test_imports_have_no_cycle():
    """Modules can be put in an order in which each imports only earlier ones."""
    graph = {}
    for path in _modules():
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        graph[name.removesuffix(".__init__")] = _imports(path)
    graph.pop("daskkit")
    done: set[str] = set()
    while left := [name for name in graph if name not in done]:
        ready = [
            name
            for name in left
            if not {i for i in graph[name] if i in graph and i != name} - done
        ]
        assert ready, f"these import each other in a circle: {left}"
        done |= set(ready)


def test_only_the_command_line_prints():
    """No module but cli.py calls print or writes to standard output."""
    for path in _modules():
        if path.name == "cli.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_print = isinstance(node, ast.Name) and node.id == "print"
            assert not is_print, f"{path} prints"
