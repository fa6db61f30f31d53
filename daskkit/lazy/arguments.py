"""Arguments of the lazy verbs: what they take, and what is said of what they don't."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.bag import Bag
from dask.base import is_dask_collection

from daskkit.errors import ArgumentError
from daskkit.loop import short_repr
from daskkit.run.inputs import to_sequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["check_lazy", "read_items", "refuse"]

# Options of the eager verbs, and what takes their place.
_ELSEWHERE = {
    "where": (
        "say it when you compute: x.compute(scheduler='threads'), 'processes' or "
        "'synchronous', or open a cluster; npartitions says how the work is cut"
    ),
    "progress": (
        "with a cluster compute within daskkit.watching(), else use "
        "dask.diagnostics.ProgressBar"
    ),
    "retries": (
        "with a cluster say it when you compute: x.compute(retries=3) tries a whole "
        "partition again"
    ),
    "timeout": (
        "wait for a future with a limit, client.compute(x).result(timeout=60), or use "
        "daskkit.{verb}, which computes at once"
    ),
    "on_error": (
        "catch the exception in func and return it, or use daskkit.{verb}, which "
        "computes at once"
    ),
}


def refuse(verb: str, options: dict[str, Any]) -> None:
    """Raise an error about the first option that a lazy verb doesn't have."""
    for option in options:
        if option not in _ELSEWHERE:
            msg = f"{verb}() got an unexpected keyword argument {option!r}"
            raise TypeError(msg)
        instead = _ELSEWHERE[option].format(verb=verb)
        msg = f"daskkit.lazy.{verb} has no option {option}; {instead}"
        raise ArgumentError(msg)


def check_lazy(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return inputs, none of which is lazy itself: reading it would compute it."""
    for one in inputs:
        if is_dask_collection(one):
            do = "use its method map" if isinstance(one, Bag) else "compute it first"
            msg = (
                f"items must be at hand, received the lazy {short_repr(one)}; {do}, or "
                "pass it to a function by dask.delayed"
            )
            raise ArgumentError(msg)
    return inputs


def read_items(what: str, items: Iterable[Any]) -> Sequence[Any]:
    """Return items that can be cut; reads an iterator to its end."""
    sequence = to_sequence(items)
    # The first tells of all: looking at each would cost more than the rest.
    for item in sequence[:1]:
        if is_dask_collection(item):
            msg = (
                f"{what} must be at hand, received {short_repr(item)} among them, "
                "whose value func would not get; call dask.delayed(func) with each, "
                "and combine the results by daskkit.lazy.tree_reduce"
            )
            raise ArgumentError(msg)
    return sequence
