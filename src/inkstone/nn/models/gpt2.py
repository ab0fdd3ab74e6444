"""GPT-2 (Radford et al. 2019): LayerNorm before each part, learned positions, biases everywhere, tied output layer.

Parameter names are those of Hugging Face's `GPT2LMHeadModel`. Config keys are the names that `transformers` lets every
family share (`hidden_size` for GPT-2's own `n_embd`, and so on).
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import Activation, activation
from inkstone.nn.layers.attention import attention
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.conv1d import Conv1D
from inkstone.nn.layers.initialization import init_normal
from inkstone.nn.layers.mask import AttentionMask, make_mask
from inkstone.nn.layers.recompute import run_block
from inkstone.nn.layers.rope import positions
from inkstone.nn.models.base import Decoder, ModelConfig


class GPT2Config(ModelConfig):
    """Shape of a GPT-2 model."""

    model_type: Literal["gpt2"] = "gpt2"
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    """Longest context, in tokens: there are no more positions."""
    activation_function: Activation = "gelu_new"
    layer_norm_epsilon: float = Field(default=1e-5, gt=0)
    scale_attn_weights: bool = True
    """Divide the scores by the square root of the head dim."""
    scale_attn_by_inverse_layer_idx: bool = False
    """Divide the scores of block i (from 0) by i + 1 too (Mistral's GPT-2 models)."""
    reorder_and_upcast_attn: bool = False
    """Compute attention in float32 whatever the dtype of the weights (Mistral's GPT-2 models)."""

    @model_validator(mode="after")
    def _check_heads(self) -> "GPT2Config":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self

    def num_parameters(self) -> int:
        """Number of trained values, tied embeddings counted once."""
        with torch.device("meta"):
            return GPT2LMHeadModel(self).num_parameters()


class GPT2Attention(nn.Module):
    """Multi-head self-attention whose queries, keys and values come from one product."""

    def __init__(self, config: GPT2Config, layer_index: int) -> None:
        super().__init__()
        self.layer_index = layer_index
        self.num_attention_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scale = 1 / math.sqrt(self.head_dim) if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer_index + 1
        self.upcast = config.reorder_and_upcast_attn
        self.c_attn = Conv1D(config.hidden_size, 3 * config.hidden_size)
        self.c_proj = Conv1D(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: Tensor,
        mask: AttentionMask,
        cache: KVCache | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C); with a cache, the T tokens follow the `cache.length` it holds."""
        batch, time, hidden_size = hidden_states.shape
        # (B, T, 3·H·D) → three of (B, H, T, D)
        parts = self.c_attn(hidden_states).view(batch, time, 3, self.num_attention_heads, self.head_dim)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            key, value = cache.append(self.layer_index, key, value)
        if self.upcast:
            query, key, value = query.float(), key.float(), value.float()
        context = attention(query, key, value, mask, scale=self.scale, output_attentions=output_attentions)
        # (B, H, T, D) → (B, T, H·D)
        context = context.transpose(1, 2).reshape(batch, time, hidden_size).to(hidden_states.dtype)
        output: Tensor = self.c_proj(context)
        return output


class GPT2MLP(nn.Module):
    """Feed-forward layer `c_proj(activation(c_fc(x)))`."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = Conv1D(config.hidden_size, config.intermediate_size)
        self.c_proj = Conv1D(config.intermediate_size, config.hidden_size)
        self.activation = activation(config.activation_function)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        output: Tensor = self.c_proj(self.activation(self.c_fc(hidden_states)))
        return output


class GPT2Block(nn.Module):
    """One transformer layer, normalized before each part."""

    def __init__(self, config: GPT2Config, layer_index: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, layer_index)
        self.ln_2 = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def forward(
        self,
        hidden_states: Tensor,
        mask: AttentionMask,
        cache: KVCache | None,
        output_attentions: list[Tensor] | None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden_states = hidden_states + self.attn(self.ln_1(hidden_states), mask, cache, output_attentions)
        output: Tensor = hidden_states + self.mlp(self.ln_2(hidden_states))
        return output


class GPT2Model(nn.Module):
    """Embeddings, blocks and final norm: everything below the output layer."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.wpe = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.h = nn.ModuleList(GPT2Block(config, index) for index in range(config.num_hidden_layers))
        self.ln_f = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)

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
        assert segment_ids is None or past == 0, "packed sequences are read whole"
        if position_ids is None and segment_ids is not None:
            position_ids = segment_positions(segment_ids)
        elif position_ids is None:
            position_ids = positions(past, time, attention_mask, input_ids.device)
        mask = make_mask(
            time, past + time, causal=True, device=input_ids.device, padding=attention_mask, segment_ids=segment_ids
        )
        hidden_states = self.wte(input_ids) + self.wpe(position_ids)
        for block in self.h:
            hidden_states = run_block(block, hidden_states, mask, cache, output_attentions)
        if cache is not None:
            cache.advance(time)
        output: Tensor = self.ln_f(hidden_states)
        return output


def segment_positions(segment_ids: Tensor) -> Tensor:
    """Positions (B, T) that start again at 0 with every segment of `segment_ids` (B, T)."""
    index = torch.arange(segment_ids.shape[1], device=segment_ids.device).expand_as(segment_ids)
    begins = torch.ones_like(segment_ids, dtype=torch.bool)
    begins[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return index - torch.where(begins, index, 0).cummax(dim=1).values


class GPT2LMHeadModel(Decoder):
    """A GPT-2 decoder with its output layer."""

    config: GPT2Config

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The output layer is the token embedding where the config says so."""
        return {"lm_head.weight": "transformer.wte.weight"} if self.config.tie_word_embeddings else {}

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights: see `init_normal`."""
        init_normal(
            self,
            self.config.initializer_range,
            generator,
            residual=("c_proj.weight",),
            num_hidden_layers=self.config.num_hidden_layers,
        )

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.max_position_embeddings

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` positions."""
        return KVCache(self.config.num_hidden_layers, capacity)

    @property
    def backbone(self) -> nn.Module:
        """Everything below the output layer."""
        return self.transformer

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer layers."""
        return self.transformer.h
