"""Is a result the loop's? Comparisons that name the first difference.

Bottom layer, beside the records. Pandas and NumPy are recognised without being
imported: a check that meets neither costs neither.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from daskkit.errors import CheckError
from daskkit.loop import short_repr

__all__ = ["check_close", "check_equal"]


def check_equal(result: Any, expected: Any) -> None:
    """Raise CheckError unless two results are the same: type, values and order.

    Lists, tuples, dicts and sets are compared element by element, arrays by dtype,
    shape and values, pandas objects by index, columns, dtypes, names and values.
    NaN equals NaN, a dict's order does not count. Computes here; starts nothing.

    Parameters
    ----------
    result, expected : object
        What a back end returned and what the plain loop returned.

    Raises
    ------
    CheckError
        At the first difference, naming where it is and both values.

    Examples
    --------
    >>> check_equal([1, float("nan")], [1, float("nan")])
    >>> check_equal({"a": [1, 2]}, {"a": [1, 3]})
    Traceback (most recent call last):
        ...
    daskkit.errors.CheckError: result['a'][1] is 2, the plain loop's is 3
    """
    _compare(result, expected, "result", 0.0, 0.0)


def check_close(*, rtol: float = 1e-9, atol: float = 0.0) -> Callable[[Any, Any], None]:
    """Return a check that allows floating-point numbers to differ a little.

    A sum's last digits depend on the order of its terms, and so on the partitioning.
    All else is compared as by `check_equal`.

    Parameters
    ----------
    rtol : float, default 1e-9
        Relative tolerance, at least 0.
    atol : float, default 0
        Absolute tolerance, at least 0, in the units of the result.

    Returns
    -------
    callable
        ``check(result, expected)``; passes where
        ``abs(result - expected) <= atol + rtol * abs(expected)``, and can be pickled.

    Raises
    ------
    ValueError
        If a tolerance is negative or NaN.

    Examples
    --------
    >>> check_close(rtol=1e-6)(1.0000001, 1.0)
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            msg = f"{name} must be at least 0, received {value!r}"
            raise ValueError(msg)
    return _CheckClose(rtol, atol)


class _CheckClose:
    """A check with tolerances; a class, so that it can be pickled by name."""

    def __init__(self, rtol: float, atol: float) -> None:
        self.rtol = rtol
        self.atol = atol

    def __call__(self, result: Any, expected: Any) -> None:
        _compare(result, expected, "result", self.rtol, self.atol)

    def __repr__(self) -> str:
        return f"check_close(rtol={self.rtol!r}, atol={self.atol!r})"


def _compare(result: Any, expected: Any, where: str, rtol: float, atol: float) -> None:
    """Compare two values at the path `where`, children first to last."""
    if type(result) is not type(expected):
        _differ(
            f"{where} is of type {_type_name(result)}, "
            f"the plain loop's of type {_type_name(expected)}"
        )
    if isinstance(expected, Mapping):
        _compare_mappings(result, expected, where, rtol, atol)
    elif isinstance(expected, (list, tuple)):
        if len(result) != len(expected):
            _differ(
                f"{where} has length {len(result)}, the plain loop's {len(expected)}"
            )
        for i, (one, other) in enumerate(zip(result, expected, strict=True)):
            _compare(one, other, f"{where}[{i}]", rtol, atol)
    elif _is_from("pandas", expected, ("DataFrame", "Series", "Index")):
        _compare_pandas(result, expected, where, rtol, atol)
    elif _is_from("numpy", expected, ("ndarray",)):
        _compare_arrays(result, expected, where, rtol, atol)
    elif not _same_scalar(result, expected, rtol, atol):
        _differ_in_value(result, expected, where)


def _compare_mappings(
    result: Mapping[Any, Any],
    expected: Mapping[Any, Any],
    where: str,
    rtol: float,
    atol: float,
) -> None:
    for key in expected:
        if key not in result:
            _differ(f"{where} lacks the key {short_repr(key)}")
    for key in result:
        if key not in expected:
            _differ(f"{where} has the key {short_repr(key)}, the plain loop's has not")
    for key, value in expected.items():
        _compare(result[key], value, f"{where}[{key!r}]", rtol, atol)


def _compare_arrays(
    result: Any, expected: Any, where: str, rtol: float, atol: float
) -> None:
    import numpy as np

    for field in ("dtype", "shape"):
        if getattr(result, field) != getattr(expected, field):
            _differ(
                f"{where} has {field} {getattr(result, field)}, "
                f"the plain loop's {getattr(expected, field)}"
            )
    if expected.dtype.names:
        for name in expected.dtype.names:
            field = f"{where}[{name!r}]"
            _compare_arrays(result[name], expected[name], field, rtol, atol)
        return
    if expected.dtype.hasobject:
        _compare(result.tolist(), expected.tolist(), where, rtol, atol)
        return
    if isinstance(expected, np.ma.MaskedArray):
        _compare_arrays(
            np.ma.getmaskarray(result),
            np.ma.getmaskarray(expected),
            f"{where}.mask",
            0.0,
            0.0,
        )
        # What lies below a mask doesn't count.
        fill = expected.fill_value
        result, expected = result.filled(fill), expected.filled(fill)
    _compare_elements(np.asarray(result), np.asarray(expected), where, rtol, atol)


def _compare_elements(
    result: Any, expected: Any, where: str, rtol: float, atol: float
) -> None:
    """Compare plain arrays of one dtype and shape."""
    import numpy as np

    if (rtol or atol) and expected.dtype.kind in "fc":
        same = np.isclose(result, expected, rtol=rtol, atol=atol, equal_nan=True)
    elif expected.dtype.kind in "fcmM":
        # NaN and NaT are unequal to themselves.
        both_nan = (result != result) & (expected != expected)  # noqa: PLR0124 - see above
        same = (result == expected) | both_nan
    else:
        same = result == expected
    if np.all(same):
        return
    if same.shape != expected.shape or expected.ndim == 0:
        _differ_in_value(result, expected, where)
    first = tuple(int(i) for i in np.argwhere(~same)[0])
    index = ", ".join(map(str, first))
    n_wrong = int(same.size - np.count_nonzero(same))
    _differ(
        f"{where}[{index}] is {result[first]}, the plain loop's is {expected[first]} "
        f"({n_wrong} of {same.size} elements differ)"
    )


def _compare_pandas(
    result: Any, expected: Any, where: str, rtol: float, atol: float
) -> None:
    from pandas import testing

    kind = "frame" if hasattr(expected, "columns") else None
    kind = kind or ("series" if hasattr(expected, "index") else "index")
    options: dict[str, Any] = {"check_exact": not (rtol or atol)}
    if rtol or atol:
        options |= {"rtol": rtol, "atol": atol}
    try:
        getattr(testing, f"assert_{kind}_equal")(result, expected, **options)
    except AssertionError as error:
        text = " ".join(str(error).replace("[left]", "[result]").split())
        msg = f"{where}: {text.replace('[right]', '[plain loop]')}"
        raise CheckError(msg) from error


def _same_scalar(result: Any, expected: Any, rtol: float, atol: float) -> bool:
    if isinstance(expected, AbstractSet):
        return bool(result == expected)
    try:
        # NaN and NaT are unequal to themselves.
        same = bool(result == expected) or bool(
            result != result and expected != expected  # noqa: PLR0124 - see above
        )
    except (TypeError, ValueError) as error:
        msg = (
            f"results of type {_type_name(expected)} can't be compared by == "
            f"({error}); give the workload a check(result, expected)"
        )
        raise CheckError(msg) from error
    if same or not isinstance(expected, (float, complex)):
        return same
    # An infinity is only close to itself, whatever the tolerance.
    finite = math.isfinite(abs(result)) and math.isfinite(abs(expected))
    return finite and abs(result - expected) <= atol + rtol * abs(expected)


def _is_from(package: str, value: Any, names: tuple[str, ...]) -> bool:
    """Return whether a value is an instance of a class of a package, if imported."""
    module = sys.modules.get(package)
    return module is not None and isinstance(
        value, tuple(getattr(module, name) for name in names)
    )


def _type_name(value: object) -> str:
    kind = type(value)
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{prefix}{kind.__qualname__}"


def _differ_in_value(result: object, expected: object, where: str) -> None:
    own, other = short_repr(result), short_repr(expected)
    _differ(f"{where} is {own}, the plain loop's is {other}")


def _differ(message: str) -> None:
    raise CheckError(message)
