"""`share`: one copy of an object in memory for all workers of this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from daskkit.transport import auto, wire
from daskkit.transport.errors import TransportError
from daskkit.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from daskkit.transport.auto import Packed
    from daskkit.transport.contact import Place

__all__ = ["Shared", "share"]

_T = TypeVar("_T")


def share(value: _T) -> Shared[_T]:
    """Return a handle on a copy of an object that all workers of this machine use.

    The copy is made here, once, whatever the size of the object; a worker attaches to
    it in less than a millisecond. Starts no process.

    Parameters
    ----------
    value : object
        Anything that can be pickled. Arrays, DataFrames, Series, sparse matrices and
        containers of these are shared; of other objects each process gets a copy.

    Returns
    -------
    Shared
        To be passed to functions, alone, in containers or as a captured variable.

    Raises
    ------
    UnpicklableError
        Naming the part that can't be pickled.
    NoRoomError
        If memory is full, naming the object and its size.

    Notes
    -----
    Later changes to `value` don't show. A worker on another machine, or one that can't
    open this process's memory, is sent the bytes when it first needs them.

    Examples
    --------
    >>> with share([1, 2, 3]) as handle:
    ...     handle.get()
    [1, 2, 3]
    """
    return Shared(auto.pack(value))


class Shared(Generic[_T]):
    """A handle on an object in shared memory, see `share`.

    The memory is freed when the last handle to it is gone, in whichever process: after
    `close`, the end of a ``with`` block, or when nothing refers to the handle any more.
    """

    __slots__ = ("__weakref__", "_packed", "_value", "_what")

    def __init__(self, packed: Packed) -> None:
        self._packed: Packed | None = packed
        self._what = packed.what
        self._value: list[_T] = []

    def __repr__(self) -> str:
        if self._packed is None:
            return f"<Shared {self._what}, closed>"
        return f"<Shared {self._what}, {format_bytes(self._packed.n_bytes)}>"

    @property
    def place(self) -> Place:
        """Where it was shared; see the `home` of `daskkit.transport.auto.pack`."""
        if self._packed is None:
            raise TransportError(self._describe_closed())
        return self._packed.place

    def get(self) -> _T:
        """Return the object: for this handle always the same one, private to it.

        Arrays are writable. What is written is seen through this handle only; each task
        has a handle of its own, and so has each worker.

        Returns
        -------
        object

        Raises
        ------
        TransportError
            If the handle is closed, or the memory was released by its owner.
        NoRoomError
            If the bytes had to be sent here and don't fit.

        Notes
        -----
        Maps the memory: about 0.1 ms, then nothing. On another machine the first call
        waits for the bytes.
        """
        if self._packed is None:
            raise TransportError(self._describe_closed())
        if not self._value:
            self._value.append(auto.unpack(self._packed))
        return self._value[0]

    def _describe_closed(self) -> str:
        return (
            f"This handle on {self._what} is closed; use it before the end of its "
            "`with` block, or share the object again"
        )

    def close(self) -> None:
        """Let go of the memory; a second call does nothing.

        Tasks that have not started yet, and need it, will fail. Objects that `get`
        returned stay valid.
        """
        if self._packed is not None:
            self._packed.close()
        self._packed = None
        self._value.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + (
            sys.getsizeof(self._packed) if self._packed is not None else 0
        )

    def __dask_tokenize__(self) -> tuple[str, ...]:
        # Otherwise Dask pickles it only to name a task.
        if self._packed is None:
            return ("daskkit-shared", "closed")
        return ("daskkit-shared", self._packed.token)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._packed is None:
            raise TransportError(self._describe_closed())
        for segment in self._packed.segments():
            wire.note(segment)
        return _restore, (self._packed,)


def _restore(packed: Packed) -> Shared[Any]:
    return Shared(packed)
