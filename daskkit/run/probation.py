"""Whether threads bring what they promised: pure arithmetic."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SHORT_S", "Probation", "judge"]

#: Threads have had their chance after so many seconds, if the case is clear.
SHORT_S = 0.04
# And in any case, as soon as enough items are done, after so long.
_LONG_S = 0.12
_ENOUGH_S = 1.0
# What they have to bring at least, and what settles it at once.
_SPEEDUP, _HOPELESS = 1.15, 0.8


class Probation(NamedTuple):
    """What was known when threads began."""

    #: When that was, in seconds.
    began_s: float
    #: Items done by then.
    n_done: int
    #: Wall time of an item in the caller, in seconds.
    item_s: float
    #: Whether items compute, and don't wait, for most of it.
    needs_cpu: bool
    #: CPU seconds of the process by then.
    cpu_s: float


def judge(
    before: Probation, n_done: int, n_threads: int, now_s: float, cpu_s: float
) -> bool | None:
    """Return whether threads may go on.

    Parameters
    ----------
    before : Probation
        What was known before.
    n_done : int
        Items that are done now.
    n_threads : int
        Threads that execute them.
    now_s, cpu_s : float
        The time, and the CPU seconds of the process, now.

    Returns
    -------
    bool or None
        None if that can't be said yet.

    Notes
    -----
    Each thread is amid an item, half of which it has done on average, as the caller had
    of its own when they began. Threads that keep several cores busy don't wait for the
    GIL: if they are slow all the same, their memory may have been new, and their next
    items will be quicker.

    Examples
    --------
    >>> before = Probation(0.0, n_done=2, item_s=0.01, needs_cpu=True, cpu_s=0.0)
    >>> judge(before, n_done=9, n_threads=2, now_s=0.04, cpu_s=0.078)
    True
    >>> judge(before, n_done=9, n_threads=2, now_s=0.04, cpu_s=0.041)
    False
    """
    wall_s = now_s - before.began_s
    n_new = n_done - before.n_done
    if n_new < 2 * (n_threads + 1) and wall_s < _ENOUGH_S:
        return None
    speedup = (n_new + (n_threads - 1) / 2) * before.item_s / wall_s
    if not before.needs_cpu:
        return speedup >= _SPEEDUP
    # On a busy machine the pilot's items took longer than they should have, but threads
    # that hold the GIL never use more than one core.
    n_cores = (cpu_s - before.cpu_s) / wall_s
    if n_cores < _SPEEDUP or speedup < _HOPELESS:
        return False
    if speedup >= _SPEEDUP:
        return True
    return False if wall_s > _LONG_S else None
