"""`watch` and `watching`: what runs on a cluster, in a terminal or a notebook."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from daskkit.arguments import check_timeout
from daskkit.dashboard import watched
from daskkit.dashboard.attach import by_value
from daskkit.dashboard.bars import make_view
from daskkit.dashboard.watched import Watched
from daskkit.errors import ClusterError
from daskkit.run.cluster import cluster as open_cluster
from daskkit.run.session import find_client, session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client
    from distributed.deploy.cluster import Cluster

    from daskkit.dashboard.bars import Bars, Table

__all__ = ["watch", "watching"]

_EVERY_S = 0.25
# A call says something only after 0.2 s, and there is a moment between two of them.
_REST_S = 1.0


def watch(
    cluster: str | Client | Cluster | None = None, *, timeout: float | None = None
) -> bool:
    """Show what runs on a cluster until nothing does, and return whether that is so.

    A line for each call of a verb, whoever has made it, and for all tasks of Dask whose
    keys begin alike, such as those of a stage of `daskkit.lazy.pipeline`: how many are
    done, failed and in flight, how many a second, and the time left.

    Parameters
    ----------
    cluster : str, distributed.Client or distributed Cluster, optional
        Which one, as for `daskkit.cluster`. Default: the one that is open.
    timeout : float, optional
        Seconds after which the watching ends in any case.

    Returns
    -------
    bool
        True if nothing has run for a second; False if the time was over, or after
        Ctrl-C, which ends the watching and nothing else.

    Raises
    ------
    ClusterError
        If no cluster is open, or it ends meanwhile.

    See Also
    --------
    watching : Shows the same while other code goes on.

    Notes
    -----
    Computes nothing. Asks the scheduler four times a second. Calls that last less than
    0.2 s are not seen. In a terminal the lines are bars on the standard error, in a
    notebook rows of a table.

    Examples
    --------
    >>> import daskkit as dk
    >>> with dk.cluster(n_workers=1, processes=False) as client:
    ...     futures = client.map(abs, range(-3, 0))
    ...     dk.watch()
    True
    """
    check_timeout(timeout)
    ends = math.inf if timeout is None else time.monotonic() + timeout
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(_find(cluster))
            view = stack.enter_context(contextlib.closing(make_view()))
            watcher = _Watcher(client, view)
            busy = time.monotonic()
            while time.monotonic() < ends:
                if watcher.look():
                    busy = time.monotonic()
                elif time.monotonic() - busy > _REST_S:
                    return True
                time.sleep(max(0.0, min(_EVERY_S, ends - time.monotonic())))
    except KeyboardInterrupt:
        return False  # meant for the watching: there is nothing else to interrupt
    return False


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Show what runs on the open cluster while in the context, as `watch` does.

    For what keeps the calling thread busy, such as ``compute`` of a Dask object.

    Yields
    ------
    None

    Raises
    ------
    ClusterError
        If no cluster is open.

    Notes
    -----
    A thread asks the scheduler four times a second. If the cluster ends, so does the
    watching, without an error.

    Examples
    --------
    >>> import daskkit as dk
    >>> with dk.cluster(n_workers=1, processes=False), dk.watching():
    ...     dk.lazy.pipeline([-1, 2], abs, str).compute()
    ['1', '2']
    """
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(_find(None))
        watcher = _Watcher(client, make_view())
        is_over = threading.Event()

        def run() -> None:
            with contextlib.suppress(ClusterError), contextlib.closing(watcher.view):
                while not is_over.wait(_EVERY_S):
                    watcher.look()
                watcher.look()

        thread = threading.Thread(target=run, name="daskkit-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


class _Watcher:
    """Asks a scheduler and shows what it says.

    Parameters
    ----------
    client : distributed.Client
        Connected to it.
    view : Bars or Table
        Shows it.
    """

    def __init__(self, client: Client, view: Bars | Table) -> None:
        self._client = client
        self.view = view
        self._watched = Watched()

    def look(self) -> bool:
        """Show what has changed, and return whether something runs."""
        ended = "the cluster that was watched has ended, or can't be reached any more"
        if self._client.status != "running":
            raise ClusterError(ended)
        questions = self._watched.questions
        try:
            with by_value():
                report = self._client.run_on_scheduler(watched.look, *questions)
        except OSError as error:
            raise ClusterError(ended) from error
        self._watched.hear(report)
        self.view.show(self._watched.rows())
        return self._watched.is_running


@contextlib.contextmanager
def _find(cluster: Any) -> Iterator[Client]:
    if cluster is not None:
        with open_cluster(cluster) as client:
            yield client
        return
    found = find_client() or session.client
    if found is None:
        msg = (
            "no cluster is open that could be watched; open one by daskkit.cluster() "
            "or distributed.Client(), or pass its address or name"
        )
        raise ClusterError(msg)
    yield found
