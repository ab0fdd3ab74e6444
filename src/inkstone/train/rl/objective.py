"""The clipped policy gradient that grpo and ppo share."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inkstone.nn.layers.loss import linear_log_probabilities
from inkstone.nn.models.base import Decoder
from inkstone.train.objectives import NEVER_DIVERGES, Batch, Objective
from inkstone.train.objectives.targets import in_row_order, owners, target_states
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.experience import ARRAYS, Experience
from inkstone.train.rl.policy import Layout

LossType = Literal["grpo", "dapo", "dr_grpo"]


class ClippedLoss(NamedTuple):
    """Of every token (M,)."""

    loss: Tensor
    ratio: Tensor
    is_clipped: Tensor


def clipped_loss(log_probabilities: Tensor, old: Tensor, advantages: Tensor, low: float, high: float) -> ClippedLoss:
    """Minus PPO's clipped objective (Schulman et al. 2017, arXiv:1707.06347, eq. 7) of each token.

    `-min(r A, clip(r, 1 - low, 1 + high) A)` with `r = exp(log π - log π_old)`; two bounds as in DAPO
    (arXiv:2503.14476, eq. 10).
    """
    ratio = (log_probabilities - old).exp()
    free, bounded = ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages
    return ClippedLoss(-torch.minimum(free, bounded), ratio, bounded < free)


def kl_estimate(log_probabilities: Tensor, reference: Tensor) -> Tensor:
    """KL(π ‖ reference) as each drawn token shows it, never negative.

    `r - log r - 1` with `r = π_reference / π` (k3 in Schulman 2020, http://joschu.net/blog/kl-approx.html;
    arXiv:2402.03300, eq. 4).
    """
    log_ratio = reference - log_probabilities
    return log_ratio.exp() - log_ratio - 1


class PolicyGradient(Objective[Experience]):
    """Minus PPO's clipped objective and, with a reference, `kl_coefficient` times the KL estimate, of each token.

    A target is a completion. How its tokens are weighed is the loss type's:

    - grpo: each by 1/n, n being the completion's tokens (arXiv:2402.03300, eq. 3);
    - dapo: all tokens of the step alike (arXiv:2503.14476, eq. 8);
    - dr_grpo: each by 1/`max_new_tokens` (arXiv:2503.20783, section 3.1).

    Args:
        config: of the rollouts.
        loss_type: how tokens are weighed.
        kl_coefficient: weight of the KL estimate; 0 where the KL is part of the rewards.
        layout: of the rows.
    """

    allowed_rise: ClassVar[float] = NEVER_DIVERGES
    loss_unit = "of the policy gradient"

    def __init__(self, config: RLConfig, loss_type: LossType, kl_coefficient: float, layout: Layout) -> None:
        self.config, self._loss_type, self._kl_coefficient, self._layout = config, loss_type, kl_coefficient, layout

    def collate(self, examples: Sequence[Experience]) -> Batch:
        """Completions → rows of `lay_out`, and what is known of each of the M tokens drawn (M,)."""
        batch = self._layout.rows([each.sequence for each in examples])
        owner = owners(batch)
        for name in ARRAYS:
            arrays = [getattr(each, name) for each in examples]
            if any(len(array) for array in arrays):
                batch[name] = in_row_order(torch.from_numpy(np.concatenate(arrays)), owner)
        is_learned = torch.tensor([each.is_learned for each in examples])[owner]
        sizes = torch.bincount(owner)[owner] if self._loss_type == "grpo" else self.config.max_new_tokens
        batch["weights"] = is_learned / sizes
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Completions."""
        return int(batch["sequence_ids"].max()) + 1

    def prepare_step(self, model: Any, batches: Sequence[Batch]) -> None:
        """Tell every micro-batch how many completions of the step there are to a token."""
        num_completions = sum(map(self.num_targets, batches))
        num_tokens = sum(len(batch["advantages"]) for batch in batches)
        num_learned = sum(int(batch["weights"].count_nonzero()) for batch in batches)
        for batch in batches:
            batch["token_share"] = torch.tensor(num_completions / num_tokens)
            if self._loss_type == "dapo":
                batch["weights"] = (batch["weights"] > 0) * (num_completions / max(1, num_learned))

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed over the completions."""
        states, labels = target_states(model, batch)
        return self.policy_loss(model, batch, states, labels)

    def policy_loss(
        self, model: Decoder, batch: Batch, states: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss, given the hidden states (M, C) before the targets (M,)."""
        config, weights, share = self.config, batch["weights"], batch["token_share"]
        log_probabilities = linear_log_probabilities(states, model.output_weight, labels, config.temperature)
        clipped = clipped_loss(
            log_probabilities, batch["old_log_probabilities"], batch["advantages"], config.clip_low, config.clip_high
        )
        per_token = clipped.loss
        metrics = {
            "clip_share": clipped.is_clipped.sum() * share,
            "entropy": -log_probabilities.detach().sum() * share,
            "max_ratio": clipped.ratio.detach().max(),
        }
        if "reference_log_probabilities" in batch:
            kl = kl_estimate(log_probabilities, batch["reference_log_probabilities"])
            metrics["kl"] = kl.detach().sum() * share
            if self._kl_coefficient:
                per_token = per_token + self._kl_coefficient * kl
        return (weights * per_token).sum(), metrics
