"""T5's relative positions: a learned number for each attention head and each range of distances."""

import math

import torch
from torch import Tensor, nn


def position_buckets(distance: Tensor, num_buckets: int, max_distance: int, *, bidirectional: bool) -> Tensor:
    """The bucket of each distance `key position - query position` (Raffel et al. 2020, arXiv:1910.10683, section 2.1).

    Half of the buckets hold one distance each, the other half ranges that widen logarithmically up to `max_distance`;
    everything farther shares the last one. If `bidirectional`, keys before and keys after the query have buckets of
    their own; otherwise all later keys share bucket 0 with the query itself.

    Args:
        distance: integers of any shape.
        num_buckets: at least 4, and a multiple of 4 if `bidirectional`.
        max_distance: greater than the number of one-distance buckets.
        bidirectional: whether queries look at later keys.

    Returns:
        Integers below `num_buckets`, of the same shape.
    """
    first = torch.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        first = (distance > 0).long() * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    num_exact = num_buckets // 2
    widening = (distance.float() / num_exact).clamp(min=1).log() / math.log(max_distance / num_exact)
    ranges = (num_exact + (widening * (num_buckets - num_exact)).long()).clamp(max=num_buckets - 1)
    return first + torch.where(distance < num_exact, distance, ranges)


class RelativePositionBias(nn.Embedding):
    """What is added to attention scores for the distance between query and key; row = bucket, column = head."""

    def __init__(self, num_buckets: int, num_attention_heads: int, max_distance: int, *, bidirectional: bool) -> None:
        super().__init__(num_buckets, num_attention_heads)
        self.max_distance = max_distance
        self.bidirectional = bidirectional

    def forward(self, num_queries: int, num_keys: int) -> Tensor:  # type: ignore[override]
        """The bias (1, H, T, S) of T queries, the last one aligned with the last of S keys."""
        device = self.weight.device
        keys = torch.arange(num_keys, device=device)
        queries = torch.arange(num_keys - num_queries, num_keys, device=device)
        buckets = position_buckets(
            keys - queries.unsqueeze(1), self.num_embeddings, self.max_distance, bidirectional=self.bidirectional
        )
        return super().forward(buckets).permute(2, 0, 1).unsqueeze(0)
