"""Files are written whole or not at all."""

from __future__ import annotations

import stat

import pytest

from daskkit.errors import DaskkitError
from daskkit.files import write_text


def test_file_is_replaced_whole_and_private(tmp_path):
    """The old text is gone, the new one is there, readable by its owner only."""
    target = tmp_path / "x.html"
    target.write_text("a longer old text")
    assert write_text(target, "neu: ä") == target
    assert target.read_text(encoding="utf-8") == "neu: ä"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_directory_is_refused_with_an_example(tmp_path):
    """The message proposes a file in that directory."""
    with pytest.raises(
        DaskkitError, match=r"is a directory; name a file, such as .*html"
    ):
        write_text(tmp_path, "x")


def test_missing_folder_is_named(tmp_path):
    """The message says which directory isn't there."""
    with pytest.raises(DaskkitError, match=r"there is no directory .*missing"):
        write_text(tmp_path / "missing" / "x.html", "x")


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """An error while writing keeps the old text and leaves no temporary file."""
    target = tmp_path / "x.html"
    target.write_text("old")

    def fail(self, other):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(DaskkitError, match="No space left on device"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
