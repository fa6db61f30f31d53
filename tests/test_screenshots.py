"""The pictures of the documents can be made, and are those that the documents show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import screenshots
from tests.browser import missing_browser

DOCS = Path(__file__).parents[1] / "docs"
_PNG = b"\x89PNG\r\n\x1a\n"


def size_of(path):
    """Return width and height of a PNG file."""
    head = path.read_bytes()[:24]
    assert head[:8] == _PNG
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.mark.browser
@pytest.mark.slow
def test_pictures_of_the_dashboard_can_be_made(tmp_path):
    """Each has the name and the size of one that docs/dashboard.md shows."""
    reason = missing_browser()
    if reason:
        pytest.skip(reason)
    made = screenshots.take(tmp_path)
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
