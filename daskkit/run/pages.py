"""The dashboard of a local cluster: one more page, and only its owner to see it."""

from __future__ import annotations

from typing import Any

import dask.config

from daskkit.run.hosts import is_own_connection

__all__ = ["add_page", "refuse_strangers"]

_PAGE = "daskkit.dashboard"
# Also behind a proxy of this machine, such as Jupyter's.
_OWN_ORIGINS = ("127.0.0.1:*", "localhost:*", "[::1]:*")
_ORIGINS = "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin"


def add_page() -> dict[str, Any]:
    """Return settings that give the dashboard of a scheduler the page of daskkit.

    By its name, as with ``dask scheduler --preload``: it belongs to a higher layer.

    Returns
    -------
    dict
        For ``dask.config.set``.
    """
    modules = dask.config.get("distributed.scheduler.preload")
    arguments = dask.config.get("distributed.scheduler.preload-argv")
    settings = {"distributed.scheduler.preload": [*modules, _PAGE]}
    if arguments and not isinstance(arguments[0], str):  # one list for each module
        settings["distributed.scheduler.preload-argv"] = [*arguments, []]
    return settings


def refuse_strangers(scheduler: Any) -> None:
    """Show the dashboard to this user, and to pages that this machine serves.

    distributed lets everybody see it who can connect, and any page that the user's
    browser shows talk to it. It shows what items look like, and lines of code.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        Of this process.
    """
    if dask.config.get(_ORIGINS) != ["*"]:
        return  # the user has said who may
    for application in scheduler.http_application.applications:
        origins = getattr(application, "websocket_origins", None)
        if origins is not None:
            origins.clear()
            origins.update(_OWN_ORIGINS)
    server = scheduler.http_server
    handle_stream = server.handle_stream

    def handle_own(stream: Any, address: tuple[str, int]) -> Any:
        if is_own_connection(stream.socket):
            return handle_stream(stream, address)
        stream.close()
        return None

    server.handle_stream = handle_own
