"""Private memory mappings of a file, by its descriptor; POSIX only.

Python's own `mmap` keeps a duplicate of the descriptor open for as long as the mapping
lives (``trackfd=False`` came with 3.13): a thousand mapped results would be a thousand
open files, the usual limit. So the mapping is made by the C library here, and lives as
long as any memoryview of it.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import weakref
from typing import Any

__all__ = ["compare", "find_address", "map_private"]

# The same numbers on Linux and macOS.
_PROT_READ = 1
_PROT_WRITE = 2
_MAP_PRIVATE = 2


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
    ]
    libc.munmap.restype = ctypes.c_int
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.memcmp.restype = ctypes.c_int
    libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return libc


@functools.cache
def _array_type(n_bits: int) -> type[ctypes.Array[Any]]:
    """Return a ctypes array type of a power of two bytes: 48 types serve all sizes."""
    return ctypes.c_ubyte * (1 << n_bits)


def map_private(fd: int, n_bytes: int) -> memoryview:
    """Return a file's content as writable memory that nobody else sees written.

    Pages are shared with all other readers until they are written to. The mapping ends
    with the last memoryview, array or frame that uses it; `fd` may be closed at once.

    Parameters
    ----------
    fd : int
        Descriptor, open for reading.
    n_bytes : int
        How much to map from the start, at least 1 and at most the file's size.

    Returns
    -------
    memoryview
        One-dimensional, of bytes.

    Raises
    ------
    OSError
        ENOMEM where the process has too many mappings or no address space.
    """
    address = _libc().mmap(None, n_bytes, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE, fd, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno() or errno.ENOMEM
        raise OSError(number, os.strerror(number))
    # The type may claim more than is mapped; the slice below never reaches there.
    memory = _array_type((n_bytes - 1).bit_length()).from_address(address)
    weakref.finalize(memory, _libc().munmap, address, n_bytes).atexit = False
    return memoryview(memory).cast("B")[:n_bytes]


def compare(one: memoryview, other: memoryview) -> bool:
    """Return whether two writable blocks of memory hold the same bytes.

    Exact, releases the GIL, and reads 10 GB/s where writing the copy anew does 1.4.

    Parameters
    ----------
    one, other : memoryview
        Contiguous bytes.

    Returns
    -------
    bool
    """
    if one.nbytes != other.nbytes:
        return False
    if not one.nbytes:
        return True
    addresses = [find_address(view) for view in (one, other)]
    return bool(_libc().memcmp(*addresses, one.nbytes) == 0)


def find_address(view: memoryview) -> int:
    """Return where a block of memory starts, read-only blocks included.

    Parameters
    ----------
    view : memoryview
        Contiguous bytes, at least one.

    Returns
    -------
    int
    """
    import numpy as np

    return int(np.frombuffer(view, np.uint8).ctypes.data)
