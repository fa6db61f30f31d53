"""Run benchmarks by name, or all of them: ``python benchmarks/run.py [NAME ...]``.

A benchmark is a file in this folder with a ``main()`` that prints ratios; it may return
an exit status as `sys.exit` takes it. Absolute times are one machine's; a ratio counts.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import daskkit as dk

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = Path(__file__).resolve().parent


def find_benchmarks() -> dict[str, Path]:
    """Return the files of this folder by name, this runner left out."""
    paths = sorted(FOLDER.glob("*.py"))
    return {path.stem: path for path in paths if path != Path(__file__).resolve()}


def import_benchmark(name: str, path: Path) -> ModuleType:
    """Return a benchmark's module, importable by its name in worker processes too."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run_benchmark(name: str, path: Path) -> bool:
    """Run one benchmark under a heading; return whether it went well."""
    print(f"== {name}", flush=True)
    began = time.perf_counter()
    try:
        status = import_benchmark(name, path).main()
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except Exception:  # noqa: BLE001 - one that fails must not end the others
        traceback.print_exc()
        status = 1
    print(f"   ({time.perf_counter() - began:.0f} s)\n", flush=True)
    return not (isinstance(status, (int, str)) and status)


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all; return 0 if all went well, 1 or 2 if not."""
    found = find_benchmarks()
    unknown = [name for name in names if name not in found]
    if unknown:
        print(
            f"unknown benchmark {unknown[0]!r}; available: {', '.join(found)}",
            file=sys.stderr,
        )
        return 2
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(
        f"{dk.usable_cores()} usable cores, load {load}: a quiet machine tells most\n"
    )
    chosen = names or list(found)
    sys.argv = sys.argv[:1]  # a benchmark that reads arguments gets none of ours
    failed = [name for name in chosen if not run_benchmark(name, found[name])]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
