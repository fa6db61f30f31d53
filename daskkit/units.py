"""Numbers to short texts for people; the lowest layer, pure functions.

Records keep seconds and bytes; only here are they turned into other units.
"""

import math

__all__ = [
    "format_bytes",
    "format_core_seconds",
    "format_count",
    "format_ratio",
    "format_seconds",
]

_KIBI = 1024
# From here on all digits before the point are shown.
_LARGE = 1000


def format_seconds(seconds: float) -> str:
    """Return a duration with three significant digits and a fitting unit.

    Parameters
    ----------
    seconds : float
        Duration in seconds; NaN means that it was not measured.

    Returns
    -------
    str

    Examples
    --------
    >>> format_seconds(0.01234), format_seconds(83.4), format_seconds(float("nan"))
    ('12.3 ms', '83.4 s', '-')
    >>> format_seconds(0.9999), format_seconds(0)
    ('1.00 s', '0 s')
    """
    if math.isnan(seconds):
        return "-"
    seconds = _round(seconds)
    size = abs(seconds)
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if size >= factor:
            return f"{_three_digits(seconds / factor)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns" if size else "0 s"


def format_core_seconds(seconds: float) -> str:
    """Return core-seconds with a unit that keeps them apart from wall time.

    Parameters
    ----------
    seconds : float
        Seconds of one core.

    Returns
    -------
    str

    Examples
    --------
    >>> format_core_seconds(2.5), format_core_seconds(0.012)
    ('2.50 core-seconds', '12.0 core-ms')
    """
    number, _, unit = format_seconds(seconds).partition(" ")
    return f"{number} core-{'seconds' if unit == 's' else unit}"


def format_bytes(n_bytes: float) -> str:
    """Return a size with three significant digits and a binary unit.

    Parameters
    ----------
    n_bytes : float
        Size in bytes; NaN means that it was not measured.

    Returns
    -------
    str

    Examples
    --------
    >>> format_bytes(512), format_bytes(3 * 2**20), format_bytes(float("nan"))
    ('512 B', '3.00 MiB', '-')
    """
    if math.isnan(n_bytes):
        return "-"
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < _KIBI:
            return f"{size:.0f} B" if unit == "B" else f"{_three_digits(size)} {unit}"
        size /= _KIBI
    return f"{_three_digits(size)} TiB"


def format_ratio(ratio: float) -> str:
    """Return a dimensionless ratio with three significant digits.

    Parameters
    ----------
    ratio : float
        NaN means that it was not measured.

    Returns
    -------
    str

    Examples
    --------
    >>> format_ratio(1.8349), format_ratio(31.4159), format_ratio(1234.5)
    ('1.83', '31.4', '1,234')
    >>> format_ratio(0.9996), format_ratio(99.96)
    ('1.00', '100')
    """
    return "-" if math.isnan(ratio) else _three_digits(ratio)


def format_count(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it belongs.

    Parameters
    ----------
    n : int
        How many.
    noun : str
        An English noun with a regular plural.

    Returns
    -------
    str

    Examples
    --------
    >>> format_count(1, "item"), format_count(3245, "item")
    ('1 item', '3,245 items')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _three_digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    value = _round(value)
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _round(value: float) -> float:
    """Return a value with three digits, from which unit and decimals are chosen."""
    return float(f"{value:.3g}") if abs(value) < _LARGE else value
