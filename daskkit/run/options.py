"""The options that all verbs share: checked once, and made into a job and an engine.

Part of `run`, as all that executes items takes them.
"""

from __future__ import annotations

import sys
from collections.abc import Sized

from daskkit.arguments import check_timeout, check_whole, name_of
from daskkit.errors import ArgumentError
from daskkit.loop import short_repr
from daskkit.run.call import Call
from daskkit.run.engine import Engine
from daskkit.run.job import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Literal, TypedDict, Unpack

    from distributed import Client

    Where = Literal["auto", "inline", "threads", "cluster"]
    OnError = Literal["raise", "collect"]

    class _Others(TypedDict, total=False):
        """The arguments of `Job` that need no check."""

        combine: Callable[[list[Any]], Any] | None
        star: bool
        each: Callable[[Sequence[Any], list[Any]], None] | None
        describe: Callable[[int, Any], str] | None
        before_leaving: Callable[[], None] | None
        n_before: int


__all__ = ["make_engine", "make_job"]

_WHERE = ("auto", "inline", "threads", "cluster")
_ON_ERROR = ("raise", "collect")


def make_job(
    func: Callable[..., Any],
    name: str | None,
    retries: int,
    timeout: float | None,
    on_error: str,
    **others: Unpack[_Others],
) -> Job:
    """Return the arguments that say what to do with an item, checked."""
    if not callable(func):
        msg = (
            f"func must be callable, received {short_repr(func)} of type "
            f"{type(func).__name__}; the function comes first, then the items"
        )
        raise ArgumentError(msg)
    if name is not None and (not isinstance(name, str) or not name.strip()):
        msg = f"name must be a non-empty string or None, received {short_repr(name)}"
        raise ArgumentError(msg)
    check_whole(retries, "retries", 0)
    check_timeout(timeout)
    _check_choice(on_error, "on_error", _ON_ERROR)
    return Job(
        func=func,
        name=name or name_of(func),
        retries=int(retries),
        collect=on_error == "collect",
        timeout=None if timeout is None else float(timeout),
        **others,
    )


def make_engine(
    job: Job,
    items: Iterable[Any],
    where: str,
    batch_size: int | None,
    progress: bool,
    *,
    is_stream: bool = False,
) -> Engine:
    """Return the engine of a call, the arguments that say how being checked."""
    _check_choice(where, "where", _WHERE)
    if batch_size is not None:
        check_whole(batch_size, "batch_size", 1)
    if job.timeout is not None and where in {"inline", "threads"}:
        msg = (
            f"timeout can't be kept with where={where!r}: only a process of its own "
            "can be ended while it executes an item; leave where out, or pass 'cluster'"
        )
        raise ArgumentError(msg)
    bar = None
    if progress:
        from daskkit.progress import make_bar

        n_before = job.n_before
        total = len(items) + n_before if isinstance(items, Sized) else None
        bar = make_bar(
            total, job.name, show=True, unit="item", delay_s=0, n_done=n_before
        )
    client: Client | None = None
    if where in {"auto", "cluster"} and "distributed" in sys.modules:
        from daskkit.run.session import find_client

        client = find_client()
    call = Call(
        job,
        items,
        where=where,
        batch_size=batch_size,
        client=client,
        is_stream=is_stream,
        bar=bar,
    )
    return Engine(call)


def _check_choice(value: object, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        texts = ", ".join(repr(one) for one in allowed)
        msg = f"{name} must be one of {texts}, received {short_repr(value)}"
        raise ArgumentError(msg)
