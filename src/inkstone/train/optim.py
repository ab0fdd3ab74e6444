"""Optimizers by name, with the parameter groups that each wants."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from inkstone.core.config import Config
from inkstone.core.device import resolve_dtype
from inkstone.nn.depth import parameter_depths
from inkstone.nn.models.base import Model
from inkstone.train.muon import BatchedMuon


class OptimizerConfig(Config):
    """How gradients become updates."""

    name: Literal["muon", "adamw", "sgd"] = "muon"
    """muon: orthogonalized momentum for the matrices of the blocks (Jordan et al. 2024), AdamW for all else."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled decay of matrices; vectors are not decayed."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of muon and sgd."""
    embedding_rate: float = Field(default=1.0, gt=0)
    """Learning rate of embedding and output layer as a multiple of the others' (muon only)."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient; longer ones are scaled down."""


def build_optimizers(model: Model, config: OptimizerConfig, layer_decay: float = 1.0) -> list[Optimizer]:
    """Optimizers that together hold every trained parameter of `model` once.

    Each group has a key `rate`: its learning rate as a multiple of the schedule's. With `layer_decay` d it is
    `d^(N + 1 - depth)` for a model of N blocks: 1 for what follows the blocks, d for the last block, d^(N + 1) for
    embeddings (Howard & Ruder 2018, arXiv:1801.06146, section 3.2; ELECTRA, Clark et al. 2020, arXiv:2003.10555).
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    inner = _inside_blocks(model) if config.name == "muon" else set()
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, rate in _rates(model, layer_decay).items():
        if name not in trained:
            continue
        parameter = trained[name]
        matrix, hidden = parameter.squeeze().dim() >= 2, id(parameter) in inner
        if config.name == "muon" and matrix and not hidden:
            rate *= config.embedding_rate
        key = (matrix and hidden, config.weight_decay if matrix else 0.0, rate)
        groups.setdefault(key, []).append(parameter)
    by_kind = {kind: _groups(groups, hidden=kind) for kind in (True, False)}
    if config.name == "sgd":
        return [torch.optim.SGD(by_kind[False], lr=0.0, momentum=config.momentum)]
    optimizers: list[Optimizer] = []
    if by_kind[True]:
        optimizers.append(
            BatchedMuon(
                by_kind[True],
                product_dtype=resolve_dtype("auto", model.device),
                lr=0.0,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
        )
    if by_kind[False]:
        betas = config.beta1, config.beta2
        optimizers.append(torch.optim.AdamW(by_kind[False], lr=0.0, betas=betas, eps=1e-8, fused=True))
    return optimizers


def num_state_values(model: Model, config: OptimizerConfig) -> int:
    """Values that the optimizers of `build_optimizers` remember from step to step, all float32."""
    if config.name == "sgd":
        return num_trained(model) if config.momentum else 0
    inner = _inside_blocks(model) if config.name == "muon" else set()
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return sum(
        parameter.numel() * (1 if id(parameter) in inner and parameter.squeeze().dim() >= 2 else 2)
        for parameter in trained
    )


def num_trained(model: Model) -> int:
    """Values that are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _rates(model: Model, layer_decay: float) -> dict[str, float]:
    """Name of a parameter → its learning rate as a multiple of the schedule's."""
    if layer_decay == 1:
        return {name: 1.0 for name, _ in model.named_parameters()}
    top = len(list(model.blocks)) + 1
    return {name: layer_decay ** (top - depth) for name, depth in parameter_depths(model).items()}


def _inside_blocks(model: Model) -> set[int]:
    """Identities of the blocks' matrices: weights of products, not tables that are looked up."""
    modules = [module for block in model.blocks for module in block.modules() if not isinstance(module, nn.Embedding)]
    return {id(parameter) for module in modules for parameter in module.parameters(recurse=False)}


def set_learning_rate(optimizers: list[Optimizer], learning_rate: float) -> None:
    """Give every group its learning rate for the coming step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * group["rate"]


def _groups(
    parameters: Mapping[tuple[bool, float, float], list[nn.Parameter]], *, hidden: bool
) -> list[dict[str, Any]]:
    """Parameter groups, those with decay first."""
    keys = sorted((key for key in parameters if key[0] == hidden), key=lambda key: (-key[1], -key[2]))
    return [{"params": parameters[key], "weight_decay": key[1], "rate": key[2]} for key in keys]


def clip_gradient(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Scale the gradient down to norm `largest` if it is longer; returns its norm before."""
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None], foreach=True)
    if norm > largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm, foreach=True)
    return norm
