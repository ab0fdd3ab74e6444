"""The recurrent language model: embedding, layers of long short-term memory, output.

`transformers` has no such family: `model_type` "lstm" is our own, in the style and with the keys of the others.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from inkstone.nn.layers.recurrent import RecurrentCache, Runs, find_runs, run_layer
from inkstone.nn.models.base import Decoder, ModelConfig


class LstmConfig(ModelConfig):
    """Shape of an LSTM language model; keys and meanings are Hugging Face's."""

    model_type: Literal["lstm"] = "lstm"
    hidden_size: int = Field(gt=0)
    """Width of the state."""
    num_hidden_layers: int = Field(gt=0)
    embedding_size: int | None = Field(default=None, gt=0)
    """Width of the embedding; where it is not `hidden_size`, a matrix brings the last layer's output to it."""
    max_position_embeddings: int = Field(gt=0)
    """Longest sequence it was made for, in tokens: a choice, for the state itself has no end."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs and outputs of every layer that are dropped in training."""
    initializer_range: float = Field(default=0.1, gt=0)

    @property
    def input_size(self) -> int:
        """C, what the embedding gives and the output layer reads."""
        return self.embedding_size or self.hidden_size


class LstmModel(nn.Module):
    """Embedding and layers: everything below the output layer.

    Each layer is the LSTM of Hochreiter & Schmidhuber 1997 (Neural Computation 9(8)) with the forget gate of Gers
    et al. 2000 (Neural Computation 12(10)): from its input x and its last output h it computes

        i = σ(W_i x + U_i h + b_i)    f = σ(W_f x + U_f h + b_f)
        g = tanh(W_g x + U_g h + b_g)    o = σ(W_o x + U_o h + b_o)
        c ← f · c + i · g    h ← o · tanh(c)

    `weight_ih_l0` holds W_i, W_f, W_g, W_o one below the other, `weight_hh_l0` U; b is the sum of two vectors, as in
    `torch.nn.LSTM`. Dropout is applied between layers only, never to the recurrence (Zaremba et al. 2014,
    arXiv:1409.2329).
    """

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.input_size)
        inputs = [config.input_size] + [config.hidden_size] * (config.num_hidden_layers - 1)
        self.layers = nn.ModuleList(nn.LSTM(size, config.hidden_size, batch_first=True) for size in inputs)
        projected = config.input_size != config.hidden_size
        self.projection = nn.Linear(config.hidden_size, config.input_size, bias=False) if projected else nn.Identity()
        self.dropout = config.dropout

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # how many runs there are depends on the tokens
    def forward(
        self,
        input_ids: Tensor,
        cache: RecurrentCache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, T) → (B, T, C), 0 at padding; arguments as in `Decoder.hidden_states`.

        There are no positions, nor any attention to append.
        """
        assert cache is None or segment_ids is None, "packed sequences are read whole"
        runs = _runs(input_ids, segment_ids, attention_mask)
        hidden_states = self._drop(self.embed_tokens(input_ids))
        if runs is not None:
            hidden_states = hidden_states.flatten(0, 1)[runs.tokens]  # (B, T, C) → (M, C)
        for index, layer in enumerate(self.layers):
            before = None if cache is None else cache.state(index, runs)
            assert isinstance(layer, nn.LSTM)
            hidden_states, state = run_layer(layer, hidden_states, before, runs)
            if cache is not None:
                cache.store(index, state, runs)
            hidden_states = self._drop(hidden_states)
        if cache is not None:
            cache.advance(input_ids.shape[1])
        hidden_states = self.projection(hidden_states)
        if runs is None:
            return hidden_states
        # (M, C) → (B, T, C)
        padded = hidden_states.new_zeros(input_ids.numel(), hidden_states.shape[1])
        return padded.index_copy(0, runs.tokens, hidden_states).unflatten(0, input_ids.shape)

    def _drop(self, hidden_states: Tensor) -> Tensor:
        return F.dropout(hidden_states, self.dropout, self.training)


def _runs(input_ids: Tensor, segment_ids: Tensor | None, attention_mask: Tensor | None) -> Runs | None:
    """The runs of a batch; None where each sequence is one run, without padding."""
    mask = None if attention_mask is None else attention_mask[:, -input_ids.shape[1] :]
    if mask is not None and bool(mask.all()):
        mask = None
    if mask is None and segment_ids is None:
        return None
    return find_runs(torch.ones_like(input_ids) if mask is None else mask, segment_ids)


class LstmForCausalLM(Decoder):
    """A recurrent decoder with its output layer."""

    config: LstmConfig

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LstmModel(config)
        self.lm_head = nn.Linear(config.input_size, config.vocab_size, bias=False)
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The output layer is the embedding where the config says so."""
        return {"lm_head.weight": "model.embed_tokens.weight"} if self.config.tie_word_embeddings else {}

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights.

        The embedding and the output layer are normal with `initializer_range`, other matrices uniform within
        `1/sqrt(fan-in)`; biases are 0, but 1 for the forget gate, so that a new model remembers (Gers et al. 2000;
        Jozefowicz et al. 2015, section 2.2).
        """
        size = self.config.hidden_size
        for name, parameter in self.named_parameters():
            if name.endswith(("embed_tokens.weight", "lm_head.weight")):
                parameter.normal_(0.0, self.config.initializer_range, generator=generator)
            elif parameter.dim() > 1:
                bound = parameter.shape[1] ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
            else:
                parameter.zero_()
                if ".bias_ih" in name:
                    parameter[size : 2 * size] = 1.0

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.max_position_embeddings

    def new_cache(self, capacity: int) -> RecurrentCache:
        """An empty state; it needs the same room for any `capacity`."""
        return RecurrentCache(self.config.num_hidden_layers)

    @property
    def backbone(self) -> nn.Module:
        """Everything below the output layer."""
        return self.model

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The layers."""
        return self.model.layers
