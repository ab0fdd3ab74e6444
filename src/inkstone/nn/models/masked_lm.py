"""Encoders that find hidden tokens (Devlin et al. 2019, arXiv:1810.04805, section 3.1): all, BERT and RoBERTa.

Parameter names are those of Hugging Face's `BertForMaskedLM` and `RobertaForMaskedLM`.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from inkstone.nn.layers.activation import activation
from inkstone.nn.layers.initialization import attend_to_neighbors, init_normal
from inkstone.nn.models.base import Encoder
from inkstone.nn.models.bert import BertConfig, BertModel


class MaskedLM(Encoder):
    """An encoder that predicts the tokens that were masked; the output layer is the word embedding and a bias."""

    @property
    @abstractmethod
    def backbone(self) -> Encoder:
        """Everything below the masked-language head."""

    @abstractmethod
    def logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (..., C) → logits (..., V) in the weights' dtype."""

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer layers."""
        return self.backbone.blocks

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return self.backbone.context

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
        return self.backbone.hidden_states(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Token ids (B, T) → logits (B, T, V) in the weights' dtype; arguments as of `hidden_states`."""
        return self.logits(self.hidden_states(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids))


class BertMaskedLM(MaskedLM):
    """What BERT and RoBERTa have in common."""

    config: BertConfig

    @property
    @abstractmethod
    def backbone(self) -> BertModel:
        """Everything below the masked-language head."""

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights: see `init_normal`, and for the first layer's attention `attend_to_neighbors`."""
        init_normal(self, self.config.initializer_range, generator)
        first = self.backbone.get_submodule("encoder.layer.0.attention.self")
        attend_to_neighbors(
            self.backbone.get_parameter("embeddings.position_embeddings.weight"),
            first.get_parameter("query.weight"),
            first.get_parameter("key.weight"),
            self.config.num_attention_heads,
            self.config.initializer_range,
        )


class BertPredictions(nn.Module):
    """BERT's masked-language head: dense, activation, LayerNorm, output layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = nn.ModuleDict(
            {
                "dense": nn.Linear(config.hidden_size, config.hidden_size),
                "LayerNorm": nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
            }
        )
        self.activation = activation(config.hidden_act)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = self.decoder.bias

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., C) → (..., V)."""
        inner = self.activation(self.transform["dense"](hidden_states))
        output: Tensor = self.decoder(self.transform["LayerNorm"](inner))
        return output


class BertForMaskedLM(BertMaskedLM):
    """BERT with its masked-language head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The output layer is the word embedding, with a bias of its own that has two names."""
        return {
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        }

    @property
    def backbone(self) -> BertModel:
        """Everything below the masked-language head."""
        return self.bert

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (..., C) → logits (..., V) in the weights' dtype."""
        output: Tensor = self.cls["predictions"](hidden_states)
        return output


class RobertaPredictions(nn.Module):
    """RoBERTa's masked-language head: BERT's, under other names and always with the exact gelu."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = self.decoder.bias

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., C) → (..., V)."""
        output: Tensor = self.decoder(self.layer_norm(activation("gelu")(self.dense(hidden_states))))
        return output


class RobertaForMaskedLM(BertMaskedLM):
    """RoBERTa or XLM-RoBERTa with its masked-language head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.roberta = BertModel(config)
        self.lm_head = RobertaPredictions(config)
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The output layer is the word embedding, with a bias of its own that has two names."""
        return {
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        }

    @property
    def backbone(self) -> BertModel:
        """Everything below the masked-language head."""
        return self.roberta

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (..., C) → logits (..., V) in the weights' dtype."""
        output: Tensor = self.lm_head(hidden_states)
        return output
