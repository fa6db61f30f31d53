"""How an exception gets from a worker to the caller, with all that it is linked to.

Part of `run`; knows neither Dask nor clusters. An exception travels as plain data: for
itself and for each one that it is linked to (cause, context, members of a group) the
frames of its traceback (`tracebacks`), its text and, if possible, its pickle
(`pickles`). Nothing that the exception's own class does can keep that from arriving.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import pickle
import threading
from typing import TYPE_CHECKING

from daskkit.errors import RemoteError
from daskkit.run.pickles import (
    Body,
    class_name,
    cut,
    is_harmless,
    members_of,
    pack,
    read_field,
    reason_of,
    text_of,
    unpack,
    write_field,
)
from daskkit.run.tracebacks import (
    Frame,
    format_frames,
    make_traceback,
    read_frames,
    read_source,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["dump_error", "load_error"]

# How far a chain of causes and contexts, or a group in a group, is followed.
_DEEPEST = 20
# Exceptions that travel with one, all members of groups together.
_MOST_ERRORS = 1000
# Pickling an exception runs code of its class, which may wait for a lock that its own
# thread holds, or ask a database. Far longer than what gets on at all should take.
_PATIENCE_S = 30.0


@dataclasses.dataclass(slots=True)
class _Node:
    """One exception as plain data; links are indices into the list of all nodes."""

    name: str
    frames: list[Frame] = dataclasses.field(default_factory=list)
    cause: int | None = None
    context: int | None = None
    suppress_context: bool = False
    members: list[int] = dataclasses.field(default_factory=list)
    # None: what the class itself keeps there, if anything.
    notes: list[str] | None = None
    text: str = "<no text in time>"
    # None if there is no pickle; then `reason` says why.
    body: Body | None = None
    reason: str = "pickling took too long"


def dump_error(error: BaseException) -> bytes:
    """Return an exception as bytes, with all that is linked to it.

    Each exception is rebuilt here to see whether it can be: by its own pickling, else
    without its ``__init__``. What can't arrives as a `RemoteError`.

    Parameters
    ----------
    error : BaseException
        As it was caught; it isn't changed. Of its string arguments, those of more than
        100,000 characters are cut.

    Returns
    -------
    bytes
        For `load_error`.

    Notes
    -----
    Raises nothing and waits for 30 s at most, whatever the methods of the exception's
    class do: they run in a thread of their own.

    Examples
    --------
    >>> load_error(dump_error(KeyError("x")))
    KeyError('x')
    """
    try:
        errors, nodes = _survey(error)
        work = functools.partial(_fill, errors, nodes)
        # Most are; a thread takes four times as long as all the rest.
        if all(map(is_harmless, errors)):
            work(threading.Event())
        else:
            _run_in_time(work)
        return pickle.dumps(nodes, protocol=5)
    except Exception as reason:  # noqa: BLE001 - memory is full, at the worst
        node = _Node(class_name(error), reason=reason_of(reason))
        return pickle.dumps([node], protocol=5)


def load_error(data: bytes) -> BaseException:
    """Return the exception that `dump_error` took apart.

    Parameters
    ----------
    data : bytes
        From `dump_error`.

    Returns
    -------
    BaseException
        With its type, arguments, attributes, notes, traceback, causes, contexts and
        members. Whatever of it can't be rebuilt here is a `RemoteError` with its text.

    Notes
    -----
    Raises nothing but the KeyboardInterrupt of a Ctrl-C that comes meanwhile.

    Examples
    --------
    >>> load_error(b"")
    RemoteError('An exception arrived damaged, as 0 bytes: EOFError: Ran out of input')
    """
    try:
        return _rebuild(pickle.loads(data))
    except Exception as reason:  # noqa: BLE001 - the bytes may be anything
        n_bytes = len(data)
        return RemoteError(
            f"An exception arrived damaged, as {n_bytes} bytes: {reason_of(reason)}"
        )


# --- The links as plain data: no code of an exception's class runs here. ---


def _survey(root: BaseException) -> tuple[list[BaseException], list[_Node]]:
    """Return an exception and all that it is linked to, the nearest first, as nodes."""
    errors, depths = [root], [0]
    positions = {id(root): 0}
    nodes: list[_Node] = []

    def follow(linked: BaseException) -> int | None:
        if id(linked) not in positions:
            if depths[len(nodes)] >= _DEEPEST or len(errors) >= _MOST_ERRORS:
                return None
            positions[id(linked)] = len(errors)
            errors.append(linked)
            depths.append(depths[len(nodes)] + 1)
        return positions[id(linked)]

    while len(nodes) < len(errors):
        nodes.append(_make_node(errors[len(nodes)], follow))
    return errors, nodes


def _make_node(
    error: BaseException, follow: Callable[[BaseException], int | None]
) -> _Node:
    """Return one exception as a node; `follow` gives the positions of linked ones."""
    node = _Node(class_name(error), read_frames(read_field(error, "__traceback__")))
    node.suppress_context = read_field(error, "__suppress_context__")
    notes = dict.get(read_field(error, "__dict__"), "__notes__")
    if type(notes) is list:
        node.notes = [str.__str__(n) for n in notes if issubclass(type(n), str)]
    linked = [read_field(error, name) for name in ("__cause__", "__context__")]
    linked += members_of(error)
    links = [None if other is None else follow(other) for other in linked]
    node.cause, node.context, *members = links
    node.members = [position for position in members if position is not None]
    left_out = links.count(None) - sum(other is None for other in linked)
    if left_out:
        node.notes = [*(node.notes or []), f"(linked exceptions left out: {left_out})"]
    return node


# --- The rest, where such code runs: in a thread of its own. ---


def _run_in_time(work: Callable[[threading.Event], None]) -> None:
    """Execute ``work(late)`` and return when it has ended or `_PATIENCE_S` is over.

    In a thread of its own, which also tells a KeyboardInterrupt that an exception's own
    methods raise from that of a Ctrl-C: Python delivers the latter to the main thread.
    """
    late = threading.Event()
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=context.run, args=(work, late), name="daskkit-failure", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is ending
        work(late)
        return
    thread.join(_PATIENCE_S)
    if thread.is_alive() and thread.ident is not None:
        late.set()
        # Ends a loop written in Python, which would take the GIL from all else for
        # ever. What waits in C stays; it costs nothing.
        import ctypes

        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
        )


def _fill(
    errors: Sequence[BaseException], nodes: Sequence[_Node], late: threading.Event
) -> None:
    """Add texts, source lines and pickles to the nodes, until it is too late."""
    for error, node in zip(errors, nodes, strict=True):
        node.frames = [read_source(frame) for frame in node.frames]
        node.text = cut(text_of(error))
        members = [errors[position] for position in node.members]
        if members_of(error) and not members:
            body, reason = None, f"it is nested deeper than {_DEEPEST} levels"
        else:
            try:
                body, reason = pack(error, members, late)
            except BaseException as failed:  # noqa: BLE001 - nobody above would tell
                body, reason = None, reason_of(failed)
        if late.is_set():
            return
        node.body, node.reason = body, reason


# --- And back, in the caller. ---


def _rebuild(nodes: Sequence[_Node]) -> BaseException:
    """Return the first of the nodes as an exception, linked to the others."""
    errors: dict[int, BaseException] = {}

    def build(position: int) -> BaseException:
        if position not in errors:
            node = nodes[position]
            members = [build(member) for member in node.members]
            errors[position] = _rebuild_one(node, members)
        return errors[position]

    for position, node in enumerate(nodes):
        error = build(position)
        for name, linked in (("__cause__", node.cause), ("__context__", node.context)):
            write_field(error, name, None if linked is None else build(linked))
        write_field(error, "__suppress_context__", node.suppress_context)
        write_field(error, "__traceback__", make_traceback(node.frames))
    return errors[0]


def _rebuild_one(node: _Node, members: Sequence[BaseException]) -> BaseException:
    notes, reason = node.notes, node.reason
    if node.body is not None:
        try:
            error = unpack(node.body, members)
        except KeyboardInterrupt:
            raise  # Ctrl-C: what raises it itself has been sorted out by pack
        except BaseException as failed:  # noqa: BLE001 - also SystemExit, see text_of
            reason = reason_of(failed)
        else:
            if notes is not None:
                read_field(error, "__dict__")["__notes__"] = notes
            return error
    remote = RemoteError(
        f"{node.name}: {node.text} (only its text could be sent: {reason})"
    )
    remote.__notes__ = [*(notes or []), format_frames(node.frames)]
    return remote
