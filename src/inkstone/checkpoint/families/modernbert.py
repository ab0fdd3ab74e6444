"""ModernBERT."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.layer_types import FULL, SLIDING
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.heads import HeadLayout
from inkstone.nn.layers.activation import ACTIVATIONS
from inkstone.nn.models.modernbert import ModernBertConfig, ModernBertForMaskedLM, ModernBertHead, ModernBertModel

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
    "max_position_embeddings": 8192,
    "local_attention": 128,
    "hidden_activation": "gelu",
    "norm_eps": 1e-5,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "decoder_bias": True,
    "classifier_bias": False,
    "classifier_activation": "gelu",
    "classifier_pooling": "cls",
    "embedding_dropout": 0.0,
    "attention_dropout": 0.0,
    "mlp_dropout": 0.0,
    "initializer_range": 0.02,
}
"""Of `transformers`, for keys that config.json leaves out."""
_THETAS = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}
"""Kind of layer → the key of its rotary base in `transformers` 4, and its default."""


def _from_hf(hf: HFConfig) -> ModernBertConfig:
    _require_supported(hf)
    keys = {key: value_or(hf, key, default) for key, default in _DEFAULTS.items()}
    types = list(value_or(hf, "layer_types", _every(hf, keys["num_hidden_layers"])))
    keys["layer_types"] = None if types == _pattern(1, keys["num_hidden_layers"]) else types
    keys |= {key: _theta(hf, kind, key, default) for kind, (key, default) in _THETAS.items()}
    return parse_config(ModernBertConfig, keys, where="config.json")


def _every(hf: HFConfig, num_layers: Any) -> list[str] | None:
    """The layers' types where config.json only says which see everything: by default the first of every three."""
    step = value_or(hf, "global_attn_every_n_layers", 3)
    if not isinstance(step, int) or not isinstance(num_layers, int) or step < 1:
        raise ConfigError(
            f"global_attn_every_n_layers {step!r}: expected a number of layers", remedy="copy config.json again"
        )
    return _pattern(step, num_layers)


def _pattern(step: int, num_layers: int) -> list[str]:
    return [SLIDING if index % step else FULL for index in range(num_layers)]


def _theta(hf: HFConfig, kind: str, key: str, default: float) -> Any:
    """The rotary base of a kind of layer: `transformers` 5 writes `rope_parameters` by kind, 4 the older key."""
    by_kind = value_or(hf, "rope_parameters", {})
    parameters = value_or(by_kind, kind, {}) if isinstance(by_kind, Mapping) else None
    if not isinstance(parameters, Mapping):
        raise ConfigError(f"rope_parameters: expected an object for {kind}", remedy="copy config.json again")
    rope_type = value_or(parameters, "rope_type", "default")
    if rope_type != "default":
        raise ConfigError(
            f"rope_parameters: rope_type {rope_type!r} is not supported", remedy="use a model with rope_type 'default'"
        )
    return value_or(parameters, "rope_theta", value_or(hf, key, default))


def _to_hf(config: ModernBertConfig) -> dict[str, Any]:
    thetas = {kind: getattr(config, key) for kind, (key, _) in _THETAS.items()}
    return {
        **config.model_dump(include={*_DEFAULTS, *(key for key, _ in _THETAS.values()), "tie_word_embeddings"}),
        "layer_types": list(config.types),
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        **_step_of(config.types),
    }


def _step_of(types: Sequence[str]) -> dict[str, int]:
    """The key of `transformers` 4 for the layers' types, where it can say them."""
    for step in range(1, len(types) + 1):
        if _pattern(step, len(types)) == list(types):
            return {"global_attn_every_n_layers": step}
    return {}


def _require_supported(hf: HFConfig) -> None:
    facts = {
        "hidden_activation": (value_or(hf, "hidden_activation", "gelu"), ACTIVATIONS),
        "classifier_activation": (value_or(hf, "classifier_activation", "gelu"), ACTIVATIONS),
        "rope_scaling": (hf.get("rope_scaling"), (None,)),
        "tie_word_embeddings": (value_or(hf, "tie_word_embeddings", True), (True,)),
        "quantization_config": (hf.get("quantization_config"), (None,)),
    }
    for key, (value, supported) in facts.items():
        if value not in supported:
            raise ConfigError(f"{key} {value!r} is not supported", remedy=f"use a model with {next(iter(supported))!r}")


_layout = partial(HeadLayout, backbone=ModernBertModel, prefix="model", head="classifier", transform=ModernBertHead)
MODERNBERT = ModelFamily(
    "modernbert",
    _from_hf,
    _to_hf,
    {
        "ModernBertForMaskedLM": ModernBertForMaskedLM,
        "ModernBertModel": ModernBertModel,
        "ModernBertForSequenceClassification": _layout("sequence", reads="configured"),
        "ModernBertForTokenClassification": _layout("token", reads="every"),
        "ModernBertForQuestionAnswering": _layout("span", reads="every"),
    },
    prefix="model.",
)
