"""A value in a lazy graph: packed when the graph is sent, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.transport.auto import pack, unpack

if TYPE_CHECKING:
    from daskkit.transport.auto import Packed

__all__ = ["Carried"]


class Carried:
    """A value that a graph carries to where its tasks are executed.

    Building a graph copies nothing, and neither does Dask's own threaded scheduler.
    When the graph is sent to a cluster the value is packed: what is large goes into
    shared memory once, however many tasks use it.

    Parameters
    ----------
    value : object
        A function, or a list of items.

    Examples
    --------
    >>> import pickle
    >>> pickle.loads(pickle.dumps(Carried([1, 2]))).get()
    [1, 2]
    """

    __slots__ = ("_packed", "_value")

    def __init__(self, value: Any) -> None:
        self._value = value
        self._packed: Packed | None = None

    def get(self) -> Any:
        """Return the value; one that was sent as a private copy for each call.

        Returns
        -------
        object
        """
        return self._value if self._packed is None else unpack(self._packed)

    def __reduce__(self) -> tuple[Any, ...]:
        packed = pack(self._value) if self._packed is None else self._packed
        return _receive, (packed,)


def _receive(packed: Packed) -> Carried:
    carried = Carried(None)
    carried._packed = packed  # noqa: SLF001 - our own
    return carried
