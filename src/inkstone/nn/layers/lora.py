"""Low-rank adaptation of one linear layer: LoRA and DoRA, over any layer that computes like a linear one."""

import itertools
import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from inkstone.core.errors import ConfigError
from inkstone.nn.layers.conv1d import Conv1D


@runtime_checkable
class LinearLike(Protocol):
    """A layer that maps (..., in_features) to (..., out_features) by a matrix and perhaps a `bias`.

    `nn.Linear` and `Conv1D` are; so is a quantized layer that has the two sizes. If that also has
    `dequantize() -> Tensor`, (out_features, in_features), DoRA can be put on it.
    """

    in_features: int
    out_features: int

    def __call__(self, hidden_states: Tensor, /) -> Tensor:
        """(..., in_features) → (..., out_features)."""


def dense_weight(layer: LinearLike) -> Tensor:
    """The matrix of a layer as (out_features, in_features): a view of the weight, or dequantized.

    Raises:
        ConfigError: the layer does not give it.
    """
    if isinstance(layer, Conv1D):
        return layer.weight.t()
    if hasattr(layer, "dequantize"):
        dequantized: Tensor = layer.dequantize()
        return dequantized
    weight = getattr(layer, "weight", None)
    if isinstance(weight, Tensor) and weight.is_floating_point():
        return weight
    raise ConfigError(
        f"{type(layer).__name__} does not tell its matrix, of which DoRA needs the norms",
        where="use_dora",
        remedy="set use_dora to false for this model",
    )


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained update of low rank beside it.

    LoRA (Hu et al. 2021, arXiv:2106.09685, eq. 3), with W of `base_layer` and rank r:

        y = W x + b + s · B A x

    DoRA (Liu et al. 2024, arXiv:2402.09353, eq. 5) trains the length m of every row of the sum, too:

        y = m / ‖W + s · B A‖ · (W + s · B A) x + b

    The norm, one per output, counts as a constant in the gradient (section 4.3). B starts at 0 and m at ‖W‖, so the
    layer starts equal to `base_layer`. Parameter names are those of PEFT.

    Args:
        base_layer: left as it is, until `merge`.
        r: rank of the update.
        scaling: s.
        dropout: probability of dropping an input of A in training.
        use_dora: DoRA instead of LoRA.
        dtype: of the adapter's parameters, in which the update is computed.
    """

    base_layer: LinearLike
    lora_magnitude_vector: Tensor | None

    def __init__(
        self,
        base_layer: LinearLike,
        r: int,
        *,
        scaling: float = 1.0,
        dropout: float = 0.0,
        use_dora: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features = base_layer.in_features
        self.out_features = base_layer.out_features
        self.scaling = scaling
        self.enabled = True
        device = _device_of(base_layer)
        self.lora_dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.lora_A = nn.Linear(self.in_features, r, bias=False, device=device, dtype=dtype)
        self.lora_B = nn.Linear(r, self.out_features, bias=False, device=device, dtype=dtype)
        nn.init.zeros_(self.lora_B.weight)
        norms = torch.linalg.vector_norm(dense_weight(base_layer).detach().to(dtype), dim=1) if use_dora else None
        self.register_parameter("lora_magnitude_vector", None if norms is None else nn.Parameter(norms))
        self._kept_weight: Tensor | None = None

    def init_weights(self, generator: torch.Generator | None = None, *, gaussian: bool = False) -> None:
        """Draw A as `nn.Linear` does, or normal with deviation 1/r; B is 0."""
        if gaussian:
            nn.init.normal_(self.lora_A.weight, std=1 / self.lora_A.out_features, generator=generator)
        else:
            nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., in_features) → (..., out_features), in the dtype of the base layer's output."""
        output = self.base_layer(hidden_states)
        if self.merged or not self.enabled:
            return output
        inputs = self.lora_dropout(hidden_states.to(self.lora_A.weight.dtype))
        update: Tensor = self.lora_B(self.lora_A(inputs)) * self.scaling
        if self.lora_magnitude_vector is None:
            return (output + update).to(output.dtype)
        bias = getattr(self.base_layer, "bias", None)
        product = output if bias is None else output - bias
        gain = self._gain(self.lora_magnitude_vector)
        # Not gain · (product + update): where gain is 1 and the update 0, nothing may be rounded.
        return (output + (gain - 1) * product + gain * update).to(output.dtype)

    @property
    def weight(self) -> Tensor:
        """(out_features, in_features): the adapted matrix, for output layers that are read instead of called.

        Raises:
            ConfigError: in training with dropout, which a matrix cannot hold.
        """
        base = dense_weight(self.base_layer)
        if self.merged or not self.enabled:
            return base
        if self.training and isinstance(self.lora_dropout, nn.Dropout):
            raise ConfigError(
                "the output layer's adapter cannot drop inputs out",
                where="lora_dropout",
                remedy="set lora_dropout to 0, or leave the output layer out of target_modules",
            )
        return self._adapted_weight().to(base.dtype)

    @property
    def merged(self) -> bool:
        """Whether the update is in `base_layer`'s weight at present."""
        return self._kept_weight is not None

    def merge(self) -> None:
        """Add the update to `base_layer`'s weight; the weight before it is kept, so that `unmerge` is exact.

        Raises:
            ConfigError: the base layer is quantized; the update would be lost in its rounding.
        """
        if not self.merged:
            kept = self._mergeable_weight().detach().clone()
            self.fold()
            self._kept_weight = kept

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put back, bit for bit, the weight from before `merge`."""
        if self._kept_weight is not None:
            self._mergeable_weight().copy_(self._kept_weight)
            self._kept_weight = None

    @torch.no_grad()
    def fold(self) -> LinearLike:
        """Add the update to `base_layer`'s weight for good, computed in float32 and rounded once; returns the layer."""
        if not self.merged:
            self._mergeable_weight().copy_(self._adapted_weight())
        self._kept_weight = None
        return self.base_layer

    def _mergeable_weight(self) -> Tensor:
        if hasattr(self.base_layer, "dequantize") or not hasattr(self.base_layer, "weight"):
            raise ConfigError(
                f"an adapter cannot be merged into {type(self.base_layer).__name__}: rounding would lose it",
                where="merge",
                remedy="merge into the model that was quantized, then quantize the result",
            )
        return dense_weight(self.base_layer)

    def _adapted_weight(self) -> Tensor:
        """(out_features, in_features), float32: what the layer multiplies with."""
        with torch.autocast(_device_of(self.base_layer).type, enabled=False):
            total = dense_weight(self.base_layer).float() + self._update()
            return (
                total if self.lora_magnitude_vector is None else self._gain(self.lora_magnitude_vector)[:, None] * total
            )

    def _update(self) -> Tensor:
        """The product s · B A, (out_features, in_features), float32."""
        return self.scaling * (self.lora_B.weight.float() @ self.lora_A.weight.float())

    def _gain(self, magnitude: Tensor) -> Tensor:
        """(out_features,): by what DoRA multiplies each output."""
        with torch.no_grad(), torch.autocast(_device_of(self.base_layer).type, enabled=False):
            total = dense_weight(self.base_layer).to(magnitude.dtype) + self._update().to(magnitude.dtype)
            norms = torch.linalg.vector_norm(total, dim=1)
        return magnitude / norms

    def extra_repr(self) -> str:
        """Rank and scaling, for `print(model)`."""
        return f"r={self.lora_A.out_features}, scaling={self.scaling:g}, dora={self.lora_magnitude_vector is not None}"


def _device_of(layer: LinearLike) -> torch.device:
    assert isinstance(layer, nn.Module)
    return next(itertools.chain(layer.parameters(), layer.buffers())).device
