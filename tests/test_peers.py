"""What a contestant's process gives a peer: an environment and a folder of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

from daskkit.comparison.contestant import Contestant
from daskkit.comparison.warden import Warden


def test_the_environment_is_the_peers_own():
    """What a peer needs is set for its process only, and names its private folder."""
    before = dict(os.environ)
    with Warden() as warden:
        contestant = Contestant(warden, {"SOME_FOLDER": "{folder}/x"})
        try:
            folder = Path(warden.folder, "1")
            source = Path(f"/proc/{contestant._process.pid}/environ")
            # Is empty for a moment, while the interpreter takes the child's place.
            while not (environment := source.read_bytes()):
                time.sleep(0.01)
            variables = environment.decode().split("\0")
            assert {f"SOME_FOLDER={folder}/x", f"TMPDIR={folder}"} <= set(variables)
        finally:
            contestant.close(at_once=True)
        assert not folder.exists()
    assert dict(os.environ) == before


def test_folders_leave_room_for_sockets(monkeypatch, tmp_path):
    """A long temporary folder is no place for Unix sockets: a short one is made."""
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with Warden() as warden:
        assert len(warden.folder) <= 34
        assert Path(warden.folder).stat().st_mode & 0o777 == 0o700
    assert not Path(warden.folder).exists()
    assert list(long.iterdir()) == []
