"""Books of threads: files of stamps and passages, written anywhere, read by the caller.

Each thread writes into files of its own, mapped into memory, so that neither a lock nor
a message is needed, and nothing is lost with the process.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import shutil
import struct
import tempfile
import threading
import time
from pathlib import Path
from threading import get_ident
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

from daskkit.accounts import Stamp
from daskkit.comparison.passages import Passage
from daskkit.run.clocks import read_queued_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "PAUSE_S",
    "Book",
    "make_folder",
    "note_ready",
    "open_book",
    "open_books",
    "put_stamp",
    "read_passages",
    "read_ready",
    "read_stamps",
]

# Begin, end, when the CPU clock was read last, CPU seconds by then; first item, items.
_ENTRY = struct.Struct("dddd qq")
put_stamp = _ENTRY.pack_into
# Packed and opened: begin, end, seconds each; first item, items, bytes, the packing
# process, whether these are results.
_PASSAGE = struct.Struct("dddddd qqqqq")
# When a process had the function.
_READY = struct.Struct("d")
# A file grows only as far as it is written.
_MOST_ENTRIES = 65_536
# Where a file has no disk: on one, some writes take far longer than others, 30 us on
# average where one follows each item of 2 ms. Who writes where nothing is left is ended
# by SIGBUS, so there has to be plenty.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - in a private folder of a random name
_PLENTY_BYTES = 2**30
# Items with a shorter pause between them are one batch.
PAUSE_S = 0.0001
# Asking for CPU seconds is a system call: 1 us in a loop of nothing else, but 6 to 11
# amid other work. So of many items that follow each other not all are asked after: the
# first that takes as long as this, and then at growing intervals up to the other.
_CPU_FIRST_S = 0.0001
_CPU_EVERY_S = 0.01


@contextlib.contextmanager
def make_folder() -> Iterator[str]:
    """Yield a new folder for books, and remove it with them.

    In shared memory, if there is plenty. Its name holds the id of this process, by
    which `comparison.leftovers` finds it if this process is killed.

    Yields
    ------
    str
        Its path.

    Examples
    --------
    >>> with make_folder() as folder:
    ...     Path(folder).is_dir()
    True
    """
    prefix = f"daskkit-{os.getpid()}-stamps-"
    parent = _SHARED_MEMORY if _is_plenty(_SHARED_MEMORY) else None
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_plenty(folder: Path) -> bool:
    """Return whether a folder is there to be written to, and has room for any books."""
    try:
        return os.access(folder, os.W_OK) and (
            shutil.disk_usage(folder).free >= _PLENTY_BYTES
        )
    except OSError:
        return False


def read_stamps(folder: str, began_s: float = 0.0) -> list[Stamp]:
    """Return the stamps of all threads, in the order of time.

    Parameters
    ----------
    folder : str
        As for `comparison.stamps.stamp_workload`.
    began_s : float, default 0.0
        Earlier ones are left out; on the clock of `time.perf_counter`.

    Returns
    -------
    list of Stamp
        Their times are on that clock.
    """
    stamps = []
    for path, entry in _read(folder, "stamps", _ENTRY):
        start_s, end_s, seen_s, cpu_s, first, n_items = entry
        if n_items and start_s >= began_s:
            wall_s = end_s - start_s
            # What follows the last look at the CPU clock computes as much as what it
            # saw; what is too short for a look computes.
            share = cpu_s / (seen_s - start_s) if seen_s > start_s else 1.0
            stamp = Stamp(
                worker=path.name.split(".")[0],
                start_s=start_s,
                end_s=end_s,
                # Clocks tick differently: a thread can't compute for longer.
                cpu_s=min(share, 1.0) * wall_s,
                first=first,
                n_items=n_items,
            )
            stamps.append(stamp)
    return sorted(stamps, key=lambda stamp: stamp.start_s)


def read_passages(folder: str, began_s: float = 0.0) -> list[Passage]:
    """Return what travelled between processes, in the order in which it was packed.

    Parameters
    ----------
    folder : str
        As for `comparison.stamps.stamp_workload`.
    began_s : float, default 0.0
        What was packed earlier is left out; on the clock of `time.perf_counter`.

    Returns
    -------
    list of Passage
        Their times are on that clock. The caller is this process.
    """
    passages = []
    for path, entry in _read(folder, "passages", _PASSAGE):
        packed, opened, (first, n_items, n_bytes) = entry[:3], entry[3:6], entry[6:9]
        packed_by, is_result = entry[9:]
        if n_items and packed[0] >= began_s:
            passage = Passage(
                pack_start_s=packed[0],
                pack_end_s=packed[1],
                pack_s=packed[2],
                open_start_s=opened[0],
                open_end_s=opened[1],
                open_s=opened[2],
                first=first,
                n_items=n_items,
                n_bytes=n_bytes,
                is_result=bool(is_result),
                by_caller=packed_by == os.getpid(),
                to_caller=path.name.startswith(f"{os.getpid()}-"),
            )
            passages.append(passage)
    return sorted(passages, key=lambda passage: passage.pack_start_s)


def read_ready(folder: str, began_s: float = 0.0) -> float:
    """Return when the last process got the function, with all that it imports.

    Parameters
    ----------
    folder : str
        As for `comparison.stamps.stamp_workload`.
    began_s : float, default 0.0
        Processes that had it earlier don't count; on the clock of `time.perf_counter`.

    Returns
    -------
    float
        On that clock; `began_s` if all had it before, or share this process.
    """
    times: list[float] = [
        entry[0]
        for path, entry in _read(folder, "ready", _READY)
        if not path.name.startswith(f"{os.getpid()}-")
    ]
    return max([began_s, *times])


def open_book(folder: str) -> Book:
    """Return the book of this thread.

    Parameters
    ----------
    folder : str
        Where its files are.

    Returns
    -------
    Book
    """
    try:
        return open_books[folder][get_ident()]
    except KeyError:
        book = open_books.setdefault(folder, {})[get_ident()] = Book(folder)
        return book


def note_ready(folder: str, began_s: float) -> None:
    """Write down that this process has the function, the first time.

    Parameters
    ----------
    folder : str
        Where the file is; if there is none any more, nothing is written.
    began_s : float
        When the function was begun to be opened, on the clock of `time.perf_counter`.
    """
    key = os.getpid(), folder
    if key in _ready:
        return
    _ready.add(key)
    ended_s = perf_counter()
    with contextlib.suppress(FileNotFoundError):
        sheet = _Sheet(folder, "ready", _READY, 1)
        sheet.turn()
        sheet.put(min(ended_s, _find_boot_s() + ended_s - began_s))


def _find_boot_s() -> float:
    """Return when this process had started, as far as it has told by its CPU time.

    What it did not compute since it was made it has waited: for a core, which counts,
    or for its first input, which doesn't.
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2]
        ticks_s = int(fields.split()[19]) / os.sysconf("SC_CLK_TCK")
        # Counted from the machine's boot, which is not this clock's beginning where the
        # machine has slept.
        since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError, ValueError, IndexError):
        return math.inf
    queued_s = read_queued_s(os.getpid())
    if math.isnan(queued_s):
        return math.inf
    age_s = since_boot_s - ticks_s
    spent_s = time.process_time() + queued_s
    return perf_counter() - age_s + min(spent_s, age_s)


def _read(
    folder: str, kind: str, form: struct.Struct
) -> Iterator[tuple[Path, tuple[Any, ...]]]:
    """Yield the entries of all files of a kind, with their paths."""
    # The next item of a thread opens another.
    open_books.pop(folder, None)
    for path in Path(folder).glob(f"*.{kind}"):
        content = path.read_bytes()
        whole = content[: len(content) // form.size * form.size]
        for entry in form.iter_unpack(whole):
            yield path, entry


class _Sheet:
    """A file of entries of one kind, written by one thread."""

    def __init__(self, folder: str, kind: str, form: struct.Struct, most: int) -> None:
        name = f"{os.getpid()}-{threading.get_native_id()}.{time.monotonic_ns()}"
        path = Path(folder, f"{name}.{kind}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            size = most * form.size
            os.ftruncate(descriptor, size)
            self.map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._form, self._most = form, most
        self.n_entries = 0

    def turn(self) -> bool:
        """Begin another entry; False if the file is full, and the last one goes on."""
        if self.n_entries == self._most:
            return False
        self.n_entries += 1
        return True

    def put(self, *entry: Any) -> None:
        """Write the entry that was begun last."""
        offset = (self.n_entries - 1) * self._form.size
        self._form.pack_into(self.map, offset, *entry)


class Book:
    """The stamps of one thread, and what it has opened."""

    __slots__ = (
        "_cpu_began",
        "_folder",
        "_passage",
        "_passages",
        "_stamps",
        "begun",
        "cpu_s",
        "end_s",
        "look_after_s",
        "map",
        "n_items",
        "next",
        "offset",
        "seen_s",
    )

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stamps: _Sheet | None = None
        self._passages: _Sheet | None = None
        self.map: Any = None
        self.offset = self.next = self.n_items = 0
        # Begin and first item of the stamp that is being written.
        self.begun = 0.0, 0
        self.end_s = -math.inf
        self._cpu_began = self.cpu_s = self.seen_s = self.look_after_s = 0.0
        self._passage: list[Any] = []

    def write(self, func: Callable[[Any], Any], item: Any, first: int, n: int) -> Any:
        """Return ``func(item)``, and write down how long that took."""
        if first != self.next or perf_counter() - self.end_s > PAUSE_S:
            self.begin(first)
        try:
            return func(item)
        finally:
            self.next = first + n
            self.n_items += n
            end_s = self.end_s = perf_counter()
            if end_s - self.seen_s > self.look_after_s:
                self.look(end_s)
            start_s, first = self.begun
            put_stamp(
                self.map,
                self.offset,
                start_s,
                end_s,
                self.seen_s,
                self.cpu_s,
                first,
                self.n_items,
            )

    def begin(self, first: int) -> None:
        """Begin another stamp; if the file is full, the last one goes on."""
        if self._stamps is None:
            self._stamps = _Sheet(self._folder, "stamps", _ENTRY, _MOST_ENTRIES)
            self.map = self._stamps.map
        if self._stamps.turn():
            self.offset = (self._stamps.n_entries - 1) * _ENTRY.size
            self.look_after_s = _CPU_FIRST_S
            self.n_items, self.cpu_s = 0, 0.0
            self._cpu_began = thread_time()
            self.seen_s = perf_counter()
            self.begun = self.seen_s, first

    def look(self, end_s: float) -> None:
        """Read the CPU clock at the end of an item."""
        self.seen_s = end_s
        self.cpu_s = thread_time() - self._cpu_began
        self.look_after_s = min(end_s - self.begun[0], _CPU_EVERY_S)

    def open(self, passage: list[Any]) -> None:
        """Write down what has been opened, in the order of `_PASSAGE`."""
        if self._passages is None:
            self._passages = _Sheet(self._folder, "passages", _PASSAGE, _MOST_ENTRIES)
        last = self._passage
        is_next = (
            bool(last)
            and passage[6] == last[6] + last[7]
            and passage[9:] == last[9:]
            and passage[0] - last[1] < PAUSE_S
            and passage[3] - last[4] < PAUSE_S
        )
        if is_next:
            last[1], last[4] = passage[1], passage[4]
            for at in (2, 5, 7, 8):
                last[at] += passage[at]
        elif self._passages.turn():
            self._passage = passage
        self._passages.put(*self._passage)


# By folder and thread: `threading.local` takes twice as long. A thread that comes after
# another's end can get its number, and goes on in its book.
open_books: dict[str, dict[int, Book]] = {}
# A forked child has books of its own. To ask for each item in which process it is would
# be a system call.
os.register_at_fork(after_in_child=open_books.clear)
# Processes and folders of which it is known when they had the function.
_ready: set[tuple[int, str]] = set()
