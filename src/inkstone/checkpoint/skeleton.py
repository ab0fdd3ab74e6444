"""A model whose parameters have shapes but no values yet, built without allocating what a config merely claims."""

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from inkstone.core.errors import CheckpointError
from inkstone.nn.models.base import Model

_TABLE_ALLOWANCE = 256 << 20
_CALLS_PER_TENSOR, _CALL_ALLOWANCE = 32, 4000
_FILLED = (torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.linspace)


M = TypeVar("M", bound=Model)


def build_skeleton(build: Callable[[], M], where: Path, num_tensors: int, num_bytes: int) -> M:
    """Call `build` with its parameters on the meta device; computed tables (buffers) are real.

    Building ends early where the config asks for far more than the files hold: for far more tensors, or for tables far
    larger than the weights. So nothing is allocated for a config that cannot be right.

    Args:
        build: the model's constructor.
        where: config.json, for errors.
        num_tensors: tensors in the files.
        num_bytes: bytes of all tensors in the files.

    Raises:
        CheckpointError: the config's sizes are absurd.
    """
    max_calls = _CALLS_PER_TENSOR * num_tensors + _CALL_ALLOWANCE
    max_elements = (_TABLE_ALLOWANCE + 4 * num_bytes) // torch.float32.itemsize
    try:
        with _WithoutValues(max_calls, max_elements):
            model = build()
    except (_AbsurdError, RuntimeError, TypeError, OverflowError, ArithmeticError, MemoryError) as error:
        raise CheckpointError(
            f"asks for a model that these weights cannot be: {error}",
            where=where,
            remedy="the sizes in it are absurd; copy the model folder again",
        ) from error
    assert not any(buffer.is_meta for buffer in model.buffers())
    return model


class _AbsurdError(Exception):
    """A config asks for more than the files can fill."""


class _WithoutValues(TorchFunctionMode):
    """Skips initialization, puts what `torch.empty` makes on the meta device, and bounds everything else.

    Only `torch.empty` goes there: the first use of the meta device by other functions imports much of torch's compiler.
    """

    def __init__(self, max_calls: int, max_elements: int) -> None:
        super().__init__()
        self._calls_left, self._max_elements = max_calls, max_elements

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._calls_left -= 1
        if self._calls_left < 0:
            raise _AbsurdError("far more tensors than the files hold")
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is torch.empty:
            return func(*args, **{**kwargs, "device": "meta"})
        if (elements := _largest_result(func, args, kwargs)) > self._max_elements:
            raise _AbsurdError(f"a table of {elements:,} values")
        return func(*args, **kwargs)


def _largest_result(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """A bound on the number of values that a call makes."""
    values = list(_flat([*args, *kwargs.values()]))
    numbers = [int(abs(value)) for value in values if isinstance(value, int | float)]
    if func is torch.arange:
        return max(numbers, default=0)
    if func in _FILLED:
        return prod(number for number in numbers if number > 1)
    shapes = [value.shape for value in values if isinstance(value, Tensor)]
    if func is torch.outer:
        return prod(shape.numel() for shape in shapes)
    broadcast = prod(max(sizes) for sizes in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1))
    return max(broadcast, sum(shape.numel() for shape in shapes))


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(list(value))
        else:
            yield value
