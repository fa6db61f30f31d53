"""The page in the dashboard behind a proxy that serves it under a prefix."""

from __future__ import annotations

import contextlib
import functools
import socket
import socketserver
import threading
from urllib.parse import urlsplit

import dask
import pytest

import daskkit as dk
from daskkit.dashboard import install
from tests.browser import severe_messages
from tests.test_dashboard import figures, plain_cluster, settled, text, until, wait

PREFIX = "/user/ada/proxy/8787"
_ICON = "/favicon.ico"


class _Handler(socketserver.BaseRequestHandler):
    """Hands one request on without its prefix, then whatever both sides say."""

    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(65536)
            if not piece:
                return
            head += piece
        line, _, rest = head.partition(b"\r\n")
        method, path, version = line.decode().split(" ")
        self.server.paths.append(path)
        if not path.startswith(f"{PREFIX}/"):
            # A browser asks for the icon of a site, whatever the page says.
            code = b"204 No Content" if path == _ICON else b"404 Not Found"
            self.request.sendall(b"HTTP/1.1 %b\r\nConnection: close\r\n\r\n" % code)
            return
        # One request a connection, as only the first has its prefix taken away.
        rest = rest.replace(b"Connection: keep-alive", b"Connection: close")
        with socket.create_connection(self.server.target) as other:
            self.server.sockets += [self.request, other]
            start = f"{method} {path.removeprefix(PREFIX)} {version}\r\n"
            other.sendall(start.encode() + rest)
            thread = threading.Thread(target=_pass_on, args=(self.request, other))
            thread.start()
            _pass_on(other, self.request)
            thread.join()


def _pass_on(source, target):
    """Copy bytes until one side closes; then close both."""
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(target):
    """Serve an address under `PREFIX`, as JupyterLab does; yield the server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.target, server.paths, server.sockets = target, [], []
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            for one in server.sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


def check_page(driver, n_items):
    """Check that the page is drawn and follows a verb, and where its links lead."""
    until(figures, driver)
    dk.map(functools.partial(wait, 0.01), range(n_items), where="cluster", name="naps")
    assert settled(driver, n_items)["items"] == n_items
    until(lambda: f"{n_items} of {n_items}" in text(driver, "calls"))
    assert severe_messages(driver) == []
    script = "return [...document.querySelectorAll('#myTopnav a')].map(a => a.href)"
    return [urlsplit(link).path for link in driver.execute_script(script) if link]


@pytest.mark.browser
@pytest.mark.slow
def test_page_behind_a_proxy_that_takes_the_prefix_away(driver):
    """As in JupyterLab: drawn, live, and nothing is asked for outside of the prefix."""
    link = f"{PREFIX}/status"
    with dk.cluster(n_workers=2) as client:
        place = urlsplit(client.dashboard_link)
        with proxy((place.hostname, place.port)) as server:
            origin = f"http://127.0.0.1:{server.server_address[1]}"
            with dask.config.set({"distributed.dashboard.link": link}):
                driver.get(origin + install(client))
            links = check_page(driver, 60)
            assert f"{PREFIX}/daskkit" in links
            assert f"{PREFIX}/status" in links
            driver.get(f"{origin}{PREFIX}/individual-daskkit-cores")
            until(driver.execute_script, "return window.Bokeh?.documents[0]?.is_idle")
            assert severe_messages(driver) == []
            assert any(path.startswith(f"{PREFIX}/daskkit/ws") for path in server.paths)
            strays = {path for path in server.paths if not path.startswith(PREFIX)}
            assert strays <= {_ICON}


@pytest.mark.browser
@pytest.mark.slow
def test_page_of_a_scheduler_with_a_prefix_of_its_own(driver, tmp_path):
    """As by ``dask scheduler --dashboard-prefix``."""
    options = {"http_prefix": "/pre"}
    with plain_cluster(tmp_path, 2, scheduler_kwargs=options) as client:
        link = "http://127.0.0.1:{port}/pre/status"
        with dask.config.set({"distributed.dashboard.link": link}):
            page = install(client)
        assert page.endswith("/pre/daskkit")
        driver.get(page)
        links = check_page(driver, 60)
        assert {"/pre/daskkit", "/pre/status"} <= set(links)
