"""What runs on a cluster, from one look at its scheduler to the next.

`look` is executed by the scheduler, which may lack daskkit: it is sent by value.
`Watched` makes rows of what it returns, one for each call of a verb and one for all
tasks of Dask whose keys begin alike; arithmetic, without clock and cluster.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from daskkit.dashboard.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daskkit.dashboard.calls import CallRow

__all__ = ["Watched", "look"]

# More than anybody watches at a time.
_N_KEPT = 10_000
# What a message of a call has.
_KEYS = {"id", "name", "t", "began", "state", "total", "done", "failed", "open"}
_KEYS |= {"size", "why", "lanes"}
# The tasks that a verb's lanes are, see `daskkit.run.workers`: the call has a row.
_LANES = re.compile(r"-lane1-[0-9a-f]{8}$")
# A bag's partitions are packed by the tasks that make them; Dask adds that to the name.
_PACKED = re.compile(r"^(?P<name>(?:.+-)?(?P<last>.+))-pack-(?P=last)$")
# What brings results together, a task or two: no line is shown of it.
_LAST = re.compile(r"^finalize\b")
# A task in one of these states is not through.
_UNFINISHED = ("waiting", "queued", "no-worker", "processing")


def look(
    ids: Sequence[str], groups: Sequence[str], dask_scheduler: Any
) -> dict[str, Any]:
    """Return what runs on a scheduler; called in its process.

    Parameters
    ----------
    ids, groups : sequence of str
        Calls and groups of tasks that are told of also if they are over.
    dask_scheduler : distributed.Scheduler
        Passed by `distributed.Client.run_on_scheduler`.

    Returns
    -------
    dict
        ``now``: seconds since the epoch; ``calls``: the last message of each call, as
        by `daskkit.run.news`; ``groups``: of tasks by name, each a dict of its
        ``prefix``, how many groups come ``before`` it, and the number of its tasks by
        state.
    """
    import time

    known, wanted = set(ids), set(groups)
    calls: dict[str, Any] = {}
    for _, message in dask_scheduler.get_events("daskkit"):
        # Whoever may talk to the scheduler may send whatever he likes.
        if isinstance(message, dict) and "id" in message and "state" in message:
            calls[message["id"]] = message
    found = {}
    for name, group in dask_scheduler.task_groups.items():
        states = {state: n for state, n in group.states.items() if n}
        is_running = any(state in states for state in _UNFINISHED)
        if (not is_running and name not in wanted) or _LANES.search(str(name)):
            continue
        prefix = str(group.prefix.name)
        # Tasks that Dask has fused leave their last name to another that does nothing.
        if len(group.dependencies) == 1:
            (source,) = group.dependencies
            is_fused = str(source.prefix.name).endswith(f"-{prefix}")
            if is_fused and sum(source.states.values()) == sum(states.values()):
                continue
        n_before = 0
        if name not in wanted:
            seen, rest = {group}, [group]
            while rest:
                new = rest.pop().dependencies - seen
                seen |= new
                rest += new
            n_before = len(seen)
        found[name] = {"prefix": prefix, "before": n_before, "states": states}
    return {
        "now": time.time(),
        "calls": [
            message
            for key, message in calls.items()
            if message["state"] == "running" or key in known
        ],
        "groups": found,
    }


@dataclasses.dataclass
class _Line:
    """All groups of tasks with one prefix, since they began and until they are over."""

    id: str
    name: str
    #: What people read.
    shown: str
    began: float
    n_before: int
    #: Tasks that were done when this was first seen.
    n_done_before: int = 0
    #: The most tasks that each group ever had: Dask forgets those that nobody needs.
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    n_failed: dict[str, int] = dataclasses.field(default_factory=dict)


class Watched:
    """What has been seen to run, call by call and stage by stage.

    Examples
    --------
    >>> watched = Watched()
    >>> group = {"prefix": "inc", "before": 0, "states": {"memory": 2, "processing": 6}}
    >>> watched.hear({"now": 1.0, "calls": [], "groups": {"inc": group}})
    >>> group["states"] = {"memory": 4, "processing": 4}
    >>> watched.hear({"now": 2.0, "calls": [], "groups": {"inc": group}})
    >>> (row,) = watched.rows()
    >>> row.name, row.n_done, row.n_items, row.rate, row.left_s
    ('inc', 4, 8, 2.0, 2.0)
    >>> watched.hear({"now": 3.0, "calls": [], "groups": {}})
    >>> watched.rows()[0].state, watched.is_running
    ('done', False)
    """

    def __init__(self) -> None:
        self._calls = Calls(_N_KEPT)
        self._lines: dict[str, _Line] = {}
        self._order: dict[str, tuple[float, int, int]] = {}
        self._n_lines = 0
        self._now = 0.0

    @property
    def questions(self) -> tuple[list[str], list[str]]:
        """The first arguments of the next `look`."""
        groups = [name for line in self._lines.values() for name in line.sizes]
        return [row.id for row in self._calls.rows(self._now)], groups

    @property
    def is_running(self) -> bool:
        """Whether something was running at the last look."""
        return any(row.state == "running" for row in self._all_rows())

    def hear(self, report: Mapping[str, Any]) -> None:
        """Take in what `look` has returned."""
        self._now = report["now"]
        for message in report["calls"]:
            if message.keys() >= _KEYS:  # or it is not one of ours
                self._calls.hear(message)
                self._place(message["id"], message["began"], 0)
        by_prefix: dict[str, dict[str, Any]] = {}
        for name, group in report["groups"].items():
            by_prefix.setdefault(group["prefix"], {})[name] = group
        for prefix, groups in by_prefix.items():
            if prefix not in self._lines:
                self._n_lines += 1
                n_before = max(group["before"] for group in groups.values())
                key = f"tasks-{self._n_lines}"
                packed = _PACKED.match(prefix)
                shown = packed["name"] if packed else prefix
                self._lines[prefix] = _Line(key, prefix, shown, self._now, n_before)
        for prefix, line in list(self._lines.items()):
            self._hear_line(line, by_prefix.get(prefix, {}))

    def rows(self) -> list[CallRow]:
        """Return a row for each call or prefix, in the order in which they began."""
        return [row for row in self._all_rows() if not _LAST.match(row.name)]

    def _all_rows(self) -> list[CallRow]:
        rows = self._calls.rows(self._now)
        return sorted(rows, key=lambda row: self._order[row.id])

    def _hear_line(self, line: _Line, groups: Mapping[str, Any]) -> None:
        n_left = n_open = 0
        for name, group in groups.items():
            states = group["states"]
            line.sizes[name] = max(line.sizes.get(name, 0), sum(states.values()))
            line.n_failed[name] = states.get("erred", 0)
            n_left += sum(states.get(state, 0) for state in _UNFINISHED)
            n_open += states.get("processing", 0)
        n_items, n_failed = sum(line.sizes.values()), sum(line.n_failed.values())
        if line.id not in self._order:
            line.n_done_before = n_items - n_left
            self._place(line.id, line.began, line.n_before)
        state = "running"
        if not n_left:
            state = "failed" if n_failed else "done"
            # Should there be tasks of that name again, they are others.
            del self._lines[line.name]
        self._calls.hear(
            {
                "id": line.id,
                "name": line.shown,
                "t": self._now,
                "began": line.began,
                "state": state,
                "total": n_items,
                "done": n_items - n_left,
                "before": line.n_done_before,
                "failed": n_failed,
                "open": n_open,
                "size": 0,
                "why": "",
                "lanes": 0,
                "unit": "task",
            }
        )

    def _place(self, key: str, began: float, n_before: int) -> None:
        self._order.setdefault(key, (began, n_before, len(self._order)))
