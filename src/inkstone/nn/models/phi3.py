"""Phi-3 and Phi-4-mini (Abdin et al. 2024, arXiv:2404.14219): Llama's wiring with joint projections."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import activation
from inkstone.nn.layers.rope_scaling import LongRopeScaling
from inkstone.nn.layers.self_attention import Attention
from inkstone.nn.models.llama import LlamaBlock, LlamaConfig, LlamaForCausalLM


class Phi3Config(LlamaConfig):
    """Shape of a Phi-3 model; keys and meanings are Hugging Face's."""

    model_type: Literal["phi3"] = "phi3"  # type: ignore[assignment]
    partial_rotary_factor: float = Field(default=1.0, gt=0, le=1)
    """The share of each attention head that is rotated."""

    own_keys: ClassVar[Mapping[str, frozenset[str]]] = {"phi3": frozenset({"sliding_window"})}

    @model_validator(mode="after")
    def _check_rotary(self) -> "Phi3Config":
        if self.rotary_dim % 2 or self.rotary_dim == 0:
            raise ValueError(
                f"partial_rotary_factor {self.partial_rotary_factor} rotates {self.rotary_dim} of head_dim "
                f"{self.head_dim} components, which is not an even number"
            )
        if isinstance(self.rope_scaling, LongRopeScaling):
            for key in ("short_factor", "long_factor"):
                if len(getattr(self.rope_scaling, key)) != self.rotary_dim // 2:
                    raise ValueError(f"rope_scaling.{key} must have {self.rotary_dim // 2} entries")
        return self

    @property
    def rotary_dim(self) -> int:
        """Components of each attention head that are rotated."""
        return int(self.head_dim * self.partial_rotary_factor)

    def build(self) -> "Phi3ForCausalLM":
        """The model of this shape, its weights not yet drawn."""
        return Phi3ForCausalLM(self)


class Phi3Attention(Attention):
    """Attention with one projection for queries, keys and values."""

    def __init__(self, config: Phi3Config, layer_index: int) -> None:
        heads, kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        super().__init__(config.hidden_size, heads, kv_heads, head_dim, layer_index=layer_index)
        del self.q_proj, self.k_proj, self.v_proj
        self.qkv_proj = nn.Linear(config.hidden_size, (heads + 2 * kv_heads) * head_dim, bias=False)

    def project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) → queries (B, H, T, D), keys and values (B, K, T, D), before rotation."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        # (B, T, (H + 2K)·D) → (B, H + 2K, T, D)
        states = self.split_heads(self.qkv_proj(hidden_states))
        query, key, value = torch.split(states, [heads, kv_heads, kv_heads], dim=1)
        return query, key, value


class Phi3MLP(nn.Module):
    """Gated feed-forward layer with one projection for gate and input."""

    def __init__(self, config: Phi3Config) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.activation = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        gate, up = self.gate_up_proj(hidden_states).chunk(2, dim=-1)
        output: Tensor = self.down_proj(self.activation(gate) * up)
        return output


class Phi3Block(LlamaBlock):
    """One transformer layer, normalized before each part."""

    def make_attention(self, config: LlamaConfig, layer_index: int) -> Attention:
        """With one projection."""
        assert isinstance(config, Phi3Config)
        return Phi3Attention(config, layer_index)

    def make_feed_forward(self, config: LlamaConfig, layer_index: int) -> nn.Module:
        """With one projection for gate and input."""
        assert isinstance(config, Phi3Config)
        return Phi3MLP(config)


class Phi3ForCausalLM(LlamaForCausalLM):
    """A Phi-3 decoder with its output layer."""

    block_class = Phi3Block
