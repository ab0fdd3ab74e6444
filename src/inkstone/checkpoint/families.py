"""Model families: how each Hugging Face `model_type` maps to a model of `inkstone.nn.models` and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inkstone.core.config import parse_config
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.core.registry import lookup
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM

HFConfig = Mapping[str, Any]


@dataclass(frozen=True)
class ModelFamily:
    """One `model_type` of Hugging Face's config.json; found as the entry point `inkstone.models` of that name."""

    model_type: str
    architecture: str
    from_hf: Callable[[HFConfig], LlamaConfig]
    """config.json → our config; raises ConfigError on a setting that is not supported."""
    to_hf: Callable[[LlamaConfig], dict[str, Any]]
    """Our config → the architecture's own keys of config.json."""
    build: Callable[[LlamaConfig], LlamaForCausalLM]


def family_of(config: LlamaConfig) -> ModelFamily:
    """The family in whose form a config is saved."""
    return QWEN3 if config.qk_norm else LLAMA


def family_named(model_type: object) -> ModelFamily:
    """The family of a config.json's `model_type`.

    Raises:
        CheckpointError: no family reads it.
    """
    try:
        family: ModelFamily = lookup("models", str(model_type))
    except ConfigError as error:
        raise CheckpointError(f"model_type {model_type!r} is not supported", remedy=error.remedy) from error
    return family


def _llama_to_hf(config: LlamaConfig) -> dict[str, Any]:
    return {
        "attention_bias": config.attention_bias,
        "attention_dropout": 0.0,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "mlp_bias": False,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def _qwen3_to_hf(config: LlamaConfig) -> dict[str, Any]:
    keys = _llama_to_hf(config)
    del keys["mlp_bias"]
    return keys | {"max_window_layers": config.num_hidden_layers, "sliding_window": None, "use_sliding_window": False}


def _llama_from_hf(hf: HFConfig) -> LlamaConfig:
    return _decoder_from_hf(hf, qk_norm=False, head_dim=None)


def _qwen3_from_hf(hf: HFConfig) -> LlamaConfig:
    return _decoder_from_hf(hf, qk_norm=True, head_dim=128)


def _decoder_from_hf(hf: HFConfig, *, qk_norm: bool, head_dim: int | None) -> LlamaConfig:
    """Keys that config.json leaves out have the defaults of `transformers`."""
    _require_supported(hf)
    heads = _value(hf, "num_attention_heads", 32)
    hidden_size = _value(hf, "hidden_size", 4096)
    keys = {
        "vocab_size": hf.get("vocab_size"),
        "hidden_size": hidden_size,
        "num_hidden_layers": _value(hf, "num_hidden_layers", 32),
        "num_attention_heads": heads,
        "num_key_value_heads": _value(hf, "num_key_value_heads", heads),
        "intermediate_size": hf.get("intermediate_size"),
        "head_dim": _value(hf, "head_dim", head_dim or hidden_size // heads),
        "max_position_embeddings": _value(hf, "max_position_embeddings", 2048),
        "rope_theta": _rope_theta(hf),
        "rms_norm_eps": _value(hf, "rms_norm_eps", 1e-6),
        "attention_bias": _value(hf, "attention_bias", False),
        "qk_norm": qk_norm,
        "tie_word_embeddings": _value(hf, "tie_word_embeddings", False),
        "initializer_range": _value(hf, "initializer_range", 0.02),
    }
    return parse_config(LlamaConfig, keys, where="config.json")


def _value(hf: HFConfig, key: str, default: Any) -> Any:
    value = hf.get(key)
    return default if value is None else value


def _rope_theta(hf: HFConfig) -> float:
    parameters = hf.get("rope_parameters") or {}
    theta = parameters.get("rope_theta", hf.get("rope_theta"))
    return 10_000.0 if theta is None else float(theta)


def _require_supported(hf: HFConfig) -> None:
    scaling = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    facts = {
        "hidden_act": (_value(hf, "hidden_act", "silu"), ("silu", "swish")),
        "mlp_bias": (_value(hf, "mlp_bias", False), (False,)),
        "rope_type": (scaling.get("rope_type", scaling.get("type", "default")), ("default",)),
        "partial_rotary_factor": (_value(hf, "partial_rotary_factor", 1.0), (1.0,)),
        "use_sliding_window": (_value(hf, "use_sliding_window", False), (False,)),
        "quantization_config": (hf.get("quantization_config"), (None,)),
    }
    for key, (value, supported) in facts.items():
        if value not in supported:
            raise ConfigError(f"{key} {value!r} is not supported", remedy=f"use a model with {key} {supported[0]!r}")


LLAMA = ModelFamily("llama", "LlamaForCausalLM", _llama_from_hf, _llama_to_hf, LlamaForCausalLM)
QWEN3 = ModelFamily("qwen3", "Qwen3ForCausalLM", _qwen3_from_hf, _qwen3_to_hf, LlamaForCausalLM)
