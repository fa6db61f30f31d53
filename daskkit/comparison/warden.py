"""`Warden`: a process that outlives this one, and where contestants put their files."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from daskkit.comparison import leftovers
from daskkit.run.warden import keep_from_forks

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Warden"]

# The path of a Unix socket has at most 107 bytes (103 on macOS), of which Ray needs 65
# below its folder: what is longer than this is no place for one.
_LONGEST_FOLDER = 34
_SHORT_FOLDER = "/tmp"  # noqa: S108 - mkdtemp makes a private one in it


class Warden:
    """Ends the contestants if this process is killed, however that happens.

    A context manager; on exit the contestants' temporary files are removed. Frozen
    processes could not notice by themselves that their caller is gone.
    """

    def __init__(self) -> None:
        #: Where contestants put their temporary files.
        self.folder = _make_folder()
        self._n_folders = 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", leftovers.__file__, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        assert self._process.stdin is not None
        keep_from_forks(self._process.stdin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def make_folder(self) -> str:
        """Make a private folder for one contestant.

        Returns
        -------
        str
            Its path, short enough for the sockets that libraries put below it.
        """
        self._n_folders += 1
        folder = Path(self.folder, str(self._n_folders))
        folder.mkdir(mode=0o700)
        return str(folder)

    def watch(self, session: int) -> None:
        """Watch over a session.

        Parameters
        ----------
        session : int
            Its leader's process id, or the negative of it to forget the session.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{session}\n")
            self._process.stdin.flush()


def _make_folder() -> str:
    folder = tempfile.mkdtemp(prefix="daskkit-")
    if len(os.fsencode(folder)) <= _LONGEST_FOLDER:
        return folder
    with contextlib.suppress(OSError):
        short = tempfile.mkdtemp(prefix="daskkit-", dir=_SHORT_FOLDER)
        shutil.rmtree(folder)
        return short
    return folder
