"""Memory that the tensors of a micro-batch take while its gradient is computed."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import torch


class Live(NamedTuple):
    """Of one computation."""

    peak_bytes: int
    """Most that was allocated at once, beyond what was there before."""
    seconds: float


def live(compute: Callable[[], object], device: torch.device) -> Live:
    """Watch a computation allocate.

    It is run twice: what remains of the first run (gradients) is there before the second, which counts.
    """
    compute()
    began = time.perf_counter()
    compute()
    seconds = time.perf_counter() - began
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        compute()
        return Live(torch.cuda.max_memory_allocated(device) - before, seconds)
    return Live(_peak_of_profile(compute), seconds)


def _peak_of_profile(compute: Callable[[], object]) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        compute()
    assert profiled.profiler is not None
    results = profiled.profiler.kineto_results
    assert results is not None
    changes = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    allocated = peak = 0
    for _, change in sorted(changes, key=lambda each: each[0]):
        allocated += change
        peak = max(peak, allocated)
    return peak
