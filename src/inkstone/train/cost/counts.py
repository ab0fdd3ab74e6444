"""What can be counted of a model before it exists."""

from dataclasses import dataclass

from torch import Tensor, nn

from inkstone.nn.models.base import Model
from inkstone.train.optim import OptimizerConfig, num_state_values, num_trained

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Counts:
    """Of a model as it is trained: head, adapter and all."""

    parameters: int
    trained: int
    weight_bytes: int
    """Of parameters and tables, quantized ones in few bits."""
    optimizer_values: int
    largest_shape: int
    """Values of all trained matrices of the shape that most values have: what muon updates at once."""
    cache_values: int
    """Keys and values that generating remembers of a token."""


def count(model: Model, optimizer: OptimizerConfig) -> Counts:
    """Count a model, which may be on the meta device.

    Args:
        model: frozen and adapted as it will be trained.
        optimizer: its settings.
    """
    shapes: dict[tuple[int, ...], int] = {}
    for block in model.blocks:
        for parameter in block.parameters():
            if parameter.requires_grad and parameter.dim() == 2:
                shape = tuple(sorted(parameter.shape))
                shapes[shape] = shapes.get(shape, 0) + parameter.numel()
    return Counts(
        parameters=model.num_parameters(),
        trained=num_trained(model),
        weight_bytes=sum(map(_num_bytes, [*model.parameters(), *model.buffers()])),
        optimizer_values=num_state_values(model, optimizer),
        largest_shape=max(shapes.values(), default=0) if optimizer.name == "muon" else 0,
        cache_values=sum(map(_cache_values, model.modules())),
    )


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _cache_values(module: nn.Module) -> int:
    heads = getattr(module, "num_key_value_heads", getattr(module, "num_attention_heads", 0))
    return 2 * heads * getattr(module, "head_dim", 0)
