"""`map_partitions` and `read_files`: a frame in parts, and many files in one frame."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from daskkit.arguments import check_whole, name_of
from daskkit.errors import ArgumentError
from daskkit.loop import short_repr
from daskkit.run.work import Work, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.run.work import Options

__all__ = ["describe_files", "describe_partitions", "map_partitions", "read_files"]

# By default so many parts at most: enough for any balance on a machine, and large
# enough that what a part costs by itself doesn't show.
_MOST_PARTS = 64


def map_partitions(
    frame: Any,
    func: Callable[[Any], Any],
    *,
    npartitions: int | None = None,
    **options: Unpack[Options],
) -> Any:
    """Return ``func(part)`` for consecutive rows of a frame, put together again.

    Parameters
    ----------
    frame : pandas.DataFrame or pandas.Series
        Cut by rows, as evenly as can be.
    func : callable
        ``func(part)``; a part has the type, the columns and a slice of the index of
        `frame`, and is private to the call.
    npartitions : int, optional
        How many parts; never more than rows. By default 64: the cut depends on the
        frame alone, never on where it is executed.
    **options
        ``where``, ``batch_size``, ``progress``, ``retries``, ``timeout`` and ``name``,
        as for `map`.

    Returns
    -------
    pandas.DataFrame, pandas.Series or list
        ``pandas.concat`` of the results if all are frames or Series; else their list.

    Raises
    ------
    ArgumentError
        If `frame` is no frame, or an option can't be used.
    Exception
        What `func` raised, with a note that names the rows.

    Notes
    -----
    Computes at once; starts threads and processes as `map` does. Without rows `func` is
    called once, with all of the frame.

    Examples
    --------
    >>> frame = pd.DataFrame({"a": [3, 1, 2]})
    >>> map_partitions(frame, lambda part: part[part.a > 1], npartitions=2)
       a
    0  3
    2  2
    """
    return execute(describe_partitions(frame, func, npartitions), **options)


def describe_partitions(
    frame: Any, func: Callable[[Any], Any], npartitions: int | None = None
) -> Work:
    """Return the work of `map_partitions`, not yet executed.

    Parameters
    ----------
    frame, func, npartitions
        As for `map_partitions`.

    Returns
    -------
    Work

    Examples
    --------
    >>> describe_partitions(pd.Series(range(5)), len, npartitions=2).items
    [(0, 2), (2, 5)]
    """
    if not isinstance(frame, (pd.DataFrame, pd.Series)):
        msg = (
            "map_partitions takes a DataFrame or a Series, received "
            f"{short_repr(frame)} of type {type(frame).__name__}; for arrays use "
            "daskkit.map_blocks, for other sequences daskkit.map"
        )
        raise ArgumentError(msg)
    n_rows = len(frame)
    if npartitions is None:
        npartitions = _MOST_PARTS
    else:
        npartitions = check_whole(npartitions, "npartitions", 1, optional=True)
    n_parts = max(1, min(npartitions, n_rows))
    edges = [n_rows * i // n_parts for i in range(n_parts + 1)]

    def describe(index: int, item: Any) -> str:
        return f"partition {index} (rows {item[0]} to {item[1] - 1})"

    items = list(itertools.pairwise(edges))
    part = _Part(frame, func) if callable(func) else func  # which is refused later
    return Work(name_of(func), part, items, finish=_join, describe=describe)


def read_files(
    paths: Any,
    reader: Callable[[Any], Any] | None = None,
    combine: Callable[[list[Any]], Any] | None = None,
    **options: Unpack[Options],
) -> Any:
    r"""Return the contents of many files as one frame.

    Parameters
    ----------
    paths : str, os.PathLike or iterable of these
        A pattern such as ``"data/*.csv"``, whose files are taken in the order of their
        names, or the files, in their order.
    reader : callable, optional
        ``reader(path)``, such as ``functools.partial(pandas.read_csv, sep=";")``. By
        default pandas' own for the ending of the first file: ``.csv``, ``.tsv``,
        ``.json`` (``.jsonl`` and ``.ndjson``: a line a record), ``.parquet``,
        ``.feather``, ``.xlsx`` or ``.pkl``, also compressed.
    combine : callable, optional
        ``combine(frames)``, called here with the list of what was read, in order. By
        default ``pandas.concat`` with an index of its own.
    **options
        As for `map_partitions`.

    Returns
    -------
    object
        What `combine` returns; by default a DataFrame.

    Raises
    ------
    ArgumentError
        If no file matches, a file is missing, or nobody knows how to read it.
    Exception
        What `reader` raised, with a note that names the file.

    Notes
    -----
    Computes at once; starts threads and processes as `map` does.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for n in range(3):
    ...         _ = pathlib.Path(folder, f"{n}.csv").write_text(f"n\n{n}\n")
    ...     read_files(f"{folder}/*.csv")
       n
    0  0
    1  1
    2  2
    """
    return execute(describe_files(paths, reader, combine), **options)


def describe_files(
    paths: Any,
    reader: Callable[[Any], Any] | None = None,
    combine: Callable[[list[Any]], Any] | None = None,
) -> Work:
    """Return the work of `read_files`, not yet executed.

    Parameters
    ----------
    paths, reader, combine
        As for `read_files`.

    Returns
    -------
    Work
    """
    files = _find_files(paths)
    if reader is None:
        reader = _find_reader(files[0])
    for value, what in ((reader, "reader"), (combine, "combine")):
        if value is not None and not callable(value):
            msg = (
                f"{what} must be callable or None, received {short_repr(value)} of "
                f"type {type(value).__name__}"
            )
            raise ArgumentError(msg)

    def describe(index: int, item: Any) -> str:
        return f"file {index} ({str(item)!r})"

    finish = _concatenate if combine is None else combine
    return Work(name_of(reader), reader, files, finish=finish, describe=describe)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Cuts rows from a shared frame and calls the function with them."""

    frame: Any
    func: Callable[[Any], Any]

    def __call__(self, item: tuple[int, int]) -> Any:
        """Return the function's result for the rows between two positions."""
        rows = self.frame.iloc[item[0] : item[1]]
        # Copied before it is written to (pandas 3), or private to the process at least.
        return self.func(rows)


def _join(results: list[Any]) -> Any:
    """Return results as one frame if they are frames."""
    if all(isinstance(result, (pd.DataFrame, pd.Series)) for result in results):
        return pd.concat(results)
    return results


def _concatenate(frames: list[Any]) -> Any:
    return pd.concat(frames, ignore_index=True)


def _find_files(paths: Any) -> Sequence[Any]:
    """Return the files that are meant, all of which exist, or raise ArgumentError."""
    if isinstance(paths, (str, os.PathLike)):
        pattern = os.fspath(paths)
        # Not Path.glob, which takes no absolute pattern.
        files: list[Any] = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        if not files:
            msg = f"no file matches {pattern!r} (in the folder {str(Path.cwd())!r})"
            raise ArgumentError(msg)
        return files
    if not isinstance(paths, Iterable):
        msg = (
            "paths must be a pattern or an iterable of paths, received "
            f"{short_repr(paths)} of type {type(paths).__name__}"
        )
        raise ArgumentError(msg)
    files = list(paths)
    if not files:
        msg = "paths are empty: at least one file is needed"
        raise ArgumentError(msg)
    for path in files:
        if not isinstance(path, (str, os.PathLike)):
            msg = (
                f"each path must be a string or a path, received {short_repr(path)} of "
                f"type {type(path).__name__}"
            )
            raise ArgumentError(msg)
        is_remote = "://" in str(path)
        if not is_remote and not Path(path).exists():
            msg = f"there is no file {str(path)!r} (in the folder {str(Path.cwd())!r})"
            raise ArgumentError(msg)
    return files


_READERS: dict[str, Callable[[Any], Any]] = {
    ".csv": pd.read_csv,
    ".feather": pd.read_feather,
    ".json": pd.read_json,
    ".parquet": pd.read_parquet,
    ".pkl": pd.read_pickle,
    ".xlsx": pd.read_excel,
}


def _read_tsv(path: Any) -> Any:
    return pd.read_csv(path, sep="\t")


def _read_lines(path: Any) -> Any:
    return pd.read_json(path, lines=True)


_READERS |= {".jsonl": _read_lines, ".ndjson": _read_lines, ".tsv": _read_tsv}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def _find_reader(path: Any) -> Callable[[Any], Any]:
    """Return pandas' function for the ending of a file."""
    file = Path(str(path).lower())
    ending = Path(file.stem).suffix if file.suffix in _COMPRESSED else file.suffix
    if ending not in _READERS:
        msg = (
            f"nobody knows how to read {str(path)!r}; pass reader, such as "
            f"pandas.read_csv, or use one of the endings {', '.join(sorted(_READERS))}"
        )
        raise ArgumentError(msg)
    return _READERS[ending]
