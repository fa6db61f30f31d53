"""A function that goes wrong as often as it is told to, in a worker only."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskkit.arguments import check_whole
from daskkit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "Faulty"]

# What is taken at a time, and how fast, so that a nanny sees it in time.
_N_BYTES = 64 * 2**20
_PAUSE_S = 0.02
_ENDING = ".struck"


class Faulty:
    """A function with a fault: the process that executes a certain item dies, or hangs.

    Give it to a verb, to Dask or to any other library in place of the function. A fault
    strikes in other processes only, never in the one that made this object: a test
    survives it, and a caller that executes some items itself executes them. Ask
    `n_struck` whether it has struck at all; ``where="cluster"`` leaves all items to
    workers.

    Parameters
    ----------
    func : callable
        What is computed otherwise, and where the fault does not strike.
    kind : str
        One of `KINDS`:

        - ``"kill"``: the process is killed (SIGKILL), as for want of memory;
        - ``"exit"``: it ends with exit code 9, without a word;
        - ``"segfault"``: it crashes (SIGSEGV);
        - ``"freeze"``: it is stopped (SIGSTOP) until somebody thaws it;
        - ``"memory"``: it takes memory until somebody ends it, or there is no more;
        - ``"hang"``: the item never ends;
        - ``"raise"``: the item raises `RuntimeError`.
    when : callable
        ``when(*args)``: whether the fault strikes at this item.
    folder : str or Path
        An empty folder that all processes see, such as pytest's ``tmp_path``; the
        strikes are counted there.
    times : int, optional
        How often it strikes, over all processes. Default: each time, so that the item
        can't be computed at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     faulty = Faulty(abs, "kill", lambda x: x == -3, folder, times=1)
    ...     [faulty(x) for x in range(-3, 0)], faulty.n_struck
    ([3, 2, 1], 0)
    """

    def __init__(
        self,
        func: Callable[..., Any],
        kind: str,
        when: Callable[..., bool],
        folder: str | Path,
        *,
        times: int | None = None,
    ) -> None:
        if kind not in KINDS:
            msg = f"kind must be one of {', '.join(KINDS)}, received {kind!r}"
            raise ArgumentError(msg)
        if times is not None:
            check_whole(times, "times", 1)
        self._func = func
        self._kind = kind
        self._when = when
        self._folder = Path(folder)
        self._times = times
        self._pid = os.getpid()
        functools.update_wrapper(self, func, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns, unless the fault strikes."""
        if os.getpid() != self._pid and self._when(*args, **kwargs) and self._claim():
            KINDS[self._kind]()
        return self._func(*args, **kwargs)

    @property
    def n_struck(self) -> int:
        """How often the fault has struck so far, in any process."""
        return len(list(self._folder.glob(f"*{_ENDING}")))

    def _claim(self) -> bool:
        """Note that it strikes; return False if it has struck often enough."""
        if self._times is None:
            descriptor, _ = tempfile.mkstemp(suffix=_ENDING, dir=self._folder)
            os.close(descriptor)
            return True
        for number in range(self._times):
            # Whoever makes the file is the one.
            with contextlib.suppress(FileExistsError):
                (self._folder / f"{number}{_ENDING}").touch(exist_ok=False)
                return True
        return False


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(9)


def _segfault() -> None:
    ctypes.string_at(0)  # a null pointer


def _freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _take_memory() -> None:
    taken = []
    while True:
        taken.append(b"x" * _N_BYTES)
        time.sleep(_PAUSE_S)


def _hang() -> None:
    while True:
        time.sleep(1.0)


def _raise() -> None:
    msg = "a fault of daskkit.testing"
    raise RuntimeError(msg)


#: What a fault does, by its name.
KINDS: dict[str, Callable[[], None]] = {
    "kill": _kill,
    "exit": _exit,
    "segfault": _segfault,
    "freeze": _freeze,
    "memory": _take_memory,
    "hang": _hang,
    "raise": _raise,
}
