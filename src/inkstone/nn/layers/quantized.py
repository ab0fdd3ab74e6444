"""A frozen linear layer whose matrix is kept in 8 or 4 bits a weight."""

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from inkstone.nn.layers.lora import LinearLike, dense_weight

Precision = Literal["int8", "int4"]
GROUP_SIZE = 64
"""Weights of a row that share a scale, with 4 bits."""
_LARGEST = {"int8": 127, "int4": 7}
_QUANTIZED_AT_ONCE, _DEQUANTIZED_AT_ONCE = 1 << 20, 1 << 22
"""Weights: small pieces leave no holes in memory, large ones multiply faster."""


class QuantizedLinear(nn.Module):
    """`W x + b` with W rounded to integers times scales; symmetric, round to nearest.

    int8: one float32 scale for every output (8 bits a weight). int4: one bfloat16 scale for every `GROUP_SIZE` inputs
    of an output, two weights in a byte (4.25 bits a weight). Products are computed in the dtype of the inputs from
    weights that are dequantized block by block, so the whole matrix never exists. Gradients reach the inputs (and the
    bias), never the weights: a base for LoRA as in QLoRA (Dettmers et al. 2023, arXiv:2305.14314), but with uniform
    levels.

    Args:
        weight: (out_features, in_features), of any floating dtype.
        bias: (out_features,), kept as it is.
        precision: of the weights.
    """

    quantized: Tensor
    """int8 (out_features, in_features); or uint8 (out_features, in_features / 2), padded to whole groups."""
    scales: Tensor
    """(out_features, number of groups)."""
    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: nn.Parameter | None, precision: Precision) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.precision = precision
        for name, first in zip(("quantized", "scales"), _quantize(weight.detach()[:1].float(), precision), strict=True):
            self.register_buffer(name, first.new_empty(self.out_features, first.shape[1]))
        for rows in _row_blocks(self.out_features, self.in_features, _QUANTIZED_AT_ONCE):
            self.quantized[rows], self.scales[rows] = _quantize(weight.detach()[rows].float(), precision)
        if bias is not None:
            bias.requires_grad_(False)
        self.register_parameter("bias", bias)

    @classmethod
    def of(cls, layer: LinearLike, precision: Precision) -> Self:
        """The quantized form of a linear layer, whose bias it takes over."""
        quantized = cls(dense_weight(layer), getattr(layer, "bias", None), precision)
        assert isinstance(layer, nn.Module)
        return quantized.train(layer.training)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., in_features) → (..., out_features)."""
        device = hidden_states.device.type
        if torch.is_autocast_enabled(device):
            hidden_states = hidden_states.to(torch.get_autocast_dtype(device))
        output: Tensor = _Product.apply(hidden_states, self.quantized, self.scales)  # type: ignore[no-untyped-call]
        return output if self.bias is None else output + self.bias.to(output.dtype)

    def dequantize(self) -> Tensor:
        """(out_features, in_features), float32: what the layer multiplies with."""
        return _dequantize(self.quantized, self.scales, self.in_features)

    def levels(self) -> Tensor:
        """int8 (out_features, in_features): the integers that the scales multiply."""
        levels = _unpack(self.quantized) if self.precision == "int4" else self.quantized
        return levels[:, : self.in_features]

    @property
    def num_weights(self) -> int:
        """Weights of the matrix."""
        return self.out_features * self.in_features

    def extra_repr(self) -> str:
        """Sizes and precision, for `print(model)`."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}, {self.precision}"


def _quantize(weight: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """(out, in), float32 → integers and scales as `QuantizedLinear` holds them."""
    rows, columns = weight.shape
    group = columns if precision == "int8" else GROUP_SIZE
    grouped = F.pad(weight, (0, -columns % group)).view(rows, -1, group)
    largest = grouped.abs().amax(2)
    scales = torch.where(largest == 0, 1.0, largest / _LARGEST[precision])
    if precision == "int4":
        scales = scales.bfloat16()
    levels = (grouped / scales.float().unsqueeze(2)).round().clamp(-_LARGEST[precision], _LARGEST[precision])
    levels = levels.view(rows, -1).to(torch.int8)
    return (levels if precision == "int8" else _pack(levels)), scales


def _pack(levels: Tensor) -> Tensor:
    """int8 in [-8, 7], (out, in) → uint8 (out, in / 2): even columns in the low half of a byte, odd in the high."""
    halves = (levels + 8).to(torch.uint8)
    return halves[:, ::2] | halves[:, 1::2] << 4


def _unpack(packed: Tensor) -> Tensor:
    """The inverse of `_pack`."""
    return torch.stack((packed & 15, packed >> 4), dim=2).flatten(1).to(torch.int8) - 8


def _dequantize(quantized: Tensor, scales: Tensor, num_columns: int) -> Tensor:
    """Integers and scales → float32 (out, num_columns)."""
    levels = _unpack(quantized) if quantized.dtype == torch.uint8 else quantized
    grouped = levels.view(levels.shape[0], scales.shape[1], -1).float() * scales.float().unsqueeze(2)
    return grouped.flatten(1)[:, :num_columns]


class _Product(torch.autograd.Function):
    """`x · Wᵀ` from a quantized W, and the gradient with respect to x."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, quantized: Tensor, scales: Tensor) -> Tensor:
        ctx.save_for_backward(quantized, scales)
        ctx.in_features = inputs.shape[-1]
        parts = [
            F.linear(inputs, _dequantize(quantized[rows], scales[rows], ctx.in_features).to(inputs.dtype))
            for rows in _row_blocks(quantized.shape[0], ctx.in_features)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        quantized, scales = ctx.saved_tensors
        total: Tensor | None = None
        for rows in _row_blocks(quantized.shape[0], ctx.in_features):
            weight = _dequantize(quantized[rows], scales[rows], ctx.in_features).to(gradient.dtype)
            part = gradient[..., rows] @ weight
            total = part if total is None else total.add_(part)
        assert total is not None
        return total, None, None


def _row_blocks(num_rows: int, num_columns: int, num_weights: int = _DEQUANTIZED_AT_ONCE) -> list[slice]:
    size = max(1, num_weights // num_columns)
    return [slice(start, start + size) for start in range(0, num_rows, size)]
