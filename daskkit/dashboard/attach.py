"""The page in the scheduler's own dashboard: its addresses, and its entry in the bar.

A second Bokeh application on the port of the dashboard. It is added while the scheduler
starts (`dask_setup`) or runs (`install`, from a client), in that case also where the
scheduler's process can't import daskkit: all that goes there is sent by value.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import cloudpickle
from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.web import RequestHandler

from daskkit import units
from daskkit.dashboard import calls, ledger, observer, page, parts, recorder, watched
from daskkit.dashboard.observer import OBSERVER_NAME, Observer
from daskkit.dashboard.page import PAGES
from daskkit.errors import ClusterError
from daskkit.run import clocks, meter, slots
from daskkit.run.meter import METER_NAME
from daskkit.run.slots import SlotMeter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client

__all__ = [
    "PageInstaller",
    "attach",
    "by_value",
    "dask_setup",
    "dump_meter",
    "install",
]

# What a scheduler or a worker without daskkit needs of it.
_SENT = (
    units,
    calls,
    ledger,
    observer,
    page,
    parts,
    recorder,
    watched,
    clocks,
    meter,
    slots,
)
_lock = threading.Lock()


async def dask_setup(server: Any) -> None:
    """Add the page to a scheduler that is about to start; called by Dask.

    Parameters
    ----------
    server : distributed.Scheduler
        A worker is left alone: its scheduler sends it what it needs.
    """
    from distributed import Scheduler

    if isinstance(server, Scheduler):
        await PageInstaller(dump_meter()).start(server)


def install(client: Client) -> str:
    """Add the page to the dashboard of a running cluster, and return its address.

    The cluster's processes need not be able to import daskkit. A second call changes
    nothing.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.

    Returns
    -------
    str
        Where to look at it.

    Raises
    ------
    ClusterError
        If the scheduler has no dashboard.

    Examples
    --------
    >>> import daskkit as dk
    >>> with dk.cluster(n_workers=1, processes=False) as client:
    ...     install(client).endswith("/daskkit")
    True
    """
    installer = PageInstaller(dump_meter())
    with by_value():
        client.register_plugin(installer)
        is_there = client.run_on_scheduler(_has_page)
    if not is_there:
        msg = (
            "the scheduler has no dashboard to add the page to; start it with "
            "dashboard=True and Bokeh installed in its environment"
        )
        raise ClusterError(msg)
    link: str = client.dashboard_link
    return f"{link.removesuffix('/status')}/daskkit"


class PageInstaller(SchedulerPlugin):
    """Scheduler plugin: add the page, and have the workers count.

    Parameters
    ----------
    meter_pickle : bytes
        The `SlotMeter` for each worker.
    """

    name = "daskkit-page"
    idempotent = True

    def __init__(self, meter_pickle: bytes) -> None:
        self._meter_pickle = meter_pickle

    async def start(self, scheduler: Any) -> None:
        """Do it, unless it was done before."""
        if OBSERVER_NAME not in scheduler.plugins:
            watching = Observer(scheduler)
            scheduler.add_plugin(watching)
            watching.begin()
            attach(scheduler, watching)
            await scheduler.register_worker_plugin(
                None, self._meter_pickle, METER_NAME, idempotent=True
            )


def attach(scheduler: Any, watching: Observer) -> bool:
    """Serve the page on the port of the scheduler's dashboard.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        Whose.
    watching : Observer
        Has the figures.

    Returns
    -------
    bool
        Whether there is a dashboard.
    """
    try:
        from bokeh.server.tornado import BokehTornado
        from distributed.dashboard.core import BokehApplication
        from distributed.dashboard.scheduler import template_variables
    except ImportError:
        return False  # a scheduler without Bokeh
    from tornado.ioloop import IOLoop

    routes = getattr(scheduler, "http_application", None)
    applications = [] if routes is None else routes.applications
    known = [one for one in applications if isinstance(one, BokehTornado)]
    if routes is None or not known:
        return False
    # Memoised: the very dict from which every page has its bar.
    variables = template_variables(scheduler)
    if "daskkit" not in variables["pages"]:
        variables["pages"].insert(variables["pages"].index("status") + 1, "daskkit")
        variables["plots"] += [
            {"url": url.strip("/"), "name": name} for url, (name, _) in PAGES.items()
        ]
    documents = {"/daskkit": page.show_page}
    documents |= {url: show for url, (_, show) in PAGES.items()}
    application = BokehApplication(
        documents,
        _Server(watching, scheduler.http_server),
        prefix=known[0].prefix,
        template_variables=variables,
    )
    # distributed's own list has the pages of its own application only. What is added
    # here is asked before it.
    address = f"{known[0].prefix}/individual-plots.json"
    plots = {"applications": [*known, application]}
    routes.add_handlers(r".*", [(address, _PlotsHandler, plots)])
    routes.add_application(application)
    application.initialize(IOLoop.current())
    application.start()  # stopped by the scheduler, as is its own
    return True


class _PlotsHandler(RequestHandler):
    """The list of plots that JupyterLab's Dask extension offers."""

    def initialize(self, applications: Sequence[Any]) -> None:
        """Take the Bokeh applications that serve them."""
        self._applications = applications

    def get(self) -> None:
        """Answer with the address of each plot by its name."""
        paths = [path for one in self._applications for path in one.app_paths]
        self.write(
            {
                path.strip("/").replace("-", " ").title(): path
                for path in paths
                if path.startswith("/individual-")
            }
        )


class _Server:
    """What distributed hands to those who make documents: here, the observer.

    Parameters
    ----------
    watching : Observer
        Has the figures.
    http_server : tornado.httpserver.HTTPServer
        Of the scheduler.
    """

    def __init__(self, watching: Observer, http_server: Any) -> None:
        self.watching = watching
        self.http_server = http_server


def _has_page(dask_scheduler: Any) -> bool:
    """Return whether a scheduler serves the page."""
    routes = getattr(dask_scheduler, "http_application", None)
    applications = [] if routes is None else routes.applications
    return any(
        "/daskkit" in path
        for one in applications
        for path in getattr(one, "app_paths", ())
    )


def dump_meter() -> bytes:
    """Return the plugin for workers as bytes.

    Returns
    -------
    bytes
    """
    with by_value():
        dumped: bytes = cloudpickle.dumps(SlotMeter())
    return dumped


@contextlib.contextmanager
def by_value() -> Iterator[None]:
    """Pickle what schedulers and workers need of daskkit by value while in the context.

    They may be unable to import it.
    """
    modules = (*_SENT, sys.modules[__name__])
    with _lock:
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)
