"""Optimizers by name, with the parameter groups that each wants."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from inkstone.core.config import Config
from inkstone.core.device import resolve_dtype
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


def build_optimizers(model: Model, config: OptimizerConfig) -> list[Optimizer]:
    """Optimizers that together hold every trained parameter of `model` once.

    Each group has a key `rate`: its learning rate as a multiple of the schedule's.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    matrices = {name: parameter for name, parameter in trained.items() if parameter.squeeze().dim() >= 2}
    vectors = [parameter for name, parameter in trained.items() if name not in matrices]
    if config.name == "sgd":
        groups = _groups((list(matrices.values()), config.weight_decay, 1.0), (vectors, 0.0, 1.0))
        return [torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)]
    if config.name == "adamw":
        return [_adamw(config, (list(matrices.values()), config.weight_decay, 1.0), (vectors, 0.0, 1.0))]
    inner = _inside_blocks(model)
    hidden = [parameter for parameter in matrices.values() if id(parameter) in inner]
    outer = [parameter for parameter in matrices.values() if id(parameter) not in inner]
    muon = BatchedMuon(
        _groups((hidden, config.weight_decay, 1.0)),
        product_dtype=resolve_dtype("auto", hidden[0].device),
        lr=0.0,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    return [muon, _adamw(config, (outer, config.weight_decay, config.embedding_rate), (vectors, 0.0, 1.0))]


def _inside_blocks(model: Model) -> set[int]:
    """Identities of the blocks' matrices: weights of products, not tables that are looked up."""
    modules = [module for block in model.blocks for module in block.modules() if not isinstance(module, nn.Embedding)]
    return {id(parameter) for module in modules for parameter in module.parameters(recurse=False)}


def set_learning_rate(optimizers: list[Optimizer], learning_rate: float) -> None:
    """Give every group its learning rate for the coming step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * group["rate"]


def _adamw(config: OptimizerConfig, *groups: tuple[list[nn.Parameter], float, float]) -> Optimizer:
    return torch.optim.AdamW(_groups(*groups), lr=0.0, betas=(config.beta1, config.beta2), eps=1e-8, fused=True)


def _groups(*groups: tuple[list[nn.Parameter], float, float]) -> list[dict[str, object]]:
    return [
        {"params": parameters, "weight_decay": weight_decay, "rate": rate}
        for parameters, weight_decay, rate in groups
        if parameters
    ]


def clip_gradient(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Scale the gradient down to norm `largest` if it is longer; returns its norm before."""
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None], foreach=True)
    if norm > largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm, foreach=True)
    return norm
