"""BERT and RoBERTa: encoders normalized after each part, with learned positions.

Parameter and config names are those of Hugging Face's `BertModel` and `RobertaModel`. XLM-RoBERTa has RoBERTa's
wiring; MacBERT and the Chinese BERTs have BERT's. Their masked-language heads are in `masked_lm`.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import Activation, activation
from inkstone.nn.layers.attention import attention
from inkstone.nn.layers.initialization import init_normal
from inkstone.nn.layers.mask import AttentionMask, make_mask
from inkstone.nn.layers.recompute import run_block
from inkstone.nn.models.base import Encoder, ModelConfig


class BertConfig(ModelConfig):
    """Shape of a BERT or RoBERTa model; keys and meanings are Hugging Face's."""

    model_type: Literal["bert", "roberta", "xlm-roberta"] = "bert"
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    """Rows of the position table; RoBERTa uses those after `pad_token_id`."""
    type_vocab_size: int = Field(default=2, gt=0)
    """How many texts of one sequence are told apart."""
    pad_token_id: int = Field(default=0, ge=0)
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    hidden_dropout_prob: float = Field(default=0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(default=0.1, ge=0, lt=1)
    tie_word_embeddings: Literal[True] = True
    add_pooling_layer: bool = False
    """Whether the backbone has a pooler; never in config.json: files show it by holding one."""

    @model_validator(mode="after")
    def _check_sizes(self) -> "BertConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.first_position >= self.max_position_embeddings:
            raise ValueError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no position after "
                f"pad_token_id {self.pad_token_id}"
            )
        return self

    @property
    def first_position(self) -> int:
        """Row of the position table that the first token takes."""
        return 0 if self.model_type == "bert" else self.pad_token_id + 1


class BertEmbeddings(nn.Module):
    """Sum of word, position and token type embeddings, normalized."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> Tensor:
        """Token ids (B, T) → (B, T, C)."""
        if position_ids is None:
            position_ids = self._positions(input_ids, attention_mask)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        embeddings = (
            self.word_embeddings(input_ids)
            + self.token_type_embeddings(token_type_ids)
            + self.position_embeddings(position_ids)
        )
        output: Tensor = self.dropout(self.LayerNorm(embeddings))
        return output

    def _positions(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """BERT counts every place (1, T); RoBERTa real tokens only (B, T), padding being at its pad id."""
        if self.config.model_type == "bert":
            return torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        real = input_ids != self.config.pad_token_id
        if attention_mask is not None:
            real = real & attention_mask.bool()
        return real.cumsum(-1) * real + self.config.pad_token_id


class BertSelfAttention(nn.Module):
    """Multi-head attention without its output projection."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.num_attention_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: Tensor, mask: AttentionMask, output_attentions: list[Tensor] | None) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        batch, time, size = hidden_states.shape
        # (B, T, H·D) → (B, H, T, D)
        query, key, value = (
            project(hidden_states).view(batch, time, self.num_attention_heads, -1).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        context = attention(query, key, value, mask, dropout=dropout, output_attentions=output_attentions)
        # (B, H, T, D) → (B, T, H·D)
        return context.transpose(1, 2).reshape(batch, time, size)


class BertOutput(nn.Module):
    """Projection, dropout, residual and normalization: the end of each half of a block."""

    def __init__(self, config: BertConfig, input_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(input_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states: Tensor, residual: Tensor) -> Tensor:
        """(B, T, input_size) and (B, T, C) → (B, T, C)."""
        output: Tensor = self.LayerNorm(self.dropout(self.dense(states)) + residual)
        return output


class BertBlock(nn.Module):
    """One transformer layer, normalized after each part (Devlin et al. 2019, arXiv:1810.04805)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": BertSelfAttention(config), "output": BertOutput(config, config.hidden_size)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = BertOutput(config, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor, mask: AttentionMask, output_attentions: list[Tensor] | None) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        context = self.attention["self"](hidden_states, mask, output_attentions)
        hidden_states = self.attention["output"](context, hidden_states)
        inner = self.activation(self.intermediate["dense"](hidden_states))
        output: Tensor = self.output(inner, hidden_states)
        return output


class BertModel(Encoder):
    """Embeddings and blocks and, where the config asks for one, a pooler."""

    config: BertConfig

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        layers = nn.ModuleList(BertBlock(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        if config.add_pooling_layer:
            self.pooler = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.hidden_size)})

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights: see `init_normal`."""
        init_normal(self, self.config.initializer_range, generator)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer layers."""
        layers = self.encoder["layer"]
        assert isinstance(layers, nn.ModuleList)
        return layers

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.max_position_embeddings - self.config.first_position

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
        """As in `Encoder.hidden_states`."""
        time = input_ids.shape[1]
        mask = make_mask(time, time, causal=False, device=input_ids.device, padding=attention_mask)
        hidden_states: Tensor = self.embeddings(input_ids, attention_mask, token_type_ids, position_ids)
        if output_hidden_states is not None:
            output_hidden_states.append(hidden_states)
        for block in self.blocks:
            hidden_states = run_block(block, hidden_states, mask, output_attentions)
            if output_hidden_states is not None:
                output_hidden_states.append(hidden_states)
        return hidden_states

    forward = hidden_states

    def pooled(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (B, T, C) → `tanh(W · first token + b)`, (B, C); only with `add_pooling_layer`."""
        return torch.tanh(self.pooler["dense"](hidden_states[:, 0]))
