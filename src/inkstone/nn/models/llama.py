"""The Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Parameter and config names are those of Hugging Face's `LlamaForCausalLM`, and with `qk_norm` those of
`Qwen3ForCausalLM`, which has the same wiring.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.attention import Attention
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.mask import AttentionMask, make_mask
from inkstone.nn.layers.mlp import SwiGLU
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.rope import RotaryEmbedding, positions
from inkstone.nn.models.base import Cache, Decoder, ModelConfig


class LlamaConfig(ModelConfig):
    """Shape of a Llama model; keys and meanings are Hugging Face's."""

    model_type: Literal["llama", "qwen3"] = "llama"
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    head_dim: int = Field(gt=0, multiple_of=2)
    max_position_embeddings: int = Field(gt=0)
    """Longest context the model was made for, in tokens."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    rms_norm_eps: float = Field(default=1e-5, gt=0)
    attention_bias: bool = False
    qk_norm: bool = False
    """Normalize queries and keys per attention head (Qwen3)."""

    @model_validator(mode="after")
    def _check_heads(self) -> "LlamaConfig":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        return self

    def num_parameters(self) -> int:
        """Number of trained values, tied embeddings counted once."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in LlamaForCausalLM(self).parameters())


class LlamaBlock(nn.Module):
    """One transformer layer, normalized before each part."""

    def __init__(self, config: LlamaConfig, layer_index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            layer_index=layer_index,
            bias=config.attention_bias,
            qk_norm_eps=config.rms_norm_eps if config.qk_norm else None,
        )
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: AttentionMask,
        cache: KVCache | None,
        output_attentions: list[Tensor] | None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden_states = hidden_states + self.self_attn(
            self.input_layernorm(hidden_states), rope, mask, cache, output_attentions
        )
        output: Tensor = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return output


class LlamaModel(nn.Module):
    """Embedding, blocks and final norm: everything below the output layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LlamaBlock(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryEmbedding(config.head_dim, config.max_position_embeddings, config.rope_theta)

    def forward(
        self,
        input_ids: Tensor,
        cache: KVCache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, T) → hidden states (B, T, C); arguments as in `Decoder.hidden_states`."""
        time = input_ids.shape[1]
        past = 0 if cache is None else cache.length
        if position_ids is None:
            position_ids = positions(past, time, attention_mask, input_ids.device)
        mask = make_mask(
            time,
            past + time,
            causal=True,
            device=input_ids.device,
            padding=attention_mask,
            segment_ids=segment_ids,
        )
        rope = self.rotary(position_ids)
        hidden_states = self.embed_tokens(input_ids)
        for block in self.layers:
            hidden_states = block(hidden_states, rope, mask, cache, output_attentions)
        if cache is not None:
            cache.advance(time)
        output: Tensor = self.norm(hidden_states)
        return output


class LlamaForCausalLM(Decoder):
    """A Llama decoder with its output layer."""

    config: LlamaConfig

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The output layer is the embedding where the config says so."""
        return {"lm_head.weight": "model.embed_tokens.weight"} if self.config.tie_word_embeddings else {}

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights.

        Matrices are normal with `initializer_range`; the two that write into the residual stream are scaled down
        by `1/sqrt(2 · num_hidden_layers)` (Radford et al. 2019, section 2.3). Biases are 0, norms 1.
        """
        residual_scale = 1 / math.sqrt(2 * self.config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                writes_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = self.config.initializer_range * (residual_scale if writes_residual else 1.0)
                parameter.normal_(0.0, std, generator=generator)

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.max_position_embeddings

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` positions."""
        return KVCache(self.config.num_hidden_layers, capacity)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer layers."""
        return self.model.layers

    @property
    def output_weight(self) -> Tensor:
        """(V, C)."""
        return self.lm_head.weight

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        cache: Cache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """As in `Decoder.hidden_states`."""
        output: Tensor = self.model(input_ids, cache, position_ids, segment_ids, attention_mask, output_attentions)
        return output
