"""Muon, with one batched orthogonalization for all matrices of a shape."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` (Jordan et al. 2024) that treats all matrices of one shape at once.

    The Newton–Schulz iteration of a small model is dozens of tiny products, and their overhead is what it costs:
    stacked, they are a few batched ones. States, hyperparameters and, up to rounding, results are those of
    `torch.optim.Muon`.

    Args:
        params: matrices only, or groups of them.
        product_dtype: format of the iteration's products.
        options: as of `torch.optim.Muon`; `adjust_lr_fn` is always "match_rms_adamw" (Liu et al. 2025,
            arXiv:2502.16982, eq. 4), so that learning rates are those of AdamW.
    """

    def __init__(self, params: Any, *, product_dtype: torch.dtype, **options: Any) -> None:
        super().__init__(params, adjust_lr_fn="match_rms_adamw", **options)
        self._product_dtype = product_dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        assert closure is None, "closures are for optimizers that evaluate the loss several times"
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rows, columns = parameter.shape
                    shapes[min(rows, columns), max(rows, columns)].append(parameter)
            for parameters in shapes.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        momenta = [self._momentum(parameter) for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"]) if group["nesterov"] else momenta
        # (N, small, large): tall matrices lie down, so that both orientations share a batch.
        wide = torch.stack([update.t() if update.shape[0] > update.shape[1] else update for update in updates])
        directions = orthogonalize(wide, group["ns_coefficients"], group["ns_steps"], group["eps"], self._product_dtype)
        rate = 0.2 * max(parameters[0].shape) ** 0.5 * group["lr"]
        steps = [
            direction.t() if parameter.shape[0] > parameter.shape[1] else direction
            for parameter, direction in zip(parameters, directions.to(parameters[0].dtype), strict=True)
        ]
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, steps, alpha=-rate)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonalize(
    matrices: Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float, dtype: torch.dtype
) -> Tensor:
    """Replace the singular values of each matrix by values near 1, keeping its singular vectors.

    The quintic Newton–Schulz iteration `X ← aX + (b·A + c·A²)X`, `A = XXᵀ`, of Jordan et al. 2024
    (https://kellerjordan.github.io/posts/muon).

    Args:
        matrices: (N, R, S) with R ≤ S.
        coefficients: a, b, c.
        num_steps: iterations.
        eps: least norm to divide by.
        dtype: format of the products.

    Returns:
        (N, R, S) in `dtype`.
    """
    a, b, c = coefficients
    states = matrices.to(dtype)
    states = states / states.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(num_steps):
        gram = states @ states.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        states = torch.baddbmm(states, polynomial, states, beta=a)
    return states
