"""The Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Parameter and config names are those of Hugging Face's `LlamaForCausalLM`, and with `qk_norm` those of
`Qwen3ForCausalLM`, which has the same wiring.
"""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.core.config import Config
from inkstone.nn.kernels import llama_block
from inkstone.nn.layers.attention import Attention
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.mlp import SwiGLU
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.rope import RotaryEmbedding
from inkstone.nn.models.base import Decoder


class LlamaConfig(Config):
    """Shape of a Llama model; keys and meanings are Hugging Face's."""

    model_type: Literal["llama"] = "llama"
    vocab_size: int = Field(gt=0)
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
    tie_word_embeddings: bool = True
    initializer_range: float = Field(default=0.02, gt=0)

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
        self, hidden_states: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden_states = hidden_states + self.self_attn(self.input_layernorm(hidden_states), rope, mask, cache)
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
        self.fused = False
        """Whether `nn.kernels.llama_block` computes the blocks where there is no cache."""

    @property
    def blocks(self) -> list[LlamaBlock]:
        """The transformer layers."""
        return [block for block in self.layers if isinstance(block, LlamaBlock)]

    def forward(
        self,
        input_ids: Tensor,
        cache: KVCache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Token ids (B, T) → hidden states (B, T, C); arguments as in `LlamaForCausalLM.forward`."""
        time = input_ids.shape[1]
        past = 0 if cache is None else cache.length
        if position_ids is None:
            position_ids = torch.arange(past, past + time, device=input_ids.device).unsqueeze(0)
        rope = self.rotary(position_ids)
        hidden_states = self.embed_tokens(input_ids)
        if self.fused and cache is None:
            runs = llama_block.runs_of(input_ids, segment_ids)
            for block in self.blocks:
                hidden_states = llama_block.forward(block, hidden_states, rope, runs)
        else:
            mask = None if segment_ids is None else document_mask(segment_ids)
            for block in self.blocks:
                hidden_states = block(hidden_states, rope, mask, cache)
        if cache is not None:
            cache.advance(time)
        output: Tensor = self.norm(hidden_states)
        return output


class LlamaForCausalLM(Decoder):
    """A Llama decoder with its output layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Share the embedding with the output layer where the config says so (again, after loading weights)."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

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
        return self.model.blocks

    def fuse(self, dtype: torch.dtype) -> bool:
        """As in `Decoder.fuse`: by `nn.kernels.llama_block`."""
        self.model.fused = (
            all(llama_block.supports(block, dtype) for block in self.model.blocks)
            and self.context <= llama_block.LONGEST_RUN
            and llama_block.unavailable() is None
        )
        return self.model.fused

    @property
    def output_weight(self) -> Tensor:
        """(V, C)."""
        return self.lm_head.weight

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        cache: KVCache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Token ids (B, T), after those in `cache` → the hidden states (B, T, C) that the output layer reads."""
        output: Tensor = self.model(input_ids, cache, position_ids, segment_ids)
        return output

    def forward(
        self,
        input_ids: Tensor,
        cache: KVCache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Token ids (B, T) → logits (B, T, V).

        Args:
            input_ids: (B, T).
            cache: keys and values of the tokens before these; it grows by T.
            position_ids: (B, T), by default counted from the cache's length.
            segment_ids: (B, T), for packed sequences: a token sees only earlier tokens of its own segment.
        """
        logits: Tensor = self.lm_head(self.model(input_ids, cache, position_ids, segment_ids))
        return logits


def document_mask(segment_ids: Tensor) -> Tensor:
    """Segment of each token (B, T) → bool (B, 1, T, T), true where a query may look: causal, same segment."""
    time = segment_ids.shape[1]
    same = segment_ids.unsqueeze(1) == segment_ids.unsqueeze(2)
    causal = torch.ones(time, time, dtype=torch.bool, device=segment_ids.device).tril()
    return (same & causal).unsqueeze(1)
