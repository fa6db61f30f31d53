"""For how much of its time the calling thread holds the GIL, as another one sees it."""

from __future__ import annotations

import math
import time

from daskkit.run.clocks import read_cpu_s, read_state
from daskkit.run.switching import INTERVAL_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from daskkit.run.known import Known
    from daskkit.run.pilot import Pilot

__all__ = ["find_gil_share", "measure_gil_share"]

_PROBES, _MOST_PROBES = 6, 24
_STARVED_S = 0.005
_PROBE_S = 0.0002
# Threads bring nothing to speak of where items hold the GIL for so much of their time.
_HOLDS_GIL = 0.87


def find_gil_share(pilot: Pilot, known: Known, item_s: float) -> float:
    """Measure for how much of their time a call's items hold the GIL; note it.

    Parameters
    ----------
    pilot : Pilot
        Of the call, whose calling thread executes items.
    known : Known
        What is known of the function.
    item_s : float
        Seconds of an item.

    Returns
    -------
    float
        As `measure_gil_share`.
    """
    share = measure_gil_share(pilot.thread_id, pilot.native_id)
    if not math.isnan(share):
        pilot.gil_share = share
        known.note_gil_share(item_s, share)
        if share > _HOLDS_GIL:
            known.note_failure(item_s)
    return share


def measure_gil_share(thread_id: int, native_id: int) -> float:
    """Return the share of its time in which a thread of this process holds the GIL.

    A thread that wakes up while nobody holds the GIL goes on at once; otherwise it
    waits until the other one lets go, at most the switch interval; or much longer if
    that one lets go for a moment again and again, which is as good as never. It tells
    nothing if the other one had no core meanwhile, on a busy machine. Takes 2 to 25 ms;
    call it within `switching.quick_switching`.

    Parameters
    ----------
    thread_id, native_id : int
        The other one's `threading.Thread.ident` and `threading.Thread.native_id`.

    Returns
    -------
    float
        Between 0 and 1; NaN if it could not be found out.
    """
    late, n_seen = 0.0, 0
    cpu_s = read_cpu_s(thread_id)
    for _ in range(_MOST_PROBES):
        began = time.perf_counter()
        time.sleep(_PROBE_S)
        waited = time.perf_counter() - began - _PROBE_S
        # Waking up takes some 0.06 ms by itself.
        lateness = min(1.0, max(0.0, waited / INTERVAL_S - 0.3) / 0.7)
        before_s, cpu_s = cpu_s, read_cpu_s(thread_id)
        if waited > _STARVED_S and cpu_s - before_s > waited / 2:
            return 1.0
        if lateness or cpu_s != before_s or read_state(native_id) != "R":
            late += lateness
            n_seen += 1
            if n_seen == _PROBES:
                break
    return late / n_seen if n_seen >= _PROBES / 2 else math.nan
