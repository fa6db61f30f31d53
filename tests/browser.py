"""A headless Chromium for tests of pages: started late, gone afterwards."""

import contextlib
import os
import shutil
import tempfile

import psutil

from daskkit.testing import LeakWatch

__all__ = [
    "BrowserWatch",
    "SharedBrowser",
    "browser",
    "clear",
    "missing_browser",
    "resize",
    "severe_messages",
]

_SIZE = 1200, 900
_PATIENCE_S = 90

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # root in a container has no user namespace to build one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)


def missing_browser():
    """Return why no browser can be started here, or None."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


@contextlib.contextmanager
def browser(width=_SIZE[0], height=_SIZE[1]):
    """Give a selenium driver whose window has that many pixels.

    Profile and scratch files of the browser lie in one folder, removed at the end.
    """
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = Options()
        options.binary_location = shutil.which("chromium")
        for argument in _ARGUMENTS:
            options.add_argument(argument)
        options.add_argument(f"--user-data-dir={folder}/profile")
        options.add_argument(f"--window-size={width},{height}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # Other tests look at the home folder meanwhile.
        names = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
        environment = {**os.environ, **dict.fromkeys(names, folder)}
        service = Service(shutil.which("chromedriver"), env=environment)
        driver = Chrome(options=options, service=service)
        try:
            # Its 30 s are over sooner than ours where others have the cores.
            driver.set_script_timeout(_PATIENCE_S)
            resize(driver, width, height)
            yield driver
        finally:
            driver.quit()


def clear(driver):
    """Give a browser an empty page of the usual size, and forget its messages."""
    driver.get("about:blank")
    resize(driver, *_SIZE)
    driver.get_log("browser")


class SharedBrowser:
    """A browser for tests in a row: the first one starts it, others find it open."""

    def __init__(self):
        self.driver = None
        self._stack = contextlib.ExitStack()

    def open(self):
        """Return its driver."""
        if self.driver is None:
            self.driver = self._stack.enter_context(browser())
        return self.driver

    def close(self):
        """End it, if there is one."""
        self.driver = None
        self._stack.close()


class BrowserWatch(LeakWatch):
    """A watch beside a browser that lives on, whose processes come and go."""

    def __init__(self, driver, **options):
        self._driver = psutil.Process(driver.service.process.pid)
        super().__init__(**options)

    def _look(self):
        found = super()._look()
        pids = {child.pid for child in self._driver.children(recursive=True)}
        found["process"] = {
            key: command
            for key, command in found["process"].items()
            if key[0] not in pids
        }
        return found


def resize(driver, width, height=_SIZE[1]):
    """Set the size of the page's viewport, also below a window's least width."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )


def severe_messages(driver):
    """Return what the browser's console holds of errors since the last call."""
    log = driver.get_log("browser")
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]
