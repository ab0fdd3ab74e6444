"""Losses of learning from preferences, of log-probabilities that are known already; all float32 and not summed."""

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST_IMPROBABILITY = 1e-6
"""A token of a higher mean probability than 1 minus this counts as this: its odds would be infinite."""


def dpo_losses(margins: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """`-(1 - ε) log σ(β m) - ε log σ(-β m)`, shape of `margins`.

    Rafailov et al. 2023 (arXiv:2305.18290), eq. 7, with the label smoothing of its section "Conservative DPO" by
    Mitchell 2023 (https://ericmitchell.ai/cdpo.pdf), eq. 3.

    Args:
        margins: log-ratio of policy and reference of the preferred answer, minus that of the rejected one.
        beta: strength of the tie to the reference.
        label_smoothing: ε, assumed share of preferences that are the wrong way round.
    """
    logits = beta * margins
    return -(1 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)


def ipo_losses(margins: Tensor, beta: float) -> Tensor:
    """`(m - 1 / (2 β))²`, shape of `margins`: Azar et al. 2023 (arXiv:2310.12036), eq. 17, with β for their τ."""
    return (margins - 1 / (2 * beta)) ** 2


def odds_ratio_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """`-log σ(log odds(chosen) - log odds(rejected))`: Hong et al. 2024 (arXiv:2403.07691), eqs. 4 and 7.

    Args:
        chosen: mean log-probability of the preferred answer's tokens; at most 0.
        rejected: likewise, of the rejected one.
    """
    return -F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def kto_losses(log_ratios: Tensor, desirable: Tensor, kl: Tensor, beta: float) -> Tensor:
    """`1 - σ(β (r - z))` of good answers, `1 - σ(β (z - r))` of bad ones.

    Ethayarajh et al. 2024 (arXiv:2402.01306), eqs. 7 and 8, before the weights λ.

    Args:
        log_ratios: r (N,), of policy and reference.
        desirable: (N,), whether the answer is good.
        kl: z, the reference point: how far the policy is from the reference; no gradient flows through it.
        beta: strength of the tie to the reference.
    """
    above = log_ratios - kl.detach()
    return torch.sigmoid(-beta * torch.where(desirable, above, -above))


def _log_odds(log_probability: Tensor) -> Tensor:
    """`log(p / (1 - p))` of `log p`."""
    log_probability = log_probability.clamp(max=-_LEAST_IMPROBABILITY)
    return log_probability - torch.log(-torch.expm1(log_probability))
