"""How far a student's distribution is from its teacher's."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from inkstone.train.config_distill import DistillConfig

Divergence = Callable[[Tensor, Tensor], Tensor]
"""Log-probabilities (..., K) of student and teacher → (...), in nats; 0 where both are the same, else more."""


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """`Σ p (log p - log q)`, p the teacher's probabilities, q the student's (Hinton et al. 2015, arXiv:1503.02531)."""
    return (teacher.exp() * (teacher - student)).sum(-1)


def reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """`Σ q (log q - log p)` (Gu et al. 2023, arXiv:2306.08543)."""
    return forward_kl(teacher, student)


def jensen_shannon(student: Tensor, teacher: Tensor, interpolation: float) -> Tensor:
    """`β KL(p ‖ m) + (1 - β) KL(q ‖ m)` with m = β p + (1 - β) q: Agarwal et al. 2023 (arXiv:2306.13649), eq. 1."""
    share = torch.tensor(interpolation, device=student.device)
    mixture = torch.logaddexp(teacher + share.log(), student + (-share).log1p())
    return share * forward_kl(mixture, teacher) + (1 - share) * forward_kl(mixture, student)


def divergence_of(config: DistillConfig) -> Divergence:
    """The one that `config` names."""
    match config.divergence:
        case "forward_kl":
            return forward_kl
        case "reverse_kl":
            return reverse_kl
        case "jensen_shannon":
            return partial(jensen_shannon, interpolation=config.interpolation)


def bucketed(log_probabilities: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities (N, V) → those of `ids` (N, k) and, last, of all others together: (N, k + 1).

    With k = V there are no others: (N, V). A divergence between distributions in such buckets is at most that between
    the distributions themselves, and 0 where these are the same.
    """
    named = log_probabilities.gather(-1, ids)
    if ids.shape[-1] == log_probabilities.shape[-1]:
        return named
    others = log_probabilities.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat((named, others), dim=-1)
