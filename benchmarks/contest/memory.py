"""How much memory processes take at most while something runs."""

from __future__ import annotations

import contextlib
import threading


def tree_pss():
    """Return PSS of this process and all below it, in bytes."""
    import psutil

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    total_bytes = 0
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            total_bytes += process.memory_full_info().pss
    return total_bytes


@contextlib.contextmanager
def watch_peak(measure=tree_pss, interval_s=0.02):
    """Yield a list that holds the highest of what `measure` returns meanwhile."""
    peak, stop = [measure()], threading.Event()

    def watch():
        while not stop.wait(interval_s):
            peak[0] = max(peak[0], measure())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
