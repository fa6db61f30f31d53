"""What a task was doing when its worker died, for whoever executes it next.

A worker notes on a page of memory that outlives it what each of its tasks is doing. If
it dies, its nanny reads the page, and writes down what it finds beside the cause. The
next attempt at the task looks for that, and goes item by item; once others have died
with the same item it is that item's error, before yet another worker is lost.

distributed gives a task up after four deaths, and names neither item nor cause.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import mmap
import os
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from daskkit.errors import WorkerDiedError
from daskkit.transport.contact import find_imported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Death", "Doing", "Record", "note_death", "open_page", "recording"]

# What is done, first item, item after the last; the task; the types concerned.
_ENTRY = struct.Struct("<Bqq32s207s")
_N_ENTRIES = 32
# One could be chance, as when somebody kills a worker.
_MOST_DEATHS = 3


class Doing(enum.IntEnum):
    """What a task does; zero for nothing."""

    TAKES_IN = 1
    RUNS = 2
    TRIES = 3
    COMBINES = 4


_WORDS = {
    Doing.TAKES_IN: "took in {}",
    Doing.RUNS: "ran {}",
    Doing.TRIES: "tried to rebuild the result of {}",
    Doing.COMBINES: "combined the results of {}",
}


class Death(NamedTuple):
    """What one worker was doing when it died."""

    doing: Doing
    #: Index of the first item that it was at, and of the first after these.
    start: int
    stop: int
    #: Types that it tried to rebuild.
    types: str
    #: Why it died, such as ``"signal SIGKILL"``.
    cause: str


class Record:
    """What one attempt at a task does; and what became of earlier ones.

    Parameters
    ----------
    page : mmap.mmap, optional
        Where it is noted; without, nobody would read it.
    entry : int, default 0
        Which entry of the page.
    key : bytes, default b""
        Of the task.
    deaths : sequence of Death, default ()
        Of workers that have tried the task before.

    Examples
    --------
    >>> first = Death(Doing.RUNS, 5, 9, "", "exit code 3")
    >>> others = first._replace(start=7, stop=8)
    >>> Record(deaths=[first, others, others]).culprit.start
    7
    >>> Record(deaths=[first, others]).culprit is None
    True
    """

    def __init__(
        self,
        page: mmap.mmap | None = None,
        entry: int = 0,
        key: bytes = b"",
        deaths: Sequence[Death] = (),
    ) -> None:
        self._page = page
        self._offset = entry * _ENTRY.size
        self._key = key
        self.deaths = deaths

    @property
    def culprit(self) -> Death | None:
        """What workers die of again and again; None if that isn't sure."""
        if len(self.deaths) < _MOST_DEATHS:
            return None
        *_, before, last = self.deaths
        is_same = (
            before.doing == last.doing
            and before.start <= last.start
            and last.stop <= before.stop
        )
        is_alone = last.doing != Doing.RUNS or last.stop - last.start == 1
        return last if is_same and is_alone else None

    def note(
        self, doing: Doing, start: int = 0, stop: int = 0, types: str = ""
    ) -> None:
        """Note what is done now, and to which items."""
        if self._page is not None:
            named = types.encode()[:200]
            _ENTRY.pack_into(
                self._page, self._offset, doing, start, stop, self._key, named
            )

    def blame(self, what: str) -> NoReturn:
        """Raise the error for what workers die of.

        Parameters
        ----------
        what : str
            What the items are called.

        Raises
        ------
        WorkerDiedError
            With the cause of the last death.
        """
        death = self.culprit
        assert death is not None
        doing = _WORDS[death.doing].format(what)
        if death.types:
            doing += f", with {death.types}"
        msg = (
            f"a worker process died while it {doing}, {len(self.deaths)} times; the "
            f"last time: {death.cause}"
        )
        raise WorkerDiedError(msg)

    def close(self) -> None:
        """Note that the attempt is over."""
        if self._page is not None:
            self._page[self._offset] = 0


class _Page:
    """The page of this process, a worker's."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        path = _page_path(folder, os.getpid())
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Written, not only made so long: a page without room on the disk would end
            # the process (SIGBUS) when it is first used.
            os.write(descriptor, bytes(_N_ENTRIES * _ENTRY.size))
            self.memory = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self._free = list(range(_N_ENTRIES))
        self._lock = threading.Lock()

    def take(self) -> int | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def give_back(self, entry: int) -> None:
        with self._lock:
            self._free.append(entry)


_pages: dict[int, _Page] = {}


def open_page(folder: str | Path) -> None:
    """Have this process, a worker, note what its tasks do, if the disk has room.

    Parameters
    ----------
    folder : str or Path
        That its nanny knows, see `note_death`.
    """
    with contextlib.suppress(OSError, ValueError):
        _pages[os.getpid()] = _Page(Path(folder))


def note_death(folder: str | Path, pid: int, cause: str) -> None:
    """Write down what a worker was doing when it died.

    Only if it was amid a single task: of several nobody knows which one it was. On a
    full disk nothing is written, and the worker is replaced all the same.

    Parameters
    ----------
    folder : str or Path
        Where the worker has opened its page.
    pid : int
        Its process.
    cause : str
        Why it died.
    """
    path = _page_path(Path(folder), pid)
    try:
        content = path.read_bytes()
        path.unlink()
    except OSError:
        return
    found = [entry for entry in _ENTRY.iter_unpack(content) if entry[0]]
    if len(found) != 1:
        return
    doing, start, stop, key, types = found[0]
    death = Death(
        doing, start, stop, types.rstrip(b"\0").decode(errors="ignore"), cause
    )
    told = _deaths_path(str(folder), key.decode())
    with contextlib.suppress(OSError):
        descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(death) + "\n")


@contextlib.contextmanager
def recording(*place: object) -> Iterator[Record]:
    """Keep a record of what the task that this thread executes does in the context.

    Parameters
    ----------
    *place : object
        What tells it from others of the same task of Dask, which may be fused of many.

    Yields
    ------
    Record
        One that is read by nobody if this isn't a task, or its worker has no page.
    """
    page = _pages.get(os.getpid())
    task = None if page is None else _find_task()
    entry = None if page is None or task is None else page.take()
    if page is None or entry is None:
        yield _NOBODYS
        return
    key = hashlib.blake2b(repr((task, place)).encode(), digest_size=16).hexdigest()
    path = _deaths_path(page.folder, key)
    record = Record(page.memory, entry, key.encode(), _read_deaths(path))
    try:
        yield record
    finally:
        record.close()
        page.give_back(entry)
        if record.deaths:  # a later attempt, with other data, begins anew
            Path(path).unlink(missing_ok=True)


_NOBODYS = Record()


def _find_task() -> Any:
    """Return the key of the task that this thread executes; None if it is none."""
    get_worker = find_imported("distributed.worker", "get_worker")
    if get_worker is None:
        return None
    try:
        return get_worker().get_current_task()
    except ValueError:
        return None


def _read_deaths(path: str) -> list[Death]:
    # As good as always there is none; without pathlib it is soon known.
    if not os.path.exists(path):  # noqa: PTH110
        return []
    deaths = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # the disk was full in its midst
            deaths.append(Death(*json.loads(line)))
    return [death._replace(doing=Doing(death.doing)) for death in deaths]


def _page_path(folder: Path, pid: int) -> Path:
    return folder / f"tasks-{pid}"


def _deaths_path(folder: str, key: str) -> str:
    return f"{folder}/deaths-{key}"
