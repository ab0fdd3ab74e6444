"""Heads that turn a language model into a classifier, a tagger, an answer finder or a judge.

A `HeadedModel` is the backbone of any family with one small layer on it. Its parameter names are those of Hugging
Face's `…ForSequenceClassification`, `…ForTokenClassification` and `…ForQuestionAnswering`; a `HeadLayout` says where
a family's class of `transformers` keeps what.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.core.config import Config
from inkstone.nn.layers.initialization import init_normal
from inkstone.nn.models.base import Model, ModelConfig
from inkstone.nn.pooling import first_token, last_token, mean_of_tokens

TRANSFORM = "head"
"""What the layer before the head is called in the families that have one."""
HeadKind = Literal["sequence", "token", "span"]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]


class HeadConfig(Config):
    """What a head predicts."""

    kind: HeadKind
    """`sequence`: labels of a whole text; `token`: of every token; `span`: where an answer begins and ends."""
    labels: tuple[str, ...] = ()
    """Names of the labels, in the order of their logits; one for a regression or a reward, none for `span`."""
    problem_type: ProblemType | None = None
    """Of `sequence`; by default a regression with one label, one true label of several otherwise."""
    classifier_dropout: float | None = Field(default=None, ge=0, lt=1)
    """On what the head reads, in training; by default the `hidden_dropout_prob` of an encoder that has one, but none
    for `span`."""

    @model_validator(mode="after")
    def _check_labels(self) -> "HeadConfig":
        if self.kind == "span" and self.labels:
            raise ValueError("a span head has no labels")
        if self.kind != "span" and not self.labels:
            raise ValueError("labels: give at least one")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: two are the same")
        if self.problem_type is not None and self.kind != "sequence":
            raise ValueError(f"problem_type is for sequence heads, this is a {self.kind} head")
        return self

    @property
    def num_outputs(self) -> int:
        """Logits of a text or a token: one for each label, or start and end."""
        return 2 if self.kind == "span" else len(self.labels)

    @property
    def problem(self) -> ProblemType:
        """`problem_type`, or what it is by default."""
        if self.problem_type is not None:
            return self.problem_type
        return "regression" if len(self.labels) == 1 else "single_label_classification"


def _same(config: Any) -> Any:
    return config


@dataclass(frozen=True)
class HeadLayout:
    """How one class of `transformers` puts a head on a backbone."""

    kind: HeadKind
    backbone: Callable[[Any], nn.Module]
    """Config → everything below the head; called with token ids (B, T) it gives hidden states (B, T, C)."""
    prefix: str
    """Name of the backbone in the model."""
    head: str
    """Name of the head in the model."""
    reads: Literal["pooler", "first", "last", "every", "configured"]
    """The pooled first token, the first or the last real token, every token, or what `classifier_pooling` says: `cls`,
    the first real token, or `mean`, that of all."""
    bias: bool = True
    two_layers: bool = False
    transform: Callable[[Any], nn.Module] | None = None
    """Config → a layer, called `head`, between what is read and the head; (..., C) → (..., C)."""
    configure: Callable[[Any], Any] = _same
    """The backbone's config, with what this head needs."""

    def build(self, head: HeadConfig, config: ModelConfig) -> "HeadedModel":
        """A model with this layout; its weights are yet to be drawn or loaded."""
        config = self.configure(config)
        return HeadedModel(config, head, self, self.backbone(config))


class TwoLayerHead(nn.Module):
    """RoBERTa's classifier: `out_proj(tanh(dense(x)))`, dropout before both."""

    def __init__(self, hidden_size: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        """(B, C), after dropout → logits (B, num_outputs)."""
        output: Tensor = self.out_proj(self.dropout(torch.tanh(self.dense(states))))
        return output


class HeadedModel(Model):
    """A backbone and a head."""

    def __init__(self, config: ModelConfig, head: HeadConfig, layout: HeadLayout, backbone: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.head_config = head
        self.layout = layout
        shape: Any = config
        dropout = head.classifier_dropout
        if dropout is None:
            dropout = 0.0 if head.kind == "span" else getattr(config, "hidden_dropout_prob", 0.0)
        self.dropout = nn.Dropout(dropout)
        self.add_module(layout.prefix, backbone)
        if layout.two_layers:
            new: nn.Module = TwoLayerHead(shape.hidden_size, head.num_outputs, dropout)
        else:
            new = nn.Linear(shape.hidden_size, head.num_outputs, bias=layout.bias)
        if layout.transform is not None:
            self.add_module(TRANSFORM, layout.transform(config))
        self.add_module(layout.head, new)

    @property
    def backbone(self) -> nn.Module:
        """Everything below the head."""
        return self.get_submodule(self.layout.prefix)

    @property
    def output_layer(self) -> nn.Module:
        """The layer that gives the logits."""
        return self.get_submodule(self.layout.head)

    @property
    def transform(self) -> nn.Module | None:
        """The layer before it, where the family has one."""
        return None if self.layout.transform is None else self.get_submodule(TRANSFORM)

    @property
    def reads_token_types(self) -> bool:
        """Whether `token_type_ids` tell it anything."""
        return int(getattr(self.config, "type_vocab_size", 0)) > 1

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        shape: Any = self.config
        return int(getattr(self.backbone, "context", shape.max_position_embeddings))

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer layers: the backbone's outermost list of modules."""
        return next(module for module in self.backbone.modules() if isinstance(module, nn.ModuleList))

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights of backbone and head: see `init_normal`."""
        init_normal(self, self.config.initializer_range, generator)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids → logits, in the weights' dtype.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 at padding, on whichever side.
            token_type_ids: (B, T), which of two texts a token belongs to; encoders only.
            position_ids: (B, T), by default as the family counts them.
            output_attentions: a list to which every block appends its attention weights, (B, H, T, T).

        Returns:
            (B, labels) of a sequence head, (B, T, labels) of a token head, (B, T, 2), start and end, of a span head.
        """
        encoder_only: Mapping[str, Tensor] = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden_states: Tensor = self.backbone(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=output_attentions,
            **encoder_only,
        )
        states = self._read(hidden_states, attention_mask)
        if self.transform is not None:
            states = self.transform(states)
        logits: Tensor = self.output_layer(self.dropout(states))
        return logits

    def _read(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B, T, C) → what the head reads: (B, C), or (B, T, C) itself."""
        shape: Any = self.config
        match self.layout.reads:
            case "every":
                return hidden_states
            case "configured" if shape.classifier_pooling == "mean":
                return mean_of_tokens(hidden_states, attention_mask)
            case "first" | "configured":
                return first_token(hidden_states, attention_mask)
            case "last":
                return last_token(hidden_states, attention_mask)
            case "pooler":
                pooler: Any = self.backbone
                pooled: Tensor = pooler.pooled(first_token(hidden_states, attention_mask).unsqueeze(1))
                return pooled
