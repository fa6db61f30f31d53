"""Sample `words`: a word count of Python's standard library.

Which words does it use, how often? The classic map-reduce: each file becomes a
`Counter`, and Counters merge in any order. Items are paths, so that workers read the
files themselves: hardly anything is sent there, but tens of thousands of words come
back. Files are uneven, from empty to over half a megabyte. Text doesn't vectorise well:
the form in NumPy treats it as one array of bytes.

Data: the Python files of the interpreter's own standard library (PSF licence), its
tests included where they are installed. Paths mean the same only on a machine with the
same Python in the same place.
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from daskkit.errors import WorkloadError
from daskkit.records import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "SIZES",
    "SUMMARY",
    "count_words",
    "count_words_at_once",
    "find_sources",
    "make_workload",
    "merge_counts",
]

SUMMARY: Final = "words in Python's standard library (map-reduce over files)"

#: Whether to look into the folders of the standard library's folder, too.
SIZES: Final[Mapping[str, bool]] = {"small": False, "full": True}

# A word is a run of ASCII letters; identifiers fall apart at underscores and digits.
_WORD: Final = re.compile("[a-z]+")

# Folders to keep out of: installed packages aren't the standard library, and may be
# many times larger.
_FOREIGN: Final = frozenset({"__pycache__", "site-packages", "dist-packages"})

# Bytes that fit into an integer, which sorts and hashes much faster than a string.
_WORD_BYTES: Final = 8


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is a Counter of lower-case words.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`: the modules at the top only (about 170 files, 4.7 MB), or all
        files (about 1,800 and 31 MB).

    Returns
    -------
    Workload
        Counts are integers, so that the answers are compared exactly.

    Raises
    ------
    WorkloadError
        If this Python has no standard library in files.
    """
    return Workload(
        name="words",
        func=count_words,
        items=find_sources(deep=SIZES[size]),
        combine=merge_counts,
        vectorized=count_words_at_once,
    )


def find_sources(*, deep: bool) -> list[str]:
    """Return the paths of the standard library's own source files.

    Parameters
    ----------
    deep : bool
        Whether to look into folders, too, or only at the top.

    Returns
    -------
    list of str
        Absolute paths, sorted; without installed packages.

    Raises
    ------
    WorkloadError
        If there is none.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = []
    for folder, subfolders, files in os.walk(root):
        # Pruned in place, for os.walk to see.
        subfolders[:] = [name for name in subfolders if deep and name not in _FOREIGN]
        paths += [str(Path(folder, name)) for name in files if name.endswith(".py")]
    if not paths:
        msg = (
            f"No Python files in the standard library's folder {str(root)!r}; this "
            "Python keeps them elsewhere, such as in a zip file; use another sample"
        )
        raise WorkloadError(msg)
    return sorted(paths)


def count_words(path: str) -> Counter[str]:
    """Return how often each word occurs in a file.

    Parameters
    ----------
    path : str
        A text file.

    Returns
    -------
    collections.Counter of str
        Words in lower case.
    """
    # Some tests are in odd encodings on purpose. Latin-1 reads any byte, and leaves
    # the ASCII letters what they are.
    text = Path(path).read_text(encoding="latin-1")
    return Counter(_WORD.findall(text.lower()))


def merge_counts(counts: list[Counter[str]]) -> Counter[str]:
    """Return the sum of Counters; an empty one for none.

    Parameters
    ----------
    counts : list of collections.Counter
        In any order, themselves sums or not; none is changed.

    Returns
    -------
    collections.Counter

    Examples
    --------
    >>> merge_counts([Counter("aab"), Counter("bc")]) == Counter("aabbc")
    True
    """
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return total


def count_words_at_once(items: Sequence[str]) -> Counter[str]:
    """Return how often each word occurs in all files, in NumPy and pandas.

    Parameters
    ----------
    items : sequence of str
        Paths of text files.

    Returns
    -------
    collections.Counter of str
        What the loop returns.

    Notes
    -----
    Computes on one core. All text becomes one array of bytes, in which words of the
    same length are counted together. ``pandas.Series(words).value_counts()`` would be
    shorter, but no faster than the loop: nearly all of its time goes to making the
    list of words.
    """
    # The last line break ends the last word; without one, edges would be odd.
    text = b"".join(Path(path).read_bytes() + b"\n" for path in items).lower()
    letters = np.frombuffer(text, dtype=np.uint8)
    is_letter = (letters >= ord("a")) & (letters <= ord("z"))
    edges = np.flatnonzero(np.diff(is_letter, prepend=False))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    counts: Counter[str] = Counter()
    for length in np.unique(lengths).tolist():
        windows = np.lib.stride_tricks.sliding_window_view(letters, length)
        counts.update(_count_rows(windows[starts[lengths == length]]))
    return counts


def _count_rows(words: NDArray[np.uint8]) -> dict[str, int]:
    """Return how often each row of bytes occurs, all rows being words of one length."""
    n, length = words.shape
    distinct: NDArray[Any]
    counts: NDArray[Any]
    if length > _WORD_BYTES:
        strings = np.ascontiguousarray(words).view(f"S{length}").ravel()
        distinct, counts = np.unique(strings, return_counts=True)
    else:
        padded = np.zeros((n, _WORD_BYTES), dtype=np.uint8)
        padded[:, :length] = words
        numbers = pd.Series(padded.view(np.uint64).ravel()).value_counts()
        distinct = numbers.index.to_numpy().view(f"S{_WORD_BYTES}")
        counts = numbers.to_numpy()
    return dict(zip(distinct.astype(str).tolist(), counts.tolist(), strict=True))
