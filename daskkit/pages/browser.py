"""A page as an image, by a Chromium that is started without a window and ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from daskkit.errors import DaskkitError

__all__ = ["take_screenshot"]

_PROGRAMS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
_ARGUMENTS: Final = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    # Time that the page may believe to have passed: its figures are drawn by then.
    "--virtual-time-budget=10000",
)
_LIMIT_S = 60.0


def take_screenshot(page: str, size: tuple[int, int]) -> bytes:
    """Return a page as a PNG image.

    Starts a browser and waits until it has ended; its files are removed.

    Parameters
    ----------
    page : str
        A whole HTML document that needs no network.
    size : tuple of int
        Width and height in pixels.

    Returns
    -------
    bytes

    Raises
    ------
    DaskkitError
        If there is no Chromium, or it gave no image.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        msg = (
            f"an image needs a browser, and none of {', '.join(_PROGRAMS)} is "
            "installed; install Chromium, or save an .html file instead"
        )
        raise DaskkitError(msg)
    with tempfile.TemporaryDirectory(
        prefix="daskkit-", ignore_cleanup_errors=True
    ) as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page, encoding="utf-8", errors="backslashreplace")
        command = [
            program,
            *_ARGUMENTS,
            # Root has no user namespace from which to build a sandbox in a container.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            f"--user-data-dir={folder}/profile",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={target}",
            source.as_uri(),
        ]
        said = _run(command, folder)
        if not target.is_file():
            last = said.strip().splitlines()[-1:] or ["it said nothing"]
            msg = f"{program} gave no image: {last[0]}"
            raise DaskkitError(msg)
        return target.read_bytes()


def _run(command: list[str], folder: str) -> str:
    """Run a browser to its end, or kill all that it started; return its words."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Else it leaves folders in the user's home.
        env={
            **os.environ,
            **dict.fromkeys(("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), folder),
        },
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            _, said = process.communicate(timeout=_LIMIT_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                msg = f"{command[0]} gave no image within {_LIMIT_S:.0f} s"
                raise DaskkitError(msg) from error
            raise
    return said
