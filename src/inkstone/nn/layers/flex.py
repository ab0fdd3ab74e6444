"""Attention by `torch.nn.attention.flex_attention` (Dong et al. 2024, arXiv:2412.05496)."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from inkstone.nn.layers.mask import AttentionMask

_Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Indices of sequence, attention head, query and key → whether the query may look at the key."""


def flex(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, bias: Tensor | None, scale: float | None
) -> Tensor:
    """Arguments and result are those of `attention`; compiled on accelerators, plain and slow on a CPU."""
    num_queries, num_keys = query.shape[2], key.shape[2]
    rule = _rule(mask, num_queries, num_keys)
    blocks = None
    if rule is not None:
        batch = None if mask.dense is None else query.shape[0]
        blocks = create_block_mask(rule, batch, None, num_queries, num_keys, device=query.device.type)
    compute: Callable[..., Any] = flex_attention
    if query.device.type != "cpu" and not torch.compiler.is_compiling():
        compute = _compiled()
    output: Tensor = compute(
        query,
        key,
        value,
        score_mod=None if bias is None else _adding(bias),
        block_mask=blocks,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)


def _rule(mask: AttentionMask, num_queries: int, num_keys: int) -> _Rule | None:
    """None where everyone may look everywhere."""
    dense, past = mask.dense, num_keys - num_queries
    if dense is None:
        return (lambda row, head, query, key: query + past >= key) if mask.causal else None
    one_for_all = dense.shape[0] == 1
    return lambda row, head, query, key: dense[0 if one_for_all else row, 0, query, key]


def _adding(bias: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    one_for_all = bias.shape[0] == 1
    return lambda score, row, head, query, key: score + bias[0 if one_for_all else row, head, query, key]
