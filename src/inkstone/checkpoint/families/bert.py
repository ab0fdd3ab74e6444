"""BERT, RoBERTa and XLM-RoBERTa."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.heads import encoder_heads, two_layer_heads
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.layers.activation import ACTIVATIONS
from inkstone.nn.models.bert import BertConfig, BertModel
from inkstone.nn.models.masked_lm import BertForMaskedLM, RobertaForMaskedLM

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
"""Of `transformers`, for keys that config.json leaves out."""


def _from_hf(hf: HFConfig, *, model_type: str, defaults: Mapping[str, Any]) -> BertConfig:
    _require_supported(hf)
    keys = {key: value_or(hf, key, default) for key, default in defaults.items()}
    return parse_config(BertConfig, {"model_type": model_type, **keys}, where="config.json")


def _to_hf(config: BertConfig) -> dict[str, Any]:
    return {
        **config.model_dump(include={*_DEFAULTS, "pad_token_id", "tie_word_embeddings"}),
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "use_cache": True,
    }


def _require_supported(hf: HFConfig) -> None:
    facts = {
        "hidden_act": (value_or(hf, "hidden_act", "gelu"), ACTIVATIONS),
        "position_embedding_type": (value_or(hf, "position_embedding_type", "absolute"), ("absolute",)),
        "is_decoder": (value_or(hf, "is_decoder", False), (False,)),
        "add_cross_attention": (value_or(hf, "add_cross_attention", False), (False,)),
        "tie_word_embeddings": (value_or(hf, "tie_word_embeddings", True), (True,)),
        "quantization_config": (hf.get("quantization_config"), (None,)),
    }
    for key, (value, supported) in facts.items():
        if value not in supported:
            raise ConfigError(f"{key} {value!r} is not supported", remedy=f"use a model with {key} {supported[0]!r}")


def _renamed(name: str) -> str | None:
    """Files of 2018 call LayerNorm's parameters gamma and beta; some hold position tables.

    The next-sentence head (`cls.seq_relationship`) is left out: nothing here uses it.
    """
    if name.endswith("embeddings.position_ids") or name.startswith("cls.seq_relationship."):
        return None
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _for_file(config: BertConfig, names: Collection[str]) -> BertConfig:
    """A pooler is there where the file holds one: whether it does follows from no key of config.json."""
    return config.model_copy(update={"add_pooling_layer": any(name.endswith("pooler.dense.weight") for name in names)})


BERT = ModelFamily(
    "bert",
    partial(_from_hf, model_type="bert", defaults=_DEFAULTS | {"pad_token_id": 0}),
    _to_hf,
    {
        "BertForMaskedLM": BertForMaskedLM,
        "BertForPreTraining": BertForMaskedLM,
        "BertModel": BertModel,
        **encoder_heads("Bert", BertModel, "bert"),
    },
    renamed=_renamed,
    prefix="bert.",
    for_file=_for_file,
)
ROBERTA = ModelFamily(
    "roberta",
    partial(_from_hf, model_type="roberta", defaults=_DEFAULTS | {"vocab_size": 50265, "pad_token_id": 1}),
    _to_hf,
    {
        "RobertaForMaskedLM": RobertaForMaskedLM,
        "RobertaModel": BertModel,
        **two_layer_heads("Roberta", BertModel, "roberta"),
    },
    renamed=_renamed,
    prefix="roberta.",
    for_file=_for_file,
)
XLM_ROBERTA = replace(
    ROBERTA,
    model_type="xlm-roberta",
    from_hf=partial(_from_hf, model_type="xlm-roberta", defaults=_DEFAULTS | {"vocab_size": 30522, "pad_token_id": 1}),
    architectures={f"XLM{name}": build for name, build in ROBERTA.architectures.items()},
)
