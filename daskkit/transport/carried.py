"""A value in a lazy graph: packed when the graph is sent, and not before."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from daskkit.transport.auto import pack, pack_bytes, unpack
from daskkit.transport.contact import running_clients

if TYPE_CHECKING:
    from daskkit.transport.auto import Packed

__all__ = ["Carried"]


class Carried:
    """A value that a graph carries to where its tasks are executed.

    Building a graph copies nothing, and neither does Dask's own threaded scheduler.
    When the graph is sent to a cluster the value is packed: what is large goes into
    shared memory once, however many tasks use it. Dask's own pool of processes is sent
    all bytes.

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

    __slots__ = ("_packed", "_token", "_value")

    def __init__(self, value: Any) -> None:
        self._value = value
        self._packed: Packed | None = None
        self._token = uuid.uuid4().hex

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Otherwise Dask packs the value only to name a task.
        return ("daskkit-carried", self._token)

    def get(self) -> Any:
        """Return the value; one that was sent as a private copy for each call.

        Returns
        -------
        object
        """
        return self._value if self._packed is None else unpack(self._packed)

    def __reduce__(self) -> tuple[Any, ...]:
        packed = self._packed
        if packed is None:
            # Shared memory has to outlive this pickle. A client sees to that, and then
            # its scheduler; with Dask's pool of processes nobody does, and the memory
            # would be gone before a process has opened it.
            packed = (pack if running_clients() else pack_bytes)(self._value)
        return _receive, (packed, self._token)


def _receive(packed: Packed, token: str) -> Carried:
    carried = Carried(None)
    carried._packed = packed  # noqa: SLF001 - our own
    carried._token = token  # noqa: SLF001 - our own
    return carried
