"""What a ledger means, in plain sentences: the largest loss and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from daskkit.accounts import PARTS
from daskkit.comparison.ledger import lay_out
from daskkit.units import (
    format_bytes,
    format_core_seconds,
    format_count,
    format_ratio,
    format_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from daskkit.accounts import Ledger, Stamp, Trace

__all__ = ["explain", "explain_start"]

#: Where items are executed: what to do about waiting depends on it.
Kind = Literal["threads", "processes"]

# Losses that sum to less than this share of the whole are not worth anyone's time.
_LITTLE = 0.1
# A worker that computes for longer than this share more than the plain loop does
# shares caches, memory or the core with the others.
_SLOWED = 1.1
# Batches shorter than this spend much of their time being handed over.
_MANY_BYTES = 10 * 2**20
_SHORT_BATCH_S = 0.02
# Reasons for less than this share of the whole are left out.
_FEW = 0.01
# Parts in which workers had nothing to execute.
_IDLE = frozenset({"transfer_s", "dispatch_s", "tail_s", "caller_s"})
# What the state machines of Dask's workers say of them.
_SLOTS = {
    "slots: starved": "had no task",
    "slots: transfer": "had tasks that waited for data",
    "slots: dispatch": "had tasks that were ready, and were about to begin one",
    "slots: paused": "were paused for lack of memory",
}
# An item that is off the CPU for more than this share of its time waits by itself.
_WAITS = 0.5


def explain(
    ledger: Ledger,
    trace: Trace | None = None,
    *,
    kind: Kind | None = None,
    loop_s: float | None = None,
    loop_waits: float | None = None,
) -> list[str]:
    """Return where the core-seconds went, and what to do about the largest loss.

    Parameters
    ----------
    ledger : Ledger
        Of the call.
    trace : Trace, optional
        The call from inside; with it the sentences name batches and items.
    kind : {"threads", "processes"}, optional
        What the workers are.
    loop_s : float, optional
        Wall time of the plain loop over the same items in seconds, to tell whether
        items cost more beside one another.
    loop_waits : float, optional
        Share of the plain loop's time within items that was no CPU time, from 0 to 1,
        to tell whether items wait by themselves or for one another.

    Returns
    -------
    list of str
        Sentences; the first one sums up.

    Examples
    --------
    >>> from daskkit.accounts import Ledger
    >>> for sentence in explain(Ledger(2, 3.0, compute_s=4.0, tail_s=2.0)):
    ...     print(sentence)
    2 workers for 3.00 s are 6.00 core-seconds: 67 % went into computing.
    The largest loss is the tail (imbalance), 2.00 core-seconds or 33 %: workers had
    nothing more to do while others were still busy.
    Make batches smaller towards the end, or items of more even cost.
    """
    sentences = [_sum_up(ledger)]
    stamps = () if trace is None else trace.stamps
    lost = 1 - ledger.share("compute_s")
    if ledger.whole_s and lost >= _LITTLE:
        part = ledger.largest_loss
        seconds = ledger.parts()[part]
        sentences.append(
            f"The largest loss is {_NAMES[part]}, {format_core_seconds(seconds)} or "
            f"{_percent(ledger.share(part))}: {_MEANINGS[part]}."
        )
        if trace is not None and part in _IDLE:
            sentences += _split_idle(trace)
        if part == "tail_s" and trace is not None:
            sentences += _name_last(trace)
        elif part == "waiting_s":
            sentences += _advise_waiting(kind, loop_waits)
        else:
            sentences += _ADVICE[part](stamps)
    elif ledger.whole_s:
        sentences.append(
            "Little is lost on the way. To be faster, make the items cheaper "
            "(vectorise func, compile it) or use more cores."
        )
    if loop_s and ledger.compute_s > _SLOWED * loop_s:
        sentences.append(
            f"The items took {format_ratio(ledger.compute_s / loop_s)} times the CPU "
            f"time of the plain loop ({format_seconds(loop_s)}): workers share caches, "
            "the bandwidth of memory, or cores; fewer workers may be as fast."
        )
    return sentences


def explain_start(ledger: Ledger) -> list[str]:
    """Return what a first call was spent on, if most of it was the start of workers.

    Parameters
    ----------
    ledger : Ledger
        Of start-up and first execution together.

    Returns
    -------
    list of str
        Sentences; none if another part is larger than start-up.

    Examples
    --------
    >>> from daskkit.accounts import Ledger
    >>> print(explain_start(Ledger(2, 3.0, compute_s=2.0, startup_s=4.0))[0])
    The first call, which starts the workers, takes 3.00 s: its largest part is
    start-up, 4.00 core-seconds or 67 %: workers were being started, and imported what
    func needs.
    >>> explain_start(Ledger(2, 3.0, compute_s=4.0, startup_s=2.0))
    []
    """
    if ledger.startup_s < max(ledger.parts().values()) or not ledger.startup_s:
        return []
    largest = (
        "The first call, which starts the workers, takes "
        f"{format_seconds(ledger.wall_s)}: its largest part is {_NAMES['startup_s']}, "
        f"{format_core_seconds(ledger.startup_s)} or "
        f"{_percent(ledger.share('startup_s'))}: {_MEANINGS['startup_s']}."
    )
    return [largest, *_advise_startup(())]


_NAMES = {name: f"the {title}" for name, title in PARTS.items()} | {
    "startup_s": "start-up",
    "waiting_s": "waiting within items",
    "serialise_s": "serialisation",
    "transfer_s": "the transfer of bytes",
    "dispatch_s": "the gaps between batches",
}

_MEANINGS = {
    "startup_s": "workers were being started, and imported what func needs",
    "waiting_s": (
        "items were being executed but not on the CPU; they slept, or waited "
        "for the GIL, a lock, a disk, a network, or a core that something else had"
    ),
    "serialise_s": "inputs and results were pickled and unpickled",
    "transfer_s": "workers waited for bytes that were on their way",
    "dispatch_s": "workers waited for their next batch",
    "tail_s": "workers had nothing more to do while others were still busy",
    "caller_s": (
        "all workers waited for the caller, before the first batch or after the last"
    ),
}


def _sum_up(ledger: Ledger) -> str:
    return (
        f"{format_count(ledger.n_workers, 'worker')} for "
        f"{format_seconds(ledger.wall_s)} are {format_core_seconds(ledger.whole_s)}: "
        f"{_percent(ledger.share('compute_s'))} went into computing."
    )


def _split_idle(trace: Trace) -> Iterator[str]:
    """Say why threads of workers were idle, where their library has counted that."""
    counted = dict(trace.counted)
    reasons = [
        f"{what} for {format_core_seconds(seconds)}"
        for name, what in _SLOTS.items()
        if (seconds := counted.get(name, 0.0)) > _FEW * trace.n_workers * trace.wall_s
    ]
    if reasons:
        yield f"By Dask's own account, idle threads {', '.join(reasons)}."


def _advise_startup(_stamps: Sequence[Stamp]) -> Iterator[str]:
    yield (
        "Start workers once and keep them for all calls (with daskkit.cluster() around "
        "them), start fewer, give each call more work, or import less where func is "
        "defined."
    )


def _advise_waiting(kind: Kind | None, loop_waits: float | None) -> Iterator[str]:
    if loop_waits is not None and loop_waits >= _WAITS:
        yield (
            f"The plain loop waits as well, for {_percent(loop_waits)} of its time: "
            "func sleeps, or waits for a disk, a network or another program."
        )
        yield (
            "Use more workers than cores, best threads; or wait for many things at a "
            "time within func."
        )
        return
    if loop_waits is not None:
        yield (
            "The plain loop hardly waits, so the items wait for one another: "
            + ("for the GIL, or " if kind != "processes" else "")
            + "for a lock or a file that one of them has, or for a core."
        )
    if kind == "threads":
        yield (
            "Processes don't share a GIL: use them if func is Python code. If it waits "
            "for a disk or a network, use more threads than cores; if for a lock, hold "
            "it for less."
        )
    elif kind == "processes":
        yield (
            "If func takes a lock, hold it for less; if it waits for a disk or a "
            "network, use threads, and more of them than cores; if for a core, fewer "
            "workers."
        )
    else:
        yield (
            "If func is Python code, use processes instead of threads; if it waits for "
            "a disk or a network, more threads than cores; if it takes a lock, hold it "
            "for less; if none of these, fewer workers."
        )


def _advise_serialise(stamps: Sequence[Stamp]) -> Iterator[str]:
    yield from _count_bytes(stamps)
    yield (
        "Share what is large once (daskkit.share), return less from func, or use "
        "threads, which send nothing."
    )


def _advise_transfer(stamps: Sequence[Stamp]) -> Iterator[str]:
    yield from _count_bytes(stamps)
    yield (
        "Share what is large once (daskkit.share), let func read its own part of the "
        "input, return less, or combine on the workers (daskkit.map_reduce)."
    )


def _advise_dispatch(stamps: Sequence[Stamp]) -> Iterator[str]:
    mean_s = 0.0
    if stamps:
        n_items = sum(stamp.n_items for stamp in stamps)
        mean_s = sum(stamp.end_s - stamp.start_s for stamp in stamps) / len(stamps)
        batches = "1 batch" if len(stamps) == 1 else f"{len(stamps):,} batches"
        yield (
            f"There were {format_count(n_items, 'item')} in {batches}, which took "
            f"{format_seconds(mean_s)} on average."
        )
    if mean_s < _SHORT_BATCH_S:
        yield "Use larger batches, so that there are fewer of them."
    else:
        yield (
            "The batches are long enough, but are handed over one by one: let more of "
            "them wait at each worker, or check what else keeps the caller busy."
        )


def _advise_tail(_stamps: Sequence[Stamp]) -> Iterator[str]:
    yield "Make batches smaller towards the end, or items of more even cost."


def _advise_caller(stamps: Sequence[Stamp]) -> Iterator[str]:
    if sum(stamp.bytes_in + stamp.bytes_out for stamp in stamps) > _MANY_BYTES:
        # It packs the first arguments before anybody could wait for them.
        yield from _advise_serialise(stamps)
    yield (
        "Combine results on the workers (daskkit.map_reduce), return less from func, "
        "and make items cheap to list: the caller prepares them alone."
    )


_ADVICE: dict[str, Callable[[Sequence[Stamp]], Iterator[str]]] = {
    "startup_s": _advise_startup,
    "serialise_s": _advise_serialise,
    "transfer_s": _advise_transfer,
    "dispatch_s": _advise_dispatch,
    "tail_s": _advise_tail,
    "caller_s": _advise_caller,
}


def _name_last(trace: Trace) -> Iterator[str]:
    """Say which batch, and where possible which item, the others waited for."""
    lines = [line for line in lay_out(trace) if line]
    if not lines:
        yield from _advise_tail(())
        return
    last = max((line[-1] for line in lines), key=lambda stamp: stamp.end_s)
    took = format_seconds(last.end_s - last.start_s)
    if last.n_items == 1:
        yield f"The last to finish was item {last.first}, which took {took} by itself."
        yield "Put the most expensive items first, or split this one."
    else:
        until = last.first + last.n_items - 1
        yield f"The last batch to finish, items {last.first} to {until}, took {took}."
        yield (
            "Use smaller batches, so that idle workers can take a part of it; with one "
            "item a batch this says which item it is."
        )


def _count_bytes(stamps: Sequence[Stamp]) -> Iterator[str]:
    """Say how much was sent, where that is known."""
    bytes_in = sum(stamp.bytes_in for stamp in stamps)
    bytes_out = sum(stamp.bytes_out for stamp in stamps)
    if bytes_in + bytes_out:
        yield (
            f"{format_bytes(bytes_in)} went to the workers, {format_bytes(bytes_out)} "
            "came back."
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
