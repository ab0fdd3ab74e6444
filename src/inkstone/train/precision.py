"""Number formats and compilation of a training step."""

import contextlib
import importlib.util
from contextlib import AbstractContextManager

import torch

from inkstone.nn.models.base import Model


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Run matrix products in `dtype` while parameters, norms and losses stay float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def compile_blocks(model: Model) -> None:
    """Compile every block in place, one graph for all of them.

    Blocks of one shape share the compiled code, so the time to compile does not grow with depth, and parameter
    names stay as they are.
    """
    for block in model.blocks:
        block.compile(dynamic=False)


def uncompiled() -> AbstractContextManager[object]:
    """Within the block, compiled blocks run uncompiled: what occurs in few shapes is not worth compiling."""
    return torch.compiler.set_stance("force_eager")


def missing_compiler(device: torch.device) -> str | None:
    """Why `torch.compile` cannot work on this machine, with the remedy; None if it can."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "Triton is not installed (pip install triton)"
    if device.type != "cpu":
        return f"not supported on {device.type}"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
        torch.compile(torch.neg)(torch.ones(1))
    except InvalidCxxCompiler:
        return "no C++ compiler was found (install g++ or clang)"
    except Exception as error:  # noqa: BLE001  (headers, linker and OpenMP fail in ways of their own)
        return f"the C++ compiler does not work: {str(error).partition(chr(10))[0]} (see: inkstone doctor)"
    return None
