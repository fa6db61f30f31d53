"""pyproject.toml, environment.yml and the package say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import daskkit as dk
from daskkit.backends.registry import load_backend, names

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
CONDA_NAMES = {"dask-core": "dask", "ray-core": "ray"}


def _split(requirement: str) -> tuple[str, str]:
    # Conda's packages say themselves for which Pythons they are.
    requirement = requirement.split(";", maxsplit=1)[0].strip()
    name, bound = re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), bound


def _pip_requirements() -> dict[str, str]:
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    everything = [*PROJECT["dependencies"], *extras]
    return dict(_split(r) for r in everything if not r.startswith("daskkit["))


def _conda_requirements() -> dict[str, str]:
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    flat: list[str] = []
    for entry in document["dependencies"]:
        flat += entry["pip"] if isinstance(entry, dict) else [entry]
    wanted = [
        r for r in flat if r not in {"pip", "-e ."} and not r.startswith("python>")
    ]
    return dict(_split(r) for r in wanted)


def test_environment_yml_matches_pyproject():
    """Conda users get the same packages with the same lower bounds."""
    assert _conda_requirements() == _pip_requirements()


def test_python_bound_matches():
    """Both files ask for the same Python."""
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert f"python{PROJECT['requires-python']}" in document["dependencies"]


def test_version_is_told_once():
    """The package's version is that of pyproject.toml and heads the changelog."""
    assert dk.__version__ == PROJECT["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{dk.__version__}]" in changelog


def test_every_core_dependency_states_its_reason():
    """Each line of the core dependencies carries a comment."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("dependencies = [")[1].split("]")[0]
    lines = [line for line in block.splitlines() if line.strip().startswith('"')]
    assert len(lines) == len(PROJECT["dependencies"])
    assert all("#" in line for line in lines)


def test_back_ends_require_what_the_extra_installs():
    """What a row tells users to install is what the extra `peers` asks for."""
    required = {
        requirement
        for name in names()
        for requirement in load_backend(name).requires.values()
    }
    extra = PROJECT["optional-dependencies"]["peers"]
    assert required == {requirement.split(";")[0] for requirement in extra}


def test_makefile_knows_all_peers():
    """If the extra can't be installed as a whole, each of it is tried by itself."""
    line = re.search(
        r"^PEERS = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    extra = PROJECT["optional-dependencies"]["peers"]
    assert line.group(1).split() == [_split(requirement)[0] for requirement in extra]


def test_package_is_typed():
    """The marker that tells type checkers to look inside is there."""
    assert (Path(dk.__file__).parent / "py.typed").is_file()
