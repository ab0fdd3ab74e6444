"""Losses of heads, as `transformers` computes them, in float32: means or sums over what has a label."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.nn.layers.loss import IGNORED

Reduction = Literal["mean", "sum"]


def sequence_loss(
    logits: Tensor,
    labels: Tensor,
    problem: Literal["single_label_classification", "multi_label_classification", "regression"],
    *,
    reduction: Reduction = "mean",
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Loss of a sequence head; where a text has several numbers, that of the text is the mean over them.

    Args:
        logits: (B, num_labels).
        labels: (B,), indices, for a single label; (B, num_labels), 0 or 1 each, for several; values of the shape
            of the logits, or (B,) with one label, for a regression.
        problem: cross-entropy, binary cross-entropy of every label, or squared error.
        reduction: over the texts.
        class_weights: (num_labels,), what a text of each class counts; of several labels, what each counts where it
            is true. The mean over texts of a single label is then divided by their weights.
        label_smoothing: share of the probability that goes to all labels alike (Szegedy et al. 2016,
            arXiv:1512.00567, section 7); of several labels, to true and false alike.
    """
    logits = logits.float()
    match problem:
        case "single_label_classification":
            return F.cross_entropy(
                logits,
                labels,
                weight=class_weights,
                ignore_index=IGNORED,
                reduction=reduction,
                label_smoothing=label_smoothing,
            )
        case "multi_label_classification":
            targets = labels.float() * (1 - label_smoothing) + label_smoothing / 2
            losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=class_weights, reduction="none")
        case "regression":
            losses = F.mse_loss(logits, labels.float().view_as(logits), reduction="none")
    return _reduced(losses.mean(-1), reduction)


def token_loss(
    logits: Tensor, labels: Tensor, *, reduction: Reduction = "mean", label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of a token head: logits (B, T, num_labels) against labels (B, T), -100 where there is none."""
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def span_loss(
    logits: Tensor,
    starts: Tensor,
    ends: Tensor,
    attention_mask: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Half the sum of the cross-entropies of start and end (Devlin et al. 2019, arXiv:1810.04805, section 4.2).

    Args:
        logits: (B, T, 2), of a span head.
        starts: (B,), index of the answer's first token; T or more where it was cut off, which carries no loss.
        ends: (B,), of its last token, likewise.
        attention_mask: (B, T), 0 at padding, which then takes no part in the softmax; `transformers` leaves it in.
        reduction: over the answers.
    """
    time = logits.shape[1]
    logits = logits.float()
    if attention_mask is not None:
        logits = logits.masked_fill(attention_mask.unsqueeze(-1) == 0, -torch.inf)
    losses = [
        F.cross_entropy(logits[:, :, side], positions.clamp(0, time), ignore_index=time, reduction=reduction)
        for side, positions in enumerate((starts, ends))
    ]
    return (losses[0] + losses[1]) / 2


def preference_loss(
    chosen: Tensor, rejected: Tensor, *, centering: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """`-log σ(chosen - rejected)` of pairs of rewards, (B,) each (Bradley & Terry 1952).

    As reward models are trained (Ouyang et al. 2022, arXiv:2203.02155, eq. 1).

    Args:
        chosen: rewards of what was preferred.
        rejected: of the other.
        centering: weight of `(chosen + rejected)²`, which keeps rewards around 0 (Eisenstein et al. 2023,
            arXiv:2312.09244, eq. 2); 0.01 is usual.
        reduction: over the pairs.
    """
    chosen, rejected = chosen.float(), rejected.float()
    losses = -F.logsigmoid(chosen - rejected)
    if centering:
        losses = losses + centering * (chosen + rejected) ** 2
    return _reduced(losses, reduction)


def _reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    return losses.mean() if reduction == "mean" else losses.sum()
