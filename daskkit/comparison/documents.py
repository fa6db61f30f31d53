"""A comparison's file: JSON with a kind and a format, and the records in it.

Knows the records, and nothing of what is said of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskkit.accounts import Stamp, Trace
from daskkit.errors import DaskkitError
from daskkit.files import check_writable, write_text
from daskkit.records import Host, Repeat, Run

if TYPE_CHECKING:
    import os

__all__ = [
    "check_report_path",
    "load_document",
    "read_host",
    "read_run",
    "save_document",
]

_KIND = "daskkit comparison"
_FORMAT = 1


def save_document(path: str | os.PathLike[str], comparison: Any, **more: Any) -> Path:
    """Write the file that `load` reads.

    Parameters
    ----------
    path : str or path-like
        Replaced if it exists.
    comparison : Comparison
        What is measured.
    **more : object
        What `load` leaves alone: plain data.

    Returns
    -------
    pathlib.Path
        The file.
    """
    document = {
        "kind": _KIND,
        "format": _FORMAT,
        "comparison": dataclasses.asdict(comparison),
        **more,
    }
    text = json.dumps(_without_nan(document), indent=1, allow_nan=False)
    return write_text(path, text + "\n")


def load_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `save_document` has written, as plain data.

    Parameters
    ----------
    path : str or path-like
        The file. Nothing in it is executed.

    Returns
    -------
    dict

    Raises
    ------
    DaskkitError
        If the file can't be read, or holds something else.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror or error}"
        raise DaskkitError(msg) from error
    except ValueError as error:
        msg = f"{path} is not a saved comparison: it is not JSON ({error})"
        raise DaskkitError(msg) from error
    if not isinstance(document, dict) or document.get("kind") != _KIND:
        msg = f"{path} is not a saved comparison; write one by comparison.save(path)"
        raise DaskkitError(msg)
    if document.get("format") != _FORMAT:
        msg = (
            f"{path} has format {document.get('format')!r}, this daskkit reads format "
            f"{_FORMAT}; use the version of daskkit that wrote it, or a newer one"
        )
        raise DaskkitError(msg)
    return document


def check_report_path(
    path: str | os.PathLike[str], suffixes: tuple[str, ...] = (".html", ".json")
) -> Path:
    """Return a path to which a comparison can be saved, or raise.

    Parameters
    ----------
    path : str or path-like
        Where to save.
    suffixes : tuple of str
        Endings that are allowed.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DaskkitError
        If it has another ending, is a directory, or can't be written.
    """
    target = check_writable(path, f"report{suffixes[0]}")
    if target.suffix not in suffixes:
        msg = (
            f"a comparison can't be saved as {target.name!r}: the name must end in "
            f"{' or '.join(suffixes)}"
        )
        raise DaskkitError(msg)
    return target


def read_host(fields: dict[str, Any]) -> Host:
    """Return the record of a machine from plain data, with NaN for None."""
    return Host(**_with_nan(dict(fields), Host))


def read_run(fields: dict[str, Any]) -> Run:
    """Return the record of a run from plain data, with NaN for None."""
    repeats = tuple(Repeat(**repeat) for repeat in fields["repeats"])
    # Files of earlier versions have none.
    traces = {
        name: None if fields.get(name) is None else _read_trace(fields[name])
        for name in ("trace", "cold_trace")
    }
    return Run(**{**_with_nan(fields, Run), "repeats": repeats, **traces})


def _read_trace(fields: dict[str, Any]) -> Trace:
    stamps = tuple(Stamp(**stamp) for stamp in fields["stamps"])
    counted = tuple((name, seconds) for name, seconds in fields.get("counted", ()))
    fields = _with_nan(fields, Trace)
    return Trace(**{**fields, "stamps": stamps, "counted": counted})


def _with_nan(fields: dict[str, Any], record: type) -> dict[str, Any]:
    """Return fields with NaN for the null of those that are floats."""
    floats = {f.name for f in dataclasses.fields(record) if f.type == "float"}
    return {
        name: math.nan if value is None and name in floats else value
        for name, value in fields.items()
    }


def _without_nan(value: Any) -> Any:
    """Return a document in which null stands for NaN, which JSON doesn't know."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
