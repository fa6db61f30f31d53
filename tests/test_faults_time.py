"""Work that takes long, a lock that nobody gives away, and clocks that jump."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

import pytest

import daskkit as dk

_HELD_S = 40 if "DASKKIT_CHAOS" in os.environ else 2


def _hold_the_lock(x):
    if x == 3:
        ctypes.PyDLL(None).sleep(_HELD_S)  # unlike CDLL, it keeps the GIL
    return x


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform == "win32", reason="`sleep` is of the C library")
def test_item_that_holds_the_lock_finishes(shared_client):
    """Its worker says nothing to anybody for so long, and is not taken for dead."""
    assert dk.map(_hold_the_lock, range(20), where="cluster") == list(range(20))
    assert shared_client.gather(
        shared_client.map(_hold_the_lock, range(5), pure=False)
    ) == list(range(5))


def _jump(hours):
    """Let a process believe that it is earlier or later; what has been imported, too."""
    real = time.time
    module = sys.modules["distributed.metrics"]
    if not hasattr(module, "_test_real"):
        module._test_real = (real, module.time)
    real, known = module._test_real

    def jumped():
        return real() + hours * 3600

    fakes = [value for value in (known, getattr(module, "_test_fake", None)) if value]
    module._test_fake = jumped
    time.time = real if hours == 0 else jumped
    for one in list(sys.modules.values()):
        name = getattr(one, "__name__", "")
        if name.startswith("distributed") and getattr(one, "time", None) in fakes:
            one.time = known if hours == 0 else jumped


def _busy(x):
    total = 0
    for i in range(30_000):
        total += i
    return x


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, -1])
def test_clock_that_jumps_changes_nothing(hours):
    """An hour forth or back, in all processes, amid a call and before the next."""
    with dk.cluster(n_workers=2) as client:
        client.submit(abs, 1).result()

        def jump_everywhere():
            _jump(hours)
            client.run(_jump, hours)

        timer = threading.Timer(0.2, jump_everywhere)
        timer.start()
        try:
            assert dk.map(_busy, range(1_000), where="cluster") == list(range(1_000))
            timer.join()
            assert dk.map(_busy, range(500), where="cluster", timeout=30) == list(
                range(500)
            )
            assert client.submit(abs, -2).result() == 2
            assert len(client.nthreads()) == 2
        finally:
            timer.join()
            _jump(0)
