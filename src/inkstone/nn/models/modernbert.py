"""ModernBERT: an encoder with rotary positions, normalized before each part, with gated feed-forward layers.

Warner et al. 2024, arXiv:2412.13663. Parameter and config names are those of Hugging Face's `ModernBertModel` and
`ModernBertForMaskedLM`.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import Activation, activation
from inkstone.nn.layers.attention import attention
from inkstone.nn.layers.initialization import init_normal
from inkstone.nn.layers.mask import AttentionMask, make_mask
from inkstone.nn.layers.recompute import run_block
from inkstone.nn.layers.rope import RotaryEmbedding, apply_rope, positions
from inkstone.nn.models.base import Encoder, ModelConfig
from inkstone.nn.models.masked_lm import MaskedLM

LayerType = Literal["full_attention", "sliding_attention"]


class ModernBertConfig(ModelConfig):
    """Shape of a ModernBERT model; keys and meanings are Hugging Face's."""

    model_type: Literal["modernbert"] = "modernbert"
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    """Longest text the model was made for, in tokens."""
    layer_types: tuple[LayerType, ...] | None = None
    """Which layers see only tokens nearby; by default none."""
    local_attention: int = Field(default=128, gt=0)
    """Tokens around its own that such a layer sees, half of them to each side."""
    global_rope_theta: float = Field(default=160_000.0, gt=0)
    """Base of the rotary frequencies in layers that see everything."""
    local_rope_theta: float = Field(default=10_000.0, gt=0)
    """The same in layers that see only tokens nearby."""
    hidden_activation: Activation = "gelu"
    norm_eps: float = Field(default=1e-5, gt=0)
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    decoder_bias: bool = True
    """Of the masked-language output layer."""
    classifier_bias: bool = False
    """Of the dense layer that every head begins with."""
    classifier_activation: Activation = "gelu"
    """After that layer."""
    classifier_pooling: Literal["cls", "mean"] = "cls"
    """What a head reads of a text: its first token, or the mean of all."""
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of attention weights, and of what attention adds."""
    mlp_dropout: float = Field(default=0.0, ge=0, lt=1)
    tie_word_embeddings: Literal[True] = True

    @model_validator(mode="after")
    def _check_sizes(self) -> "ModernBertConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"rotary positions need attention heads of an even size, not {self.head_dim}")
        if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"layer_types has {len(self.layer_types)} entries for {self.num_hidden_layers} layers")
        return self

    @property
    def head_dim(self) -> int:
        """Components of an attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def types(self) -> tuple[LayerType, ...]:
        """`layer_types`, or what they are by default."""
        everything: LayerType = "full_attention"
        return self.layer_types or (everything,) * self.num_hidden_layers

    def norm(self) -> nn.LayerNorm:
        """A new normalization layer."""
        return nn.LayerNorm(self.hidden_size, eps=self.norm_eps, bias=self.norm_bias)


class ModernBertEmbeddings(nn.Module):
    """Word embeddings, normalized; positions come in by rotation."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = config.norm()
        self.drop = nn.Dropout(config.embedding_dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids (B, T) → (B, T, C)."""
        output: Tensor = self.drop(self.norm(self.tok_embeddings(input_ids)))
        return output


class ModernBertAttention(nn.Module):
    """Multi-head attention with rotary positions."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.num_attention_heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.dropout = config.attention_dropout
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.attention_bias)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, bias=config.attention_bias)
        self.out_drop = nn.Dropout(config.attention_dropout)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: AttentionMask,
        output_attentions: list[Tensor] | None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        batch, time, _ = hidden_states.shape
        # (B, T, 3·H·D) → three of (B, H, T, D)
        query, key, value = (
            self.Wqkv(hidden_states)
            .view(batch, time, 3, self.num_attention_heads, self.head_dim)
            .transpose(1, 3)
            .unbind(2)
        )
        context = attention(
            apply_rope(query, *rope),
            apply_rope(key, *rope),
            value,
            mask,
            dropout=self.dropout if self.training else 0.0,
            output_attentions=output_attentions,
        )
        output: Tensor = self.out_drop(self.Wo(context.transpose(1, 2).flatten(2)))
        return output


class ModernBertMLP(nn.Module):
    """Gated feed-forward layer `Wo(act(x) · gate)`, both halves of one product (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.mlp_bias)
        self.activation = activation(config.hidden_activation)
        self.drop = nn.Dropout(config.mlp_dropout)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        states, gate = self.Wi(hidden_states).chunk(2, dim=-1)
        output: Tensor = self.Wo(self.drop(self.activation(states) * gate))
        return output


class ModernBertBlock(nn.Module):
    """One transformer layer, normalized before each part; the embeddings already are before the first."""

    def __init__(self, config: ModernBertConfig, layer_index: int) -> None:
        super().__init__()
        self.attn_norm = config.norm() if layer_index else nn.Identity()
        self.attn = ModernBertAttention(config)
        self.mlp_norm = config.norm()
        self.mlp = ModernBertMLP(config)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: AttentionMask,
        output_attentions: list[Tensor] | None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden_states = hidden_states + self.attn(self.attn_norm(hidden_states), rope, mask, output_attentions)
        output: Tensor = hidden_states + self.mlp(self.mlp_norm(hidden_states))
        return output


class ModernBertModel(Encoder):
    """Embeddings, blocks and a final normalization."""

    config: ModernBertConfig

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = ModernBertEmbeddings(config)
        self.layers = nn.ModuleList(ModernBertBlock(config, index) for index in range(config.num_hidden_layers))
        self.final_norm = config.norm()
        self.rotary = nn.ModuleDict(
            {
                "full_attention": RotaryEmbedding(config.head_dim, config.global_rope_theta),
                "sliding_attention": RotaryEmbedding(config.head_dim, config.local_rope_theta),
            }
        )

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights: see `init_normal`."""
        _init(self, self.config, generator)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer layers."""
        return self.layers

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.max_position_embeddings

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
        output_hidden_states: list[Tensor] | None = None,
    ) -> Tensor:
        """As in `Encoder.hidden_states`, the last block's normalized; texts are not told apart by their types."""
        time = input_ids.shape[1]
        if position_ids is None:
            position_ids = positions(0, time, None, input_ids.device)
        shared = {
            layer_type: (self.rotary[layer_type](position_ids), self._mask(layer_type, input_ids, attention_mask))
            for layer_type in set(self.config.types)
        }
        hidden_states: Tensor = self.embeddings(input_ids)
        for block, layer_type in zip(self.layers, self.config.types, strict=True):
            if output_hidden_states is not None:
                output_hidden_states.append(hidden_states)
            hidden_states = run_block(block, hidden_states, *shared[layer_type], output_attentions)
        hidden_states = self.final_norm(hidden_states)
        if output_hidden_states is not None:
            output_hidden_states.append(hidden_states)
        return hidden_states

    forward = hidden_states

    def _mask(self, layer_type: LayerType, input_ids: Tensor, attention_mask: Tensor | None) -> AttentionMask:
        time = input_ids.shape[1]
        window = self.config.local_attention // 2 + 1 if layer_type == "sliding_attention" else None
        return make_mask(time, time, causal=False, device=input_ids.device, padding=attention_mask, window=window)


class ModernBertHead(nn.Module):
    """Dense layer, activation and normalization: what the masked-language head and every other head begin with."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.classifier_bias)
        self.activation = activation(config.classifier_activation)
        self.norm = config.norm()

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., C) → (..., C)."""
        output: Tensor = self.norm(self.activation(self.dense(hidden_states)))
        return output


class ModernBertForMaskedLM(MaskedLM):
    """ModernBERT with its masked-language head."""

    config: ModernBertConfig

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ModernBertModel(config)
        self.head = ModernBertHead(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.decoder_bias)
        self.tie_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights: see `init_normal`."""
        _init(self, self.config, generator)

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The output layer is the word embedding, with a bias of its own."""
        return {"decoder.weight": "model.embeddings.tok_embeddings.weight"}

    @property
    def backbone(self) -> ModernBertModel:
        """Everything below the masked-language head."""
        return self.model

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (..., C) → logits (..., V) in the weights' dtype."""
        output: Tensor = self.decoder(self.head(hidden_states))
        return output


def _init(module: nn.Module, config: ModernBertConfig, generator: torch.Generator | None) -> None:
    init_normal(
        module,
        config.initializer_range,
        generator,
        residual=("Wo.weight",),
        num_hidden_layers=config.num_hidden_layers,
    )
