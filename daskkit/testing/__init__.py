"""Faults to try on your own functions, and a watch for what is left behind.

`daskkit.testing.plugin` makes pytest fixtures of them; nothing else here needs pytest.
"""

from __future__ import annotations

from daskkit.testing.faults import KINDS, Faulty
from daskkit.testing.leaks import LeakWatch, adopt_orphans
from daskkit.testing.program import Program

__all__ = ["KINDS", "Faulty", "LeakWatch", "Program", "adopt_orphans"]
