"""Attention: one function, several implementations."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.nn.layers.mask import AttentionMask


Implementation = Literal["auto", "sdpa", "flex", "explicit"]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: AttentionMask,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
    output_attentions: list[Tensor] | None = None,
    implementation: Implementation = "auto",
) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    Args:
        query: (B, H, T, D).
        key: (B, K, S, D), K dividing H: each key/value head serves H/K attention heads.
        value: (B, K, S, D).
        mask: who may look at whom; a query that may look nowhere gets zeros.
        bias: (B or 1, H, T, S), added to the scores (T5's relative positions).
        scale: of the scores, by default 1/sqrt(D).
        output_attentions: a list to which the attention weights (B, H, T, S) are appended.
        implementation: "auto" chooses; all agree up to rounding.

    Returns:
        (B, H, T, D).
    """
    if output_attentions is not None or implementation == "explicit":
        return _explicit(query, key, value, mask, bias, scale, output_attentions)
    num_queries, num_keys = query.shape[2], key.shape[2]
    allowed = mask.dense
    if allowed is None and mask.causal and 1 < num_queries < num_keys:
        allowed = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device).tril(num_keys - num_queries)
    if bias is not None:
        if allowed is None and mask.causal and num_queries > 1:
            allowed = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device).tril()
        bias = bias.to(query.dtype)
        allowed = bias if allowed is None else bias.masked_fill(~allowed, -torch.inf)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=allowed,
        is_causal=allowed is None and mask.causal and num_queries > 1,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: AttentionMask,
    bias: Tensor | None,
    scale: float | None,
    output_attentions: list[Tensor] | None,
) -> Tensor:
    """The formula as it stands; the weights are computed in float32."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = (query @ key.transpose(-1, -2)).float() * (query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    num_queries, num_keys = scores.shape[-2:]
    allowed = mask.dense
    if allowed is None and mask.causal:
        allowed = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device).tril(num_keys - num_queries)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    weights = torch.softmax(scores, dim=-1)
    if allowed is not None:
        weights = weights.masked_fill(~allowed, 0.0)  # a row of -inf is nan after softmax
    if output_attentions is not None:
        output_attentions.append(weights)
    return weights.to(value.dtype) @ value
