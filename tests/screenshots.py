"""The pictures of docs/dashboard.md, taken of real pages in a headless Chromium.

``python -m tests.screenshots docs/images`` makes them anew.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import daskkit as dk
from tests.browser import browser, resize

__all__ = ["take"]

_WIDTH = 1100
_PATIENCE_S = 40
_ROWS = "return Bokeh.documents[0].get_model_by_name('daskkit-calls')?.text || ''"


def simulate(seconds):
    """Compute for half of a time, and wait for the other half."""
    time.sleep(seconds / 2)
    began = time.thread_time()
    while time.thread_time() - began < seconds / 2:
        pass
    return seconds


def take(folder, driver, *, n_items=350, rest_s=3.0):
    """Write all pictures into a folder, with a browser; return their paths.

    How full they are depends on the number of items and the time between two pictures.
    """
    folder = Path(folder)
    paths = [folder / f"{name}.png" for name in ("bar", "page", "report")]
    bar, page, report = paths
    with dk.cluster(n_workers=2) as client:
        link = client.dashboard_link
        thread = threading.Thread(
            target=dk.map,
            args=(simulate, [0.04] * n_items),
            kwargs={"where": "cluster"},
        )
        thread.start()
        try:
            _show(driver, link.replace("/status", "/daskkit"), 900)
            # Until there is something to see.
            _until(lambda: "/s" in driver.execute_script(_ROWS))
            time.sleep(rest_s)
            driver.save_screenshot(page)
            _show(driver, link, 330)
            time.sleep(rest_s / 3)
            driver.save_screenshot(bar)
        finally:
            thread.join()
        with tempfile.TemporaryDirectory() as scratch:
            with dk.report(Path(scratch, "report.html")) as file:
                dk.map(simulate, [0.02] * 100, where="cluster")
                client.gather(client.map(simulate, [0.02] * 99 + [0.8], pure=False))
            _show(driver, file.as_uri(), 1250)
            time.sleep(0.5)
            driver.save_screenshot(report)
    return paths


def _show(driver, link, height):
    """Open a page, and wait until it is drawn."""
    resize(driver, _WIDTH, height)
    driver.get(link)
    script = "return !!window.Bokeh && Bokeh.documents.some(d => d.is_idle)"
    _until(lambda: driver.execute_script(script))


def _until(look):
    deadline = time.monotonic() + _PATIENCE_S
    while not look():
        if time.monotonic() > deadline:
            msg = "the page was not drawn"
            raise TimeoutError(msg)
        time.sleep(0.05)


if __name__ == "__main__":
    with browser() as started:
        take(sys.argv[1], started)
