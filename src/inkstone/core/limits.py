"""What the machine can do at most, measured. ``torch`` is imported only inside the functions."""

import functools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TIMES = 4
_PRODUCT_SIZE = {"cpu": 1024, "cuda": 8192, "mps": 4096}
_READ_BYTES = 1 << 30


@functools.cache
def peak_flops(device: "torch.device", dtype: "torch.dtype") -> float:
    """Floating-point operations a second of large matrix products on this machine: the best of a few, measured."""
    import torch

    size = _PRODUCT_SIZE.get(device.type, 2048)
    # No random values: measuring must leave the streams of random numbers as they are.
    matrix = torch.full((size, size), 1e-3, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        product = matrix @ matrix
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


@functools.cache
def read_bandwidth(device: "torch.device") -> float:
    """Bytes a second that are read from memory, of a gigabyte: the best of a few, measured."""
    import torch

    values = torch.ones(_READ_BYTES // 4, device=device)
    best = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        float(values.sum())
        best = min(best, time.perf_counter() - began)
    return _READ_BYTES / best
