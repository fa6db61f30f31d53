"""The pictures of the documents can be made, and are those that the documents show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import screenshots

DOCS = Path(__file__).parents[1] / "docs"
_PNG = b"\x89PNG\r\n\x1a\n"


def size_of(path):
    """Return width and height of a PNG file."""
    head = path.read_bytes()[:24]
    assert head[:8] == _PNG
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.mark.browser
@pytest.mark.slow
def test_pictures_of_the_dashboard_can_be_made(driver, tmp_path):
    """Each has the name and the size of one that docs/dashboard.md shows."""
    # How much they show is for readers.
    made = screenshots.take(tmp_path, driver, n_items=120, rest_s=0.3)
    for path in made:
        assert size_of(path) == size_of(DOCS / "images" / path.name)
    text = (DOCS / "dashboard.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"!\[[^\]]+\]\(images/([\w-]+\.png)\)", text))
    assert shown == {path.name for path in made}


def test_pictures_are_small():
    """Nobody has to load megabytes to read a document."""
    for path in (DOCS / "images").iterdir():
        assert size_of(path)
        assert path.stat().st_size < 150_000, path.name
