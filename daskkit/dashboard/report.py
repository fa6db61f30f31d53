"""`report`: a page of what ran on the cluster while a block of code was executed."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import pickle
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from daskkit.dashboard import recorder
from daskkit.dashboard.attach import by_value, dump_meter
from daskkit.dashboard.summary import describe_calls, describe_cluster, tell
from daskkit.errors import ClusterError, DaskkitError
from daskkit.files import check_writable
from daskkit.pages.recorded import save_recordings
from daskkit.pages.recording import Recording
from daskkit.run.hearing import Listener, listeners
from daskkit.run.session import find_client, session

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client

__all__ = ["report"]

# A worker that doesn't answer by then is known by its last heartbeat.
_ASK_S = 10.0
_MOST_CALLS = 10_000


@contextlib.contextmanager
def report(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Record what runs on the cluster within the block, and write one page about it.

    Everything counts that the cluster executes meanwhile, whoever sent it: verbs, bags,
    arrays, futures, other clients' tasks. The cluster is the current client's
    (`daskkit.cluster` or any `distributed.Client`), or the one that verbs keep. One
    that a verb or `daskkit.cluster` opens within the block is recorded, too.

    Parameters
    ----------
    path : str or path-like
        The HTML file; its folder must exist, an older file is replaced. It needs no
        network and no other file. It is also written if the block raises.

    Yields
    ------
    pathlib.Path
        The file.

    Raises
    ------
    DaskkitError
        If no file can be written there; before the block is entered where that can be
        seen.
    ClusterError
        If there is a cluster and it can't be recorded; or after the block, if there was
        none and no verb ran.

    Notes
    -----
    A cluster opened within the block by Dask itself has to be opened before it.
    Workers that don't count yet (those of a cluster that Dask started) do so while they
    are recorded. Times are those of the scheduler's clock. Blocks may be nested.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import daskkit as dk
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with dk.cluster(n_workers=1, processes=False) as client:
    ...         with dk.report(f"{folder}/report.html") as page:
    ...             client.submit(sum, [1, 2, 3]).result()
    ...     "Tasks of Dask" in page.read_text()
    6
    True
    """
    target = check_writable(path, "report.html")
    listener = _Listener()
    with session.used():
        client = find_client() or session.client
        if client is not None:
            try:
                listener.begin(client)
            except Exception as error:  # whatever another version of Dask raises
                msg = f"the cluster can't be recorded: {error or type(error).__name__}"
                raise ClusterError(msg) from error
        listeners.append(listener)
        try:
            yield target
        except BaseException as error:
            listeners.remove(listener)
            try:
                listener.save(target)
            except DaskkitError as trouble:
                error.add_note(f"The report was not written: {trouble}")
            raise
        listeners.remove(listener)
        listener.save(target)


class _Listener(Listener):
    """Records clusters, and calls of verbs, of one block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.perf_counter()
        #: By the scheduler's identity.
        self._records: dict[str, _Record] = {}
        self._calls: list[tuple[dict[str, Any], str | None]] = []

    def begin(self, client: Client) -> None:
        """Record the cluster of a client, unless it is recorded already."""
        key = str(client.scheduler_info(n_workers=0)["id"])
        with self._lock:
            record = self._records.get(key)
            if record is None or record.result is not None:
                # The second time, for one that was left and entered again.
                key = key if record is None else f"{key}-{uuid.uuid4().hex}"
                self._records[key] = _Record(client)
            else:
                record.clients.append(client)

    def hear_open(self, client: Client) -> None:
        """Record a cluster that is opened within the block."""
        # It must not break what is recorded; without a record, `save` says so.
        with contextlib.suppress(Exception):
            self.begin(client)

    def hear_closing(self, client: Client) -> None:
        """End the record of a cluster that is about to close."""
        with self._lock:
            for record in self._records.values():
                if client in record.clients:
                    record.leave(client)

    def hear_call(self, message: dict[str, Any], client: Client | None) -> None:
        """Note a call of a verb in this process."""
        if len(self._calls) < _MOST_CALLS:
            self._calls.append((message, None if client is None else client.id))

    def save(self, target: Path) -> None:
        """End all records and write the page."""
        wall_s = time.perf_counter() - self._began
        with self._lock:
            for record in self._records.values():
                record.finish()
            records = list(self._records.values())
        known = {name for record in records for name in record.client_ids}
        recordings = []
        for index, record in enumerate(records):
            # What ran in this process alone is told with the first cluster.
            mine = [
                message
                for message, name in self._calls
                if name in record.client_ids or (name not in known and not index)
            ]
            recordings.append(record.describe(mine))
        if not recordings:
            if not self._calls:
                raise ClusterError(_explain_nothing())
            calls = describe_calls(message for message, _ in self._calls)
            one = Recording("", wall_s, (), calls=calls)
            recordings = [Recording(**{**vars(one), "words": tuple(tell(one))})]
        created = dt.datetime.now(dt.UTC).isoformat()
        save_recordings(target, recordings, created)


class _Record:
    """The record of one cluster; begins when it is made.

    Parameters
    ----------
    client : distributed.Client
        Connected to it.
    """

    def __init__(self, client: Client) -> None:
        self.clients = [client]
        self.client_ids = {client.id}
        self.address = str(client.scheduler_info(n_workers=0)["address"])
        #: What was recorded, and the batches of verbs by worker.
        self.result: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._trouble = ""
        self._token = uuid.uuid4().hex
        meter_pickle = dump_meter()
        with by_value():
            client.register_plugin(recorder.Recorder(self._token, meter_pickle))
            answers = _ask(client, math.inf)
            self._began = client.run_on_scheduler(recorder.begin, self._token, answers)

    def leave(self, client: Client) -> None:
        """Do without a client that is about to close."""
        self.client_ids.add(client.id)
        if self.clients == [client]:
            self.finish()
        self.clients.remove(client)

    def finish(self) -> None:
        """End it; a second time does nothing."""
        if self.result is not None or self._trouble:
            return
        try:
            client = next(one for one in self.clients if one.status == "running")
            with by_value():
                answers = _ask(client, self._began or 0.0)
                raw = client.run_on_scheduler(recorder.finish, self._token, answers)
            found = {
                name: pickle.loads(dumped) for name, (_, dumped) in answers.items()
            }
            self.result = (pickle.loads(raw), found)
        except StopIteration:
            self._trouble = "its client was closed within the block"
        except Exception as error:  # noqa: BLE001 - a page that says so is better than none
            self._trouble = str(error) or type(error).__name__

    def describe(self, calls: list[dict[str, Any]]) -> Recording:
        """Return what was recorded.

        Parameters
        ----------
        calls : list of dict
            What this process has heard of calls on it.

        Returns
        -------
        Recording
        """
        if self.result is None:
            words = (
                f"What ran here isn't known, the recording is lost: {self._trouble}."
            )
            return Recording(self.address, 0.0, (words,), calls=describe_calls(calls))
        raw, stretches = self.result
        return describe_cluster(self.address, raw, stretches, calls)


def _ask(client: Client, since: float) -> dict[str, tuple[Any, bytes]]:
    """Return what each worker counts, those left out that don't answer."""
    try:
        answers = client.sync(
            client._run,  # noqa: SLF001 - `run` would wait for a frozen worker for ever
            recorder.read_worker,
            since,
            on_error="return",
            callback_timeout=_ASK_S,
        )
    except TimeoutError:
        return {}
    return {name: one for name, one in answers.items() if isinstance(one, tuple)}


def _explain_nothing() -> str:
    """Return why there is nothing to report."""
    if find_client() is not None:
        return (
            "nothing was recorded: the client was opened by Dask itself within the "
            "block; open it before daskkit.report, or use daskkit.cluster"
        )
    return (
        "nothing was recorded: no cluster was open and no verb ran; open one first, "
        'with daskkit.cluster(), daskkit.report("report.html"): ...'
    )
