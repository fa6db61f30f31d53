"""Programs of daskkit's users that are to end badly."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from daskkit import testing

if TYPE_CHECKING:
    from pathlib import Path

#: A millisecond of pure Python for each item, and what scripts use.
PREAMBLE = """
import os, signal, sys, threading, time
import daskkit as dk
def busy(x):
    total = 0
    for i in range(15_000):
        total += i
    return x
def say(*words):
    print(*words, flush=True)
"""


class Program(testing.Program):
    """A program that begins with `PREAMBLE`."""

    def __init__(self, code: str, folder: Path, **options: Any) -> None:
        super().__init__(PREAMBLE + textwrap.dedent(code), folder, **options)


def read_errors(program: Program) -> str:
    """Return what it wrote to stderr, but for a Ctrl-C that Python itself has dropped.

    It comes to whatever the main thread executes, and from a callback, such as that of
    garbage collection, no exception gets out.
    """
    return re.sub(
        r"Exception ignored in: .*\nTraceback.*\n(  .*\n|\n)*KeyboardInterrupt: *\n+",
        "",
        program.errors,
    )
