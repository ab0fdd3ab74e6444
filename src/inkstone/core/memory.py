"""Memory that can be had again: what was freed, or was read from a file and has not been changed since."""

import ctypes
import mmap
import sys
from collections.abc import Iterable

import numpy as np
from torch import Tensor

_ENTRY_BYTES = 8
_OF_A_FILE = np.uint64(1 << 61)
_SWAPPED, _PRESENT = np.uint64(1 << 62), np.uint64(1 << 63)
"""Bits of an entry of /proc/self/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst)."""


def give_back_unchanged(tensors: Iterable[Tensor]) -> int:
    """Give the memory of tensors back that are maps of a file and were not written to; nothing changes in them.

    They are read from the file again when they are needed. Does nothing where it cannot be told that this is safe.

    Returns:
        Bytes given back.
    """
    if not sys.platform.startswith("linux"):
        return 0
    total = 0
    try:
        with open("/proc/self/pagemap", "rb") as pagemap:
            for tensor in tensors:
                if tensor.device.type == "cpu" and tensor.is_contiguous() and not _is_shared(tensor):
                    first = -(-tensor.data_ptr() // mmap.PAGESIZE)
                    last = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE
                    pagemap.seek(first * _ENTRY_BYTES)
                    total += _give_back(first, pagemap.read(max(0, last - first) * _ENTRY_BYTES))
    except OSError:
        pass
    return total


def _is_shared(tensor: Tensor) -> bool:
    return bool(tensor.is_shared())  # type: ignore[no-untyped-call]


def give_back_freed() -> None:
    """Return what was freed to the system; glibc keeps it otherwise, for what comes next."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _give_back(first: int, entries: bytes) -> int:
    """Pages from number `first` on, if all that are there are a file's own: a page that is written to no longer is."""
    pages = np.frombuffer(entries, dtype=np.uint64)
    there = pages & (_PRESENT | _SWAPPED) != 0
    if not there.any() or (pages[there] & _OF_A_FILE == 0).any():
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    address, size = ctypes.c_void_p(first * mmap.PAGESIZE), ctypes.c_size_t(len(pages) * mmap.PAGESIZE)
    if libc.madvise(address, size, ctypes.c_int(mmap.MADV_DONTNEED)):
        return 0
    return int(there.sum()) * mmap.PAGESIZE
