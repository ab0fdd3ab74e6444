"""Causal self-attention with grouped key/value heads."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.rope import apply_rope


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    Args:
        query: (B, H, T, D).
        key: (B, K, S, D), K dividing H: each key/value head serves H/K attention heads.
        value: (B, K, S, D).
        mask: bool, broadcastable to (B, 1, T, S), true where a query may look; None means causal, the last
            query aligned with the last key.

    Returns:
        (B, H, T, D).
    """
    num_queries, num_keys = query.shape[2], key.shape[2]
    if mask is None and 1 < num_queries < num_keys:
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device).tril(num_keys - num_queries)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None and num_queries > 1,
        enable_gqa=query.shape[1] != key.shape[1],
    )


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) with rotary positions and optional q/k norm."""

    def __init__(
        self,
        hidden_size: int,
        num_attention_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        *,
        layer_index: int,
        bias: bool = False,
        qk_norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.layer_index = layer_index
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.q_proj = nn.Linear(hidden_size, num_attention_heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(num_attention_heads * head_dim, hidden_size, bias=bias)
        self.q_norm = nn.Identity() if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps)
        self.k_norm = nn.Identity() if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C); with a cache, the T tokens follow the `cache.length` it holds."""
        batch, time, _ = hidden_states.shape
        # (B, T, H·D) → (B, H, T, D)
        query = self.q_proj(hidden_states).view(batch, time, self.num_attention_heads, self.head_dim).transpose(1, 2)
        key = self.k_proj(hidden_states).view(batch, time, self.num_key_value_heads, self.head_dim).transpose(1, 2)
        value = self.v_proj(hidden_states).view(batch, time, self.num_key_value_heads, self.head_dim).transpose(1, 2)
        query = apply_rope(self.q_norm(query), *rope)
        key = apply_rope(self.k_norm(key), *rope)
        if cache is not None:
            key, value = cache.append(self.layer_index, key, value)
        context = attention(query, key, value, mask)
        # (B, H, T, D) → (B, T, H·D)
        context = context.transpose(1, 2).reshape(batch, time, self.num_attention_heads * self.head_dim)
        output: Tensor = self.o_proj(context)
        return output
