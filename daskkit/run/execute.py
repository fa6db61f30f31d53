"""Executing a workload on a client, as the verbs do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.run.call import Call
from daskkit.run.engine import Engine
from daskkit.run.job import Job

if TYPE_CHECKING:
    from distributed import Client

    from daskkit.records import Workload

__all__ = ["execute"]


def execute(workload: Workload, client: Client) -> Any:
    """Return a workload's answer, computed here or on a cluster, as pays.

    Parameters
    ----------
    workload : Workload
        What is to be done.
    client : distributed.Client
        Connected to the cluster to use.

    Returns
    -------
    object
        What ``workload.loop()`` returns.

    Raises
    ------
    Exception
        What `func` raised, with a note that names the item; what is still in flight
        is cancelled.
    """
    job = Job(workload.func, workload.name, workload.combine)
    call = Call(job, workload.items, where="auto", client=client)
    return Engine(call).run()
