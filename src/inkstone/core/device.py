"""Devices, number formats, seeds and memory. ``torch`` is imported only inside the functions."""

import contextlib
import ctypes
import functools
import os
import platform
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inkstone.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}


def resolve_device(name: str = "auto") -> "torch.device":
    """The device called `name`; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigError: no such device, or it is not available here.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"unknown device {name!r}", where="device", remedy="use auto, cpu, cuda, cuda:N or mps"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{name} is not available here", where="device", remedy="use cpu or auto; see: inkstone doctor"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("mps is not available here", where="device", remedy="use cpu or auto; see: inkstone doctor")
    return device


def resolve_dtype(name: str = "auto", device: "torch.device | str" = "cpu") -> "torch.dtype":
    """The dtype called `name`; ``auto`` is bfloat16 where the device multiplies it in hardware, else float32.

    Raises:
        ConfigError: an unknown name.
    """
    import torch

    if name == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    if name not in DTYPES:
        raise ConfigError(f"unknown dtype {name!r}", where="dtype", remedy=f"use auto, {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, DTYPES[name])
    return dtype


def has_bf16(device: "torch.device | str" = "cpu") -> bool:
    """Whether `device` multiplies bfloat16 matrices faster than float32 ones (AMX, Arm BF16, CUDA capability 8).

    AVX512-BF16 alone does not count: without tile registers its products ran at half the speed of float32
    (see LOG.md).
    """
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and bool(cpu_features() & {"amx_bf16", "bf16"})


@functools.cache
def cpu_features() -> frozenset[str]:
    """Instruction set flags as Linux names them (``avx512_vnni``, ``amx_bf16`` …); empty where unknown."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return frozenset({"neon", "asimd"})
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.partition(":")[2].split())


def seed_everything(seed: int) -> None:
    """Seed the global random streams of Python, NumPy and torch (every device)."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@functools.cache
def tune_allocator() -> bool:
    """Keep freed large blocks in the process instead of returning them to the system.

    Mapping fresh pages for every large activation slows PyTorch on CPUs by up to 3.5 times; glibc's mallopt(3)
    avoids it. Returns whether the settings were taken (False without glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or platform.libc_ver()[0] != "glibc":
        return False
    settings = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 << 20))
    results = [mallopt(name, value) for name, value in settings]
    return results == [1] * len(settings)


def peak_rss_bytes() -> int:
    """The largest resident memory of this process so far, in bytes."""
    with contextlib.suppress(OSError, StopIteration):
        # getrusage would count, as a process's own, what its parent held when it was started (Linux, exec).
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def total_memory_bytes() -> int:
    """Memory that this process may use, in bytes: the machine's, or its control group's limit if lower."""
    import psutil

    total = int(psutil.virtual_memory().total)
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue
    return total


def free_memory_bytes() -> int:
    """Memory that this process could still take without swapping, in bytes."""
    import psutil

    return min(int(psutil.virtual_memory().available), total_memory_bytes())


def num_usable_cores() -> int:
    """Processor cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
