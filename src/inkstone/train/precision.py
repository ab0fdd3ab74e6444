"""Number formats and compilation of a training step."""

import contextlib
import importlib.util
import shutil
import sys
from contextlib import AbstractContextManager

import torch

from inkstone.core.progress import say
from inkstone.nn.models.base import Decoder


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Run matrix products in `dtype` while parameters, norms and losses stay float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def compile_blocks(model: Decoder) -> bool:
    """Compile every block in place, one graph for all of them; returns whether that was possible.

    Blocks of one shape share the compiled code, so the time to compile does not grow with depth, and parameter
    names stay as they are. Without a C++ compiler (CPU) or Triton (CUDA) training runs uncompiled, and says so.
    """
    missing = missing_compiler(next(model.parameters()).device)
    if missing:
        say(f"training runs uncompiled, somewhat slower: {missing}")
        return False
    for block in model.blocks:
        block.compile(dynamic=False)
    return True


def missing_compiler(device: torch.device) -> str | None:
    """What `torch.compile` lacks on this machine, with its remedy; None if nothing."""
    if device.type == "cuda":
        if importlib.util.find_spec("triton"):
            return None
        return "Triton is not installed (pip install triton)"
    if device.type == "cpu":
        from torch._inductor import config

        candidates = [config.cpp.cxx] if isinstance(config.cpp.cxx, str) else [*config.cpp.cxx]
        if any(shutil.which(name) for name in candidates if name) or sys.platform == "win32":
            return None
        return "no C++ compiler was found (install g++ or clang)"
    return f"not supported on {device.type}"
