"""The Transformer as first published: encoder and decoder stacks, multi-head attention, absolute positions.

Marian is exactly that; BART learns its positions and normalizes embeddings; mBART also normalizes before each part
instead of after it. Parameter and config names are those of Hugging Face's `MarianMTModel`,
`BartForConditionalGeneration` and `MBartForConditionalGeneration`.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import Activation, activation
from inkstone.nn.layers.cross_attention import CrossAttention, EncoderDecoderCache, SelfAttention, Source
from inkstone.nn.layers.embedding import LearnedPositions, SinusoidalPositions
from inkstone.nn.layers.mask import AttentionMask, make_mask
from inkstone.nn.layers.recompute import run_block
from inkstone.nn.layers.rope import positions
from inkstone.nn.models.stacks import StackedConfig, StackedEncoderDecoder


class Layout(NamedTuple):
    """What a family's name says of its wiring."""

    learned_positions: bool
    """Trained position vectors instead of sinusoids."""
    normalize_embedding: bool
    """Normalize the sum of token and position embeddings."""
    normalize_before: bool
    """Normalize the input of each part, and the output of each stack (pre-norm), instead of each sum (post-norm)."""


LAYOUTS = {
    "marian": Layout(learned_positions=False, normalize_embedding=False, normalize_before=False),
    "bart": Layout(learned_positions=True, normalize_embedding=True, normalize_before=False),
    "mbart": Layout(learned_positions=True, normalize_embedding=True, normalize_before=True),
}


class TransformerConfig(StackedConfig):
    """Shape of an encoder–decoder Transformer; keys and meanings are Hugging Face's."""

    model_type: Literal["marian", "bart", "mbart"] = "marian"
    d_model: int = Field(gt=0)
    encoder_layers: int = Field(gt=0)
    encoder_attention_heads: int = Field(gt=0)
    encoder_ffn_dim: int = Field(gt=0)
    decoder_layers: int = Field(gt=0)
    decoder_attention_heads: int = Field(gt=0)
    decoder_ffn_dim: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    """Longest source, and longest target, in tokens."""
    decoder_vocab_size: int | None = Field(default=None, gt=0)
    """Of the target language, where it has a vocabulary of its own."""
    share_encoder_decoder_embeddings: bool = True
    """One embedding for source and target."""
    activation_function: Activation = "silu"
    scale_embedding: bool = True
    """Multiply embeddings by sqrt(d_model)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """In training, of embeddings and of what each part adds."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """In training, of attention weights."""
    activation_dropout: float = Field(default=0.0, ge=0, lt=1)
    """In training, inside the feed-forward part."""

    @model_validator(mode="after")
    def _check(self) -> "TransformerConfig":
        for stack in ("encoder", "decoder"):
            heads = getattr(self, f"{stack}_attention_heads")
            if self.d_model % heads:
                raise ValueError(f"d_model {self.d_model} is not a multiple of {stack}_attention_heads {heads}")
        if not self.layout.learned_positions and self.d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, not {self.d_model}")
        if self.share_encoder_decoder_embeddings and self.target_vocab_size != self.vocab_size:
            raise ValueError("share_encoder_decoder_embeddings needs decoder_vocab_size to be vocab_size")
        if self.decoder_start_token_id >= self.target_vocab_size:
            raise ValueError(f"decoder_start_token_id {self.decoder_start_token_id} is not in the target's vocabulary")
        return self

    @property
    def layout(self) -> Layout:
        """How the family wires its blocks."""
        return LAYOUTS[self.model_type]

    @property
    def target_vocab_size(self) -> int:
        """Tokens that the decoder knows."""
        return self.decoder_vocab_size or self.vocab_size


class StackShape(NamedTuple):
    """What may differ between the encoder's and the decoder's stack."""

    is_decoder: bool
    vocab_size: int
    num_layers: int
    num_attention_heads: int
    ffn_dim: int


class TransformerBlock(nn.Module):
    """One layer: self-attention, in decoders cross-attention, then the position-wise feed-forward network."""

    def __init__(self, config: TransformerConfig, shape: StackShape, layer_index: int) -> None:
        super().__init__()
        size, heads, dropout = config.d_model, shape.num_attention_heads, config.attention_dropout
        self.self_attn = SelfAttention(size, heads, size // heads, layer_index=layer_index, dropout=dropout)
        self.self_attn_layer_norm = nn.LayerNorm(size)
        if shape.is_decoder:
            self.encoder_attn = CrossAttention(size, heads, size // heads, layer_index=layer_index, dropout=dropout)
            self.encoder_attn_layer_norm = nn.LayerNorm(size)
        self.fc1 = nn.Linear(size, shape.ffn_dim)
        self.fc2 = nn.Linear(shape.ffn_dim, size)
        self.final_layer_norm = nn.LayerNorm(size)
        self.activation = activation(config.activation_function)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        self.normalize_before = config.layout.normalize_before

    def forward(
        self,
        hidden_states: Tensor,
        mask: AttentionMask,
        source: Source | None = None,
        cache: EncoderDecoderCache | None = None,
        output_attentions: list[Tensor] | None = None,
        output_cross_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        states = self._enter(hidden_states, self.self_attn_layer_norm)
        states = self.self_attn(states, mask, cache, output_attentions=output_attentions)
        hidden_states = self._leave(hidden_states, states, self.self_attn_layer_norm)
        if source is not None:
            states = self._enter(hidden_states, self.encoder_attn_layer_norm)
            states = self.encoder_attn(states, source, cache, output_cross_attentions)
            hidden_states = self._leave(hidden_states, states, self.encoder_attn_layer_norm)
        states = self._enter(hidden_states, self.final_layer_norm)
        states = self.fc2(self.activation_dropout(self.activation(self.fc1(states))))
        return self._leave(hidden_states, states, self.final_layer_norm)

    def _enter(self, hidden_states: Tensor, norm: nn.Module) -> Tensor:
        """What a part reads."""
        return norm(hidden_states) if self.normalize_before else hidden_states

    def _leave(self, hidden_states: Tensor, added: Tensor, norm: nn.Module) -> Tensor:
        """The residual stream after a part."""
        total = hidden_states + self.dropout(added)
        return total if self.normalize_before else norm(total)


class TransformerStack(nn.Module):
    """Embeddings and blocks of an encoder or of a decoder."""

    def __init__(self, config: TransformerConfig, shape: StackShape) -> None:
        super().__init__()
        layout = config.layout
        self.embed_tokens = nn.Embedding(shape.vocab_size, config.d_model)
        position_table = LearnedPositions if layout.learned_positions else SinusoidalPositions
        self.embed_positions = position_table(config.max_position_embeddings, config.d_model)
        self.embedding_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.layernorm_embedding = nn.LayerNorm(config.d_model) if layout.normalize_embedding else nn.Identity()
        self.layers = nn.ModuleList(TransformerBlock(config, shape, index) for index in range(shape.num_layers))
        self.layer_norm = nn.LayerNorm(config.d_model) if layout.normalize_before else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.is_decoder = shape.is_decoder

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
        position_ids = positions(past, time, attention_mask, input_ids.device)
        mask = make_mask(time, past + time, causal=self.is_decoder, device=input_ids.device, padding=attention_mask)
        embedded = self.embed_tokens(input_ids) * self.embedding_scale
        embedded = embedded + self.embed_positions(position_ids).to(embedded.dtype)
        hidden_states = self.dropout(self.layernorm_embedding(embedded))
        for block in self.layers:
            hidden_states = run_block(
                block, hidden_states, mask, source, cache, output_attentions, output_cross_attentions
            )
        if cache is not None:
            cache.advance(time)
        output: Tensor = self.layer_norm(hidden_states)
        return output


class TransformerModel(nn.Module):
    """Both stacks, and the embedding they share."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.share_encoder_decoder_embeddings:
            self.shared = nn.Embedding(config.vocab_size, config.d_model)
        heads = config.encoder_attention_heads, config.decoder_attention_heads
        encoder = StackShape(False, config.vocab_size, config.encoder_layers, heads[0], config.encoder_ffn_dim)
        decoder = StackShape(True, config.target_vocab_size, config.decoder_layers, heads[1], config.decoder_ffn_dim)
        self.encoder = TransformerStack(config, encoder)
        self.decoder = TransformerStack(config, decoder)


class Transformer(StackedEncoderDecoder):
    """An encoder–decoder Transformer with its output layer."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.model = TransformerModel(config)
        self.lm_head = nn.Linear(config.d_model, config.target_vocab_size, bias=False)
        self.final_logits_bias = nn.Parameter(torch.zeros(1, config.target_vocab_size))
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The stacks' embeddings, where they are shared, and the output layer, where the config ties it."""
        tied = {}
        target = "model.decoder.embed_tokens.weight"
        if self.config.share_encoder_decoder_embeddings:
            tied = dict.fromkeys(("model.encoder.embed_tokens.weight", target), "model.shared.weight")
            target = "model.shared.weight"
        return tied | ({"lm_head.weight": target} if self.config.tie_word_embeddings else {})

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights.

        Matrices are uniform with the variance `2 / (rows + columns)` (Glorot & Bengio 2010, eq. 16), as in Marian and
        in the reference implementation of Vaswani et al.; embeddings are normal with the variance `1 / d_model`
        (Vaswani et al. scale them by `sqrt(d_model)`). Biases are 0, norms 1.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            elif "embed" in name or name.endswith(("shared.weight", "lm_head.weight")):
                parameter.normal_(0.0, self.config.d_model**-0.5, generator=generator)
            else:
                bound = math.sqrt(6 / (parameter.shape[0] + parameter.shape[1]))
                parameter.uniform_(-bound, bound, generator=generator)

    @property
    def context(self) -> int:
        """Longest source, and longest target, in tokens."""
        return self.config.max_position_embeddings

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The layers of the encoder, then those of the decoder."""
        return [*self.model.encoder.layers, *self.model.decoder.layers]

    @property
    def stacks(self) -> tuple[nn.Module, nn.Module]:
        """The encoder's and the decoder's."""
        return self.model.encoder, self.model.decoder

    def new_cache(self, capacity: int) -> EncoderDecoderCache:
        """An empty cache for `capacity` target positions."""
        return EncoderDecoderCache(self.config.decoder_layers, capacity)

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Decoder states (..., C) → float32 logits (..., V)."""
        logits: Tensor = self.lm_head(hidden_states) + self.final_logits_bias[0]
        return logits.float()
