"""Losses of heads, as `transformers` computes them: float32 means over what has a label."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from inkstone.nn.layers.loss import IGNORED


def sequence_loss(
    logits: Tensor,
    labels: Tensor,
    problem: Literal["single_label_classification", "multi_label_classification", "regression"],
) -> Tensor:
    """Mean loss of a sequence head.

    Args:
        logits: (B, num_labels).
        labels: (B,), indices, for a single label; (B, num_labels), 0 or 1 each, for several; values of the shape
            of the logits, or (B,) with one label, for a regression.
        problem: cross-entropy, binary cross-entropy of every label, or squared error.
    """
    logits = logits.float()
    match problem:
        case "single_label_classification":
            return F.cross_entropy(logits, labels, ignore_index=IGNORED)
        case "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, labels.float())
        case "regression":
            return F.mse_loss(logits, labels.float().view_as(logits))


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a token head: logits (B, T, num_labels) against labels (B, T), -100 where there is none."""
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def span_loss(logits: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Mean of the cross-entropies of start and end (Devlin et al. 2019, arXiv:1810.04805, section 4.2).

    Args:
        logits: (B, T, 2), of a span head.
        starts: (B,), index of the answer's first token; T or more where it was cut off, which carries no loss.
        ends: (B,), of its last token, likewise.
    """
    time = logits.shape[1]
    losses = [
        F.cross_entropy(logits[:, :, side].float(), positions.clamp(0, time), ignore_index=time)
        for side, positions in enumerate((starts, ends))
    ]
    return (losses[0] + losses[1]) / 2


def preference_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Mean of `-log σ(chosen - rejected)` over pairs of rewards, (B,) each (Bradley & Terry 1952).

    As reward models are trained (Ouyang et al. 2022, arXiv:2203.02155, eq. 1).
    """
    return -F.logsigmoid(chosen.float() - rejected.float()).mean()
