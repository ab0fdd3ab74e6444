"""Cross-entropy of an output layer, without ever holding all logits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

IGNORED = -100
"""Label of a position that carries no loss."""
_WHOLE_LOGITS = 1 << 24
"""Up to this many logits the plain computation is faster."""
_CHUNK_LOGITS = 1 << 24


def linear_cross_entropy(hidden_states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Summed cross-entropy of `softmax(hidden_states · weightᵀ)` against `labels`, in nats.

    With a large vocabulary the logits are made, used and forgotten chunk by chunk, and the gradient is computed
    in the same pass (as in Liger Kernel, Hsu et al. 2024, arXiv:2410.10989, section 3.2), so memory for logits
    does not grow with the batch.

    Args:
        hidden_states: (N, C).
        weight: (V, C), the output layer's.
        labels: (N,), -100 where there is no loss.

    Returns:
        Float32 scalar.
    """
    if hidden_states.shape[0] * weight.shape[0] <= _WHOLE_LOGITS:
        logits = F.linear(hidden_states, weight).float()
        return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    loss: Tensor = _ChunkedLinearCrossEntropy.apply(hidden_states, weight, labels)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden_states.dtype
        if hidden_states.is_cuda and torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")
        inputs, matrix = hidden_states.to(dtype), weight.to(dtype)
        grad_inputs = torch.empty_like(inputs)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=torch.float32, device=inputs.device)
        chunk = max(1, _CHUNK_LOGITS // weight.shape[0])
        with torch.autocast(inputs.device.type, enabled=False):
            for start in range(0, inputs.shape[0], chunk):
                rows = slice(start, start + chunk)
                loss, grad_logits = _loss_and_gradient(inputs[rows] @ matrix.t(), labels[rows])
                total += loss
                grad_inputs[rows] = grad_logits @ matrix
                if grad_weight is not None:
                    grad_weight.addmm_(grad_logits.t().to(weight.dtype), inputs[rows].to(weight.dtype))
        ctx.save_for_backward(grad_inputs.to(hidden_states.dtype), grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor | None, None]:
        grad_inputs, grad_weight = ctx.saved_tensors
        return grad_inputs * grad_outputs[0], None if grad_weight is None else grad_weight * grad_outputs[0], None


def _loss_and_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss and its gradient in the logits (N, V): `softmax(logits) - onehot(labels)`, 0 where ignored."""
    log_probabilities = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
    counted = labels != IGNORED
    targets = torch.where(counted, labels, 0).unsqueeze(-1)
    loss = -(log_probabilities.gather(-1, targets).squeeze(-1) * counted).sum()
    gradient = log_probabilities.exp_()
    gradient.scatter_add_(-1, targets, gradient.new_full((), -1.0).expand(targets.shape))
    gradient.mul_(counted.unsqueeze(-1))
    return loss, gradient.to(logits.dtype)


def smoothed_cross_entropy(
    logits_of: Callable[[Tensor], Tensor], hidden_states: Tensor, labels: Tensor, vocab_size: int, smoothing: float
) -> Tensor:
    """Summed cross-entropy against labels of which each gives `smoothing` of its probability to all V tokens alike.

    Szegedy et al. 2016 (arXiv:1512.00567), section 7. With a large vocabulary the logits are made chunk by chunk,
    and once more in the backward pass.

    Args:
        logits_of: the output layer: (N, C) → (N, V).
        hidden_states: (N, C).
        labels: (N,), -100 where there is no loss.
        vocab_size: V.
        smoothing: 0 is plain cross-entropy.

    Returns:
        Float32 scalar, in nats.
    """

    def loss_of(states: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(states).float()
        return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)

    chunk = max(1, _CHUNK_LOGITS // vocab_size)
    if hidden_states.shape[0] <= chunk:
        return loss_of(hidden_states, labels)
    parts: list[Tensor] = [
        checkpoint(loss_of, states, part, use_reentrant=False)
        for states, part in zip(torch.split(hidden_states, chunk), torch.split(labels, chunk), strict=True)
    ]
    return torch.stack(parts).sum()


def linear_log_probabilities(hidden_states: Tensor, weight: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """`log softmax(hidden_states · weightᵀ / temperature)` at `labels`, in nats; differentiable.

    With a large vocabulary the logits are made chunk by chunk, and once more in the backward pass.

    Args:
        hidden_states: (N, C).
        weight: (V, C), the output layer's.
        labels: (N,), -100 where nothing is asked: the result is 0 there.
        temperature: greater than 0.

    Returns:
        Float32 (N,).
    """
    chunk = max(1, _CHUNK_LOGITS // weight.shape[0])
    if hidden_states.shape[0] <= chunk:
        return _log_probabilities(hidden_states, weight, labels, temperature)
    parts = [
        checkpoint(
            _log_probabilities,
            hidden_states[start : start + chunk],
            weight,
            labels[start : start + chunk],
            temperature,
            use_reentrant=False,
        )
        for start in range(0, hidden_states.shape[0], chunk)
    ]
    return torch.cat(parts)


def _log_probabilities(hidden_states: Tensor, weight: Tensor, labels: Tensor, temperature: float) -> Tensor:
    logits = F.linear(hidden_states, weight).float() / temperature
    return -F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
