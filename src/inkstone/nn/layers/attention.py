"""Attention: one function, several implementations."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.nn.layers.flex import flex
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
    dropout: float = 0.0,
    output_attentions: list[Tensor] | None = None,
    implementation: Implementation = "auto",
) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    Args:
        query: (B, H, T, D).
        key: (B, K, S, D), K dividing H: each key/value head serves H/K attention heads. With a cache, these are all
            the keys it holds, the last T of them the queries' own.
        value: (B, K, S, D).
        mask: who may look at whom; a query that may look nowhere gets zeros.
        bias: (B or 1, H, T, S), added to the scores (T5's relative positions).
        scale: of the scores, by default 1/sqrt(D).
        dropout: share of the attention weights that are left out, at random, and the others scaled up; for training.
        output_attentions: a list to which the attention weights (B, H, T, S) are appended, in float32,
            before dropout.
        implementation: "auto" is "explicit" where the weights are asked for, else "sdpa"; all agree up to rounding.
            "flex" skips blocks of a long sequence in which nobody may look at anybody, but needs to be compiled to
            do so, has no gradient on a CPU, and no dropout ("sdpa" is taken then).

    Returns:
        (B, H, T, D).
    """
    if implementation == "explicit" or output_attentions is not None:
        return _explicit(query, key, value, mask, bias, scale, dropout, output_attentions)
    if implementation == "flex" and dropout == 0.0:
        return flex(query, key, value, mask, bias, scale)
    return _sdpa(query, key, value, mask, bias, scale, dropout)


def _sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: AttentionMask,
    bias: Tensor | None,
    scale: float | None,
    dropout: float,
) -> Tensor:
    """PyTorch's fused kernels; causal attention of as many queries as keys needs no mask in memory."""
    num_queries, num_keys = query.shape[2], key.shape[2]
    allowed: Tensor | None = None
    is_causal = True
    # An `if` and no bool: compiled for varying lengths, the comparison would be a symbol, which the kernels refuse.
    if mask.dense is not None or not mask.causal or bias is not None or num_queries == 1 or num_queries != num_keys:
        allowed, is_causal = _allowed(mask, num_queries, num_keys, query.device), False
    if bias is not None:
        bias = bias.to(query.dtype)
        allowed = bias if allowed is None else bias.masked_fill(~allowed, -torch.inf)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=allowed,
        dropout_p=dropout,
        is_causal=is_causal,
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
    dropout: float,
    output_attentions: list[Tensor] | None,
) -> Tensor:
    """The formula as it stands; the weights are computed in float32."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = (query @ key.transpose(-1, -2)).float() * (query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    allowed = _allowed(mask, query.shape[2], key.shape[2], query.device)
    if allowed is None:
        weights = torch.softmax(scores, dim=-1)
    else:
        # The least number, unlike -inf, lets a row without any key through softmax; its weights are then cleared.
        scores = scores.masked_fill(~allowed, torch.finfo(torch.float32).min)
        weights = torch.softmax(scores, dim=-1).masked_fill(~allowed, 0.0)
    if output_attentions is not None:
        output_attentions.append(weights)
    return F.dropout(weights, dropout).to(value.dtype) @ value


def _allowed(mask: AttentionMask, num_queries: int, num_keys: int, device: torch.device) -> Tensor | None:
    """Bool, broadcastable to (B, H, T, S), true where a query may look; None where all may look everywhere."""
    if mask.dense is not None or not mask.causal or num_queries == 1:
        return mask.dense
    return torch.ones(num_queries, num_keys, dtype=torch.bool, device=device).tril(num_keys - num_queries)
