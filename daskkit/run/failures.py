"""The records of items that failed, and of results with failures among them.

Part of `run`; how an exception travels is the matter of `exceptions`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Failure", "Results", "format_note"]


def format_note(what: str, where: str, n_done: int, n_items: int | None) -> str:
    """Return the note that tells which item raised an exception.

    Parameters
    ----------
    what : str
        The item, such as ``"item 37 (value 37)"``.
    where : str
        The process or thread that ran it.
    n_done : int
        Items that had finished.
    n_items : int or None
        Items in all; None if nobody knows.

    Returns
    -------
    str

    Examples
    --------
    >>> format_note("row 37 ('x')", "worker 127.0.0.1:43411 (pid 77)", 36, 400)
    "raised by row 37 ('x') in worker 127.0.0.1:43411 (pid 77); 36 of 400 items had
    finished"
    >>> format_note("item 0 (value 'a')", "this process", 1, None)
    "raised by item 0 (value 'a') in this process; 1 item had finished"
    """
    total = n_done if n_items is None else n_items
    of_all = "" if n_items is None else f" of {n_items}"
    items = "item" if total == 1 else "items"
    return f"raised by {what} in {where}; {n_done}{of_all} {items} had finished"


@dataclasses.dataclass(frozen=True, repr=False)
class Failure:
    """What became of an item whose function raised; stands where its result would.

    Parameters
    ----------
    index : int
        Index of the item in the whole input.
    item : str
        The item, as text of one short line.
    error : BaseException
        What was raised, with its traceback; ``raise failure.error`` raises it again.
    where : str
        The process or thread that ran it, such as ``worker 127.0.0.1:43411 (pid 77)``
        or ``this process``.
    attempts : int
        How often it was tried, at least 1.

    Notes
    -----
    It can be pickled, whatever the exception is.

    Examples
    --------
    >>> Failure(37, "37", ZeroDivisionError("division by zero"), "this process", 1)
    <Failure of item 37 (value 37): ZeroDivisionError: division by zero>
    """

    index: int
    item: str
    error: BaseException
    where: str
    attempts: int

    def __repr__(self) -> str:
        message = _first_line(self.error)
        kind = type(self.error).__name__ + (f": {message}" if message else "")
        return f"<Failure of item {self.index} (value {self.item}): {kind}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from daskkit.run.exceptions import dump_error

        data = dump_error(self.error)
        return _load_failure, (self.index, self.item, data, self.where, self.attempts)


class Results(list[Any]):
    """A list of results in the order of the items, failures included.

    Parameters
    ----------
    items : iterable, optional
        Results, and a `Failure` in the place of each that there isn't.

    Examples
    --------
    >>> failure = Failure(1, "0", ZeroDivisionError("by zero"), "this process", 1)
    >>> results = Results([0.5, failure, 0.25])
    >>> results[0], results.ok, results.failures
    (0.5, False, [<Failure of item 1 (value 0): ZeroDivisionError: by zero>])
    >>> print(results.table().to_string(index=False))
    index item             error message        where attempts
        1    0 ZeroDivisionError by zero this process        1
    """

    __slots__ = ()

    @property
    def failures(self) -> list[Failure]:
        """The failures, in the order of the items.

        Examples
        --------
        >>> Results([1, 2]).failures
        []
        """
        return [result for result in self if isinstance(result, Failure)]

    @property
    def ok(self) -> bool:
        """Whether no item has failed.

        Examples
        --------
        >>> Results([1, 2]).ok
        True
        """
        return not any(isinstance(result, Failure) for result in self)

    def table(self) -> pd.DataFrame:
        """Return one row for each failure.

        Returns
        -------
        pandas.DataFrame
            Its columns: ``index`` and ``attempts``, integers; ``item``, ``error`` (name
            of its type), ``message`` (first line) and ``where``, strings.

        Examples
        --------
        >>> Results([1, 2]).table().columns.tolist()
        ['index', 'item', 'error', 'message', 'where', 'attempts']
        """
        import pandas as pd

        failures = self.failures
        errors = [failure.error for failure in failures]
        columns: dict[str, tuple[list[Any], str]] = {
            "index": ([failure.index for failure in failures], "int64"),
            "item": ([failure.item for failure in failures], "str"),
            "error": ([type(error).__name__ for error in errors], "str"),
            "message": ([_first_line(error) for error in errors], "str"),
            "where": ([failure.where for failure in failures], "str"),
            "attempts": ([failure.attempts for failure in failures], "int64"),
        }
        return pd.DataFrame(
            {
                name: pd.Series(values, dtype=dtype)
                for name, (values, dtype) in columns.items()
            }
        )


def _load_failure(
    index: int, item: str, data: bytes, where: str, attempts: int
) -> Failure:
    from daskkit.run.exceptions import load_error

    return Failure(index, item, load_error(data), where, attempts)


def _first_line(error: BaseException) -> str:
    from daskkit.run.pickles import text_of

    return next(iter(text_of(error).splitlines()), "")
