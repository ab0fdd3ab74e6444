"""Next-token prediction for sparse mixtures of experts."""

from typing import Any

from torch import Tensor

from inkstone.nn.layers.experts import collect_router_logits, load_balancing_loss
from inkstone.nn.models.base import Decoder
from inkstone.train.objectives.base import Batch
from inkstone.train.objectives.pretrain import Pretrain


class PretrainExperts(Pretrain):
    """`Pretrain` and, in training alone, the loss that keeps experts equally busy (`load_balancing_loss`).

    That loss is computed for each micro-batch and weighed with its tokens; so 8 accumulated batches of 1 are close
    to a batch of 8, not equal to it.

    Args:
        num_experts_per_tok: of the model.
        router_aux_loss_coef: weight of the auxiliary loss.
    """

    def __init__(self, num_experts_per_tok: int, router_aux_loss_coef: float) -> None:
        self._num_experts_per_tok = num_experts_per_tok
        self._coefficient = router_aux_loss_coef

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats and, in training, the auxiliary loss times the number of tokens."""
        if not model.training:
            return super().loss(model, batch)
        with collect_router_logits(model) as router_logits:
            loss, metrics = super().loss(model, batch)
        balance = load_balancing_loss(router_logits, self._num_experts_per_tok)
        return loss + self._coefficient * self.num_targets(batch) * balance, metrics
