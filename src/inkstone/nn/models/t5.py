"""T5: an encoder–decoder with relative positions, pre-norm without biases, and unscaled attention.

Raffel et al. 2020, arXiv:1910.10683; version 1.1, Flan-T5 and mT5 (Xue et al. 2021, arXiv:2010.11934) have a gated
feed-forward network and an output layer of their own. Parameter and config names are those of Hugging Face's
`T5ForConditionalGeneration` and `MT5ForConditionalGeneration`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import Activation, activation
from inkstone.nn.layers.cross_attention import (
    CrossAttention,
    EncoderDecoderCache,
    ProjectionNames,
    SelfAttention,
    Source,
)
from inkstone.nn.layers.mask import AttentionMask, make_mask
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.recompute import run_block
from inkstone.nn.layers.relative_position import RelativePositionBias
from inkstone.nn.models.stacks import StackedConfig, StackedEncoderDecoder

_NAMES = ProjectionNames("q", "k", "v", "o")
_ACTIVATIONS: Mapping[str, Activation] = {"relu": "relu", "gated-gelu": "gelu_new", "gated-silu": "silu"}


class T5Config(StackedConfig):
    """Shape of a T5 model; keys and meanings are Hugging Face's."""

    model_type: Literal["t5", "mt5"] = "t5"
    d_model: int = Field(gt=0)
    d_kv: int = Field(gt=0)
    """Size of each attention head; their number times this need not be d_model."""
    d_ff: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    """Of the encoder."""
    num_decoder_layers: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    relative_attention_num_buckets: int = Field(default=32, ge=4, multiple_of=4)
    relative_attention_max_distance: int = Field(default=128, gt=0)
    n_positions: int = Field(default=512, gt=0)
    """Longest source and target the model was made for, in tokens; relative positions themselves have no end."""
    feed_forward_proj: Literal["relu", "gated-gelu", "gated-silu"] = "relu"
    layer_norm_epsilon: float = Field(default=1e-6, gt=0)
    initializer_factor: float = Field(default=1.0, gt=0)
    decoder_start_token_id: int = Field(default=0, ge=0)
    scale_decoder_outputs: bool = True
    """Divide the decoder's states by sqrt(d_model) before the output layer: the first T5, whose embeddings are tied."""
    dropout_rate: float = Field(default=0.1, ge=0, lt=1)
    """In training, of embeddings, attention weights, what each part adds, and inside the feed-forward network."""

    @model_validator(mode="after")
    def _check(self) -> "T5Config":
        if self.relative_attention_max_distance <= self.relative_attention_num_buckets // 2:
            raise ValueError("relative_attention_max_distance must exceed half of relative_attention_num_buckets")
        if self.decoder_start_token_id >= self.vocab_size:
            raise ValueError(f"decoder_start_token_id {self.decoder_start_token_id} is not in the vocabulary")
        return self

    @property
    def is_gated(self) -> bool:
        """Whether the feed-forward network has a gate (Shazeer 2020, arXiv:2002.05202)."""
        return self.feed_forward_proj.startswith("gated-")


class T5FeedForward(nn.Module):
    """`wo(relu(wi(x)))`, or gated: `wo(gelu(wi_0(x)) · wi_1(x))`."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        if config.is_gated:
            self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
            self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        else:
            self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.is_gated = config.is_gated
        self.activation = activation(_ACTIVATIONS[config.feed_forward_proj])

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        if self.is_gated:
            inner = self.activation(self.wi_0(hidden_states)) * self.wi_1(hidden_states)
        else:
            inner = self.activation(self.wi(hidden_states))
        output: Tensor = self.wo(self.dropout(inner))
        return output


class T5Part(nn.Module):
    """One residual part of a block, `x + part(norm(x))`, under the name that files give the part."""

    def __init__(self, config: T5Config, name: str, part: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, part)
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden_states: Tensor, *arguments: Any) -> Tensor:
        """(B, T, C) → (B, T, C); further arguments are the part's own."""
        part = getattr(self, self.name)
        output: Tensor = hidden_states + self.dropout(part(self.layer_norm(hidden_states), *arguments))
        return output


class T5Block(nn.Module):
    """One layer: self-attention, in decoders cross-attention, then the feed-forward network."""

    def __init__(self, config: T5Config, layer_index: int, *, is_decoder: bool) -> None:
        super().__init__()
        shape = (config.d_model, config.num_heads, config.d_kv)
        style: dict[str, Any] = {"bias": False, "scale": 1.0, "dropout": config.dropout_rate, "names": _NAMES}
        own = SelfAttention(*shape, layer_index=layer_index, **style)
        if layer_index == 0:
            own.relative_attention_bias = RelativePositionBias(
                config.relative_attention_num_buckets,
                config.num_heads,
                config.relative_attention_max_distance,
                bidirectional=not is_decoder,
            )
        self.layer = nn.ModuleList([T5Part(config, "SelfAttention", own)])
        if is_decoder:
            cross = CrossAttention(*shape, layer_index=layer_index, **style)
            self.layer.append(T5Part(config, "EncDecAttention", cross))
        self.layer.append(T5Part(config, "DenseReluDense", T5FeedForward(config)))

    def forward(
        self,
        hidden_states: Tensor,
        mask: AttentionMask,
        bias: Tensor,
        source: Source | None = None,
        cache: EncoderDecoderCache | None = None,
        output_attentions: list[Tensor] | None = None,
        output_cross_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden_states = self.layer[0](hidden_states, mask, cache, bias, output_attentions)
        if source is not None:
            hidden_states = self.layer[1](hidden_states, source, cache, output_cross_attentions)
        output: Tensor = self.layer[-1](hidden_states)
        return output


class T5Stack(nn.Module):
    """Embedding, blocks and final norm of an encoder or of a decoder."""

    def __init__(self, config: T5Config, num_layers: int, *, is_decoder: bool) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.block = nn.ModuleList(T5Block(config, index, is_decoder=is_decoder) for index in range(num_layers))
        self.final_layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.is_decoder = is_decoder

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        source: Source | None = None,
        cache: EncoderDecoderCache | None = None,
        output_attentions: list[Tensor] | None = None,
        output_cross_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, T), after those in `cache` → hidden states (B, T, C)."""
        time, past = input_ids.shape[1], 0 if cache is None else cache.length
        mask = make_mask(time, past + time, causal=self.is_decoder, device=input_ids.device, padding=attention_mask)
        bias = self._relative_attention_bias(time, past + time)
        hidden_states = self.dropout(self.embed_tokens(input_ids))
        for block in self.block:
            hidden_states = run_block(
                block, hidden_states, mask, bias, source, cache, output_attentions, output_cross_attentions
            )
        if cache is not None:
            cache.advance(time)
        output: Tensor = self.dropout(self.final_layer_norm(hidden_states))
        return output

    def _relative_attention_bias(self, num_queries: int, num_keys: int) -> Tensor:
        """(1, H, T, S): the first block holds it for all."""
        first = self.get_submodule("block.0.layer.0.SelfAttention.relative_attention_bias")
        bias: Tensor = first(num_queries, num_keys)
        return bias


class T5(StackedEncoderDecoder):
    """A T5 encoder–decoder with its output layer."""

    config: T5Config

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config, config.num_layers, is_decoder=False)
        self.decoder = T5Stack(config, config.num_decoder_layers, is_decoder=True)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """Both stacks have one embedding; the output layer is the same where the config says so."""
        aliases = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
        if self.config.tie_word_embeddings:
            aliases.append("lm_head.weight")
        return dict.fromkeys(aliases, "shared.weight")

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights, as Mesh TensorFlow's T5 does.

        Matrices are normal with the standard deviation `1/sqrt(inputs)`, queries divided once more by `sqrt(d_kv)`
        (instead of scaling attention); an embedding and an output layer of its own have 1, relative positions
        `1/sqrt(d_model)`. All are multiplied by `initializer_factor`.
        """
        config = self.config
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(config.initializer_factor)
                continue
            if name.endswith(("shared.weight", "lm_head.weight")):
                std = 1.0
            elif name.endswith("relative_attention_bias.weight"):
                std = config.d_model**-0.5
            else:
                std = parameter.shape[1] ** -0.5
            if name.endswith("Attention.q.weight"):
                std *= config.d_kv**-0.5
            parameter.normal_(0.0, config.initializer_factor * std, generator=generator)

    @property
    def context(self) -> int:
        """Longest source, and longest target, in tokens."""
        return self.config.n_positions

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The layers of the encoder, then those of the decoder."""
        return [*self.encoder.block, *self.decoder.block]

    @property
    def stacks(self) -> tuple[nn.Module, nn.Module]:
        """The encoder's and the decoder's."""
        return self.encoder, self.decoder

    def new_cache(self, capacity: int) -> EncoderDecoderCache:
        """An empty cache for `capacity` target positions."""
        return EncoderDecoderCache(self.config.num_decoder_layers, capacity)

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Decoder states (..., C) → float32 logits (..., V)."""
        if self.config.scale_decoder_outputs:
            hidden_states = hidden_states * self.config.d_model**-0.5
        logits: Tensor = self.lm_head(hidden_states)
        return logits.float()
