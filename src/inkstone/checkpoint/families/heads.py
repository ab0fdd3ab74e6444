"""Heads in Hugging Face's layout: class names, parameter names, and labels in config.json."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.heads import HeadConfig, HeadKind, HeadLayout
from inkstone.nn.models.base import Decoder, ModelConfig

_CLASSES: Mapping[HeadKind, str] = {
    "sequence": "ForSequenceClassification",
    "token": "ForTokenClassification",
    "span": "ForQuestionAnswering",
}
"""Endings of the names of `transformers`' classes."""


def encoder_heads(name: str, backbone: type[nn.Module], prefix: str) -> dict[str, HeadLayout]:
    """The headed classes of an encoder family that classifies by a pooled first token, as BERT does."""
    layout = partial(HeadLayout, backbone=backbone, prefix=prefix)
    return {
        name + _CLASSES["sequence"]: layout("sequence", head="classifier", reads="pooler", configure=_with_pooler),
        name + _CLASSES["token"]: layout("token", head="classifier", reads="every"),
        name + _CLASSES["span"]: layout("span", head="qa_outputs", reads="every"),
    }


def two_layer_heads(name: str, backbone: type[nn.Module], prefix: str) -> dict[str, HeadLayout]:
    """The headed classes of an encoder family whose classifier has two layers, as RoBERTa's has."""
    layouts = encoder_heads(name, backbone, prefix)
    sequence = HeadLayout("sequence", backbone, prefix, head="classifier", reads="first", two_layers=True)
    return layouts | {name + _CLASSES["sequence"]: sequence}


def decoder_heads(
    name: str,
    decoder: type[Decoder],
    kinds: Collection[HeadKind] = ("sequence", "token", "span"),
    *,
    prefix: str = "model",
    span_prefix: str = "transformer",
    token_head: str = "score",
) -> dict[str, HeadLayout]:
    """The headed classes of a decoder family, which classifies by its last token.

    Args:
        name: what the names of `transformers`' classes begin with, such as `Llama`.
        decoder: the language model; what it has below its output layer is the backbone.
        kinds: the heads that the family has in `transformers`.
        prefix: name of the backbone.
        span_prefix: its name in the class that finds answers: most families have kept an old one.
        token_head: name of the head in the class that labels tokens.
    """
    layout = partial(HeadLayout, backbone=_BelowOutput(decoder, prefix))
    layouts = (
        layout("sequence", prefix=prefix, head="score", reads="last", bias=False),
        layout("token", prefix=prefix, head=token_head, reads="every"),
        layout("span", prefix=span_prefix, head="qa_outputs", reads="every"),
    )
    return {name + _CLASSES[each.kind]: each for each in layouts if each.kind in kinds}


@dataclass(frozen=True)
class _BelowOutput:
    """Makes the part of a language model that is below its output layer."""

    decoder: type[Decoder]
    name: str

    def __call__(self, config: ModelConfig) -> nn.Module:
        return self.decoder(config).get_submodule(self.name)


def _with_pooler(config: ModelConfig) -> ModelConfig:
    return config.model_copy(update={"add_pooling_layer": True})


def head_from_hf(hf: Mapping[str, Any], kind: HeadKind) -> HeadConfig:
    """The head that a config.json describes; what it leaves out is as in `transformers`.

    Raises:
        ConfigError: the labels are not numbered from 0, or two are the same.
    """
    keys: dict[str, Any] = {"kind": kind, "classifier_dropout": hf.get("classifier_dropout")}
    if kind != "span":
        keys["labels"] = _labels(hf)
    if kind == "sequence":
        keys["problem_type"] = hf.get("problem_type")
    return parse_config(HeadConfig, keys, where="config.json")


def _labels(hf: Mapping[str, Any]) -> list[str]:
    id2label = hf.get("id2label")
    if id2label is None:
        num_labels = hf.get("num_labels", 2)
        if not isinstance(num_labels, int) or not 0 < num_labels <= 1 << 20:
            raise ConfigError(f"num_labels {num_labels!r} is no number of labels", where="config.json")
        return [f"LABEL_{index}" for index in range(num_labels)]
    if not isinstance(id2label, dict) or sorted(id2label) != sorted(map(str, range(len(id2label)))):
        raise ConfigError(
            "id2label: expected labels numbered from 0",
            where="config.json",
            remedy='write it as {"0": "first label", "1": "second label", …}',
        )
    return [id2label[str(index)] for index in range(len(id2label))]


def head_to_hf(head: HeadConfig) -> dict[str, Any]:
    """The keys of config.json that describe a head."""
    keys: dict[str, Any] = {}
    if head.kind != "span":
        keys["id2label"] = {str(index): label for index, label in enumerate(head.labels)}
        keys["label2id"] = {label: index for index, label in enumerate(head.labels)}
    if head.problem_type is not None:
        keys["problem_type"] = head.problem_type
    if head.classifier_dropout is not None:
        keys["classifier_dropout"] = head.classifier_dropout
    return keys
