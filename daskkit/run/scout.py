"""What a call's items cost, and what there is to run them on: the facts of a forecast.

`run.feeder` looks, `run.plan` does the arithmetic.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING

from daskkit.run.known import recall
from daskkit.run.parking import has_parked
from daskkit.run.plan import Facts, Means, forecast, least_gil_share
from daskkit.run.probe import (
    Pickled,
    measure_cpu_s,
    measure_gil_share,
    measure_pickle,
)
from daskkit.run.session import find_workers
from daskkit.run.threads import usable_cores
from daskkit.transport import wire
from daskkit.transport.errors import TransportError

if TYPE_CHECKING:
    from daskkit.run.call import Call

__all__ = ["Scout"]

# Seconds until lanes take their first batch.
_READY_PARKED_S = 0.001
_READY_CLUSTER_S = 0.006
_READY_FORK_S = 0.02
_READY_SPAWN_S = 0.3
# How old a list of workers may be.
_KNOWN_S = 2.0


class Scout:
    """Finds out about one call, while the calling thread executes its items.

    Parameters
    ----------
    call : Call
        The call.
    only_look : bool, default False
        Whether somebody waits for all facts, also those that would change nothing.
    """

    def __init__(self, call: Call, *, only_look: bool = False) -> None:
        self._call = call
        self._only_look = only_look
        self._n_cores = usable_cores()
        #: Why items can't be sent to another process, if so.
        self.obstacle: str | None = None
        #: Whether processes were tried and brought nothing.
        self.processes_failed = False
        self.known = recall(call.job.func)
        self._gil_share: float | None = None
        self._func_bytes = 0.0
        self._pickles = (Pickled(), Pickled())

    def gather_facts(self) -> Facts:
        """Return what is known of the items, the one that is running included."""
        call, pilot = self._call, self._call.pilot
        now = time.perf_counter()
        part, began = pilot.part, pilot.part_began
        item_s, wall_s, cpu_s = pilot.item_s, pilot.wall_s, pilot.cpu_s
        if part is not None:
            running_s = now - began
            # At least this long, and as likely as not as long again.
            item_s = max(item_s, running_s / len(part.items))
        if pilot.n_items == 0:
            wall_s = now - pilot.began
            cpu_s = measure_cpu_s(pilot.thread_id) - pilot.cpu_began
            item_s *= 2
        n_left = call.source.n_left
        if n_left is None:
            n_left = max(1, call.n_done)
        cpu_share = cpu_s / wall_s if wall_s > 0 and not math.isnan(cpu_s) else 1.0
        return Facts(
            n_left=n_left,
            item_s=item_s,
            cpu_share=min(1.0, max(0.0, cpu_share)),
            gil_share=1.0 if self._gil_share is None else self._gil_share,
            obstacle=self.obstacle,
            threads_failed=self.known.have_threads_failed(item_s),
            processes_failed=self.processes_failed,
        )

    def look_closer(self, facts: Facts, means: Means) -> Facts:
        """Return the facts with what takes time to find out, while the caller works."""
        if self.obstacle is None:
            try:
                self._measure_pickles(knows_items=means.knows_items)
            except TransportError as error:
                self.obstacle = str(error)
        facts = dataclasses.replace(
            facts, obstacle=self.obstacle, func_bytes=self._func_bytes
        )
        argument, result = self._pickles
        facts = dataclasses.replace(
            facts,
            argument_dump_s=argument.dump_s,
            argument_load_s=argument.load_s,
            argument_bytes=argument.n_bytes,
            result_dump_s=result.dump_s,
            result_load_s=result.load_s,
            result_bytes=result.n_bytes,
        )
        if self._gil_share is None and self._call.pilot.part is not None:
            # Only where it could make a difference: it takes some milliseconds.
            at_best = dataclasses.replace(facts, gil_share=least_gil_share(facts))
            if self._only_look or forecast(at_best, means).way == "threads":
                self._gil_share = measure_gil_share()
                facts = dataclasses.replace(facts, gil_share=self._gil_share)
        return facts

    def _measure_pickles(self, *, knows_items: bool) -> None:
        """Measure what would be sent; raises TransportError if something can't be."""
        if not knows_items and not self._func_bytes:
            self._func_bytes = float(wire.dump(self._call.job).n_bytes)
        pilot = self._call.pilot
        items, results = pilot.sample
        part = pilot.part
        if not len(results) and part is not None:
            items = part.items
        needs_items = len(items) > 0 and not knows_items
        self._pickles = (
            measure_pickle(items) if needs_items else Pickled(),
            measure_pickle(results) if len(results) else Pickled(),
        )

    def find_means(self) -> Means:
        """Return what there is to run on."""
        call = self._call
        client = call.client
        if client is not None and client.status == "running":
            is_connected = has_parked(client)
            ready_s = _READY_PARKED_S if is_connected else _READY_CLUSTER_S
            # Asking takes some milliseconds.
            max_age_s = math.inf if is_connected else _KNOWN_S
            n_workers = sum(find_workers(client, max_age_s=max_age_s).values())
            name = f"a cluster of {n_workers} workers, which is open"
            return Means(self._n_cores, n_workers, ready_s, workers=name)
        from daskkit.run.children import can_fork

        name = f"{self._n_cores} child processes"
        if self._n_cores == 1:
            return Means(1, 0, 0.0)
        if can_fork(besides=1):
            knows = call.source.sequence is not None
            ready_s = _READY_FORK_S
        else:
            knows, ready_s = False, _READY_SPAWN_S
        return Means(self._n_cores, self._n_cores, ready_s, knows, workers=name)
