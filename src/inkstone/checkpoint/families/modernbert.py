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
_GLOBAL_THETA, _LOCAL_THETA = "global_rope_theta", "local_rope_theta"
_THETAS = {FULL: _GLOBAL_THETA, SLIDING: _LOCAL_THETA}
"""Kind of layer → the key of its rotary base in `transformers` 4."""


def _from_hf(hf: HFConfig) -> ModernBertConfig:
    _require_supported(hf)
    keys = {key: value_or(hf, key, default) for key, default in _DEFAULTS.items()}
    types = hf.get("layer_types")
    if types is None and isinstance(keys["num_hidden_layers"], int):
        types = _pattern(_step(hf), keys["num_hidden_layers"])
    whole = isinstance(types, list) and all(each == FULL for each in types) and len(types) == keys["num_hidden_layers"]
    keys["layer_types"] = None if whole else types
    return parse_config(ModernBertConfig, keys | _thetas(hf), where="config.json")


def _step(hf: HFConfig) -> int:
    """Every how many layers one sees everything, where config.json does not list them."""
    step = value_or(hf, "global_attn_every_n_layers", 3)
    if not isinstance(step, int) or step < 1:
        raise ConfigError(
            f"global_attn_every_n_layers {step!r}: expected a number of layers", remedy="copy config.json again"
        )
    return step


def _pattern(step: int, num_layers: int) -> list[str]:
    return [SLIDING if index % step else FULL for index in range(num_layers)]


def _thetas(hf: HFConfig) -> dict[str, Any]:
    """The rotary bases: `transformers` 5 writes them by kind of layer, 4 under keys of their own."""
    everywhere = value_or(hf, _GLOBAL_THETA, 160_000.0)
    thetas = {_GLOBAL_THETA: everywhere, _LOCAL_THETA: value_or(hf, _LOCAL_THETA, 10_000.0)}
    if _LOCAL_THETA in hf and hf[_LOCAL_THETA] is None:  # not the default
        thetas[_LOCAL_THETA] = everywhere
    by_kind = value_or(hf, "rope_parameters", {})
    if not isinstance(by_kind, Mapping) or set(by_kind) - set(_THETAS):
        raise ConfigError(
            f"rope_parameters: expected settings of {FULL} and {SLIDING}", remedy="copy config.json again"
        )
    for kind, parameters in by_kind.items():
        if not isinstance(parameters, Mapping):
            raise ConfigError(f"rope_parameters: expected an object for {kind}", remedy="copy config.json again")
        _require_no_scaling("rope_parameters", parameters)
        thetas[_THETAS[kind]] = value_or(parameters, "rope_theta", thetas[_THETAS[kind]])
    return thetas


def _to_hf(config: ModernBertConfig) -> dict[str, Any]:
    thetas = {kind: getattr(config, key) for kind, key in _THETAS.items()}
    return {
        **config.model_dump(include={*_DEFAULTS, *_THETAS.values(), "tie_word_embeddings"}),
        "layer_types": list(config.types),
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        **_step_of(config.types),
        # Read by nobody; what `transformers` puts where they are missing is no token of a smaller vocabulary.
        "cls_token_id": None,
        "sep_token_id": None,
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
        "tie_word_embeddings": (value_or(hf, "tie_word_embeddings", True), (True,)),
        "quantization_config": (hf.get("quantization_config"), (None,)),
    }
    for key, (value, supported) in facts.items():
        if value not in supported:
            raise ConfigError(f"{key} {value!r} is not supported", remedy=f"use a model with {key} {supported[0]!r}")
    scaling = value_or(hf, "rope_scaling", {})
    _require_no_scaling("rope_scaling", scaling if isinstance(scaling, Mapping) else {"rope_type": scaling})


def _require_no_scaling(key: str, parameters: Mapping[str, Any]) -> None:
    rope_type = value_or(parameters, "rope_type", value_or(parameters, "type", "default"))
    if rope_type != "default":
        raise ConfigError(
            f"{key}: rope_type {rope_type!r} is not supported", remedy="use a model with rope_type 'default'"
        )


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
