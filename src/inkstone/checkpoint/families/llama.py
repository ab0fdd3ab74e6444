"""The Llama family and those of its wiring."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM


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
    return _decoder_from_hf(hf, "llama", head_dim=None)


def _qwen3_from_hf(hf: HFConfig) -> LlamaConfig:
    return _decoder_from_hf(hf, "qwen3", head_dim=128)


def _decoder_from_hf(hf: HFConfig, model_type: str, *, head_dim: int | None) -> LlamaConfig:
    """Keys that config.json leaves out have the defaults of `transformers`."""
    _require_supported(hf)
    heads = value_or(hf, "num_attention_heads", 32)
    hidden_size = value_or(hf, "hidden_size", 4096)
    keys = {
        "model_type": model_type,
        "vocab_size": hf.get("vocab_size"),
        "hidden_size": hidden_size,
        "num_hidden_layers": value_or(hf, "num_hidden_layers", 32),
        "num_attention_heads": heads,
        "num_key_value_heads": value_or(hf, "num_key_value_heads", heads),
        "intermediate_size": hf.get("intermediate_size"),
        "head_dim": value_or(hf, "head_dim", head_dim or hidden_size // heads),
        "max_position_embeddings": value_or(hf, "max_position_embeddings", 2048),
        "rope_theta": _rope_theta(hf),
        "rms_norm_eps": value_or(hf, "rms_norm_eps", 1e-6),
        "attention_bias": value_or(hf, "attention_bias", False),
        "qk_norm": model_type == "qwen3",
        "tie_word_embeddings": value_or(hf, "tie_word_embeddings", False),
        "initializer_range": value_or(hf, "initializer_range", 0.02),
    }
    return parse_config(LlamaConfig, keys, where="config.json")


def _rope_theta(hf: HFConfig) -> float:
    parameters = hf.get("rope_parameters") or {}
    theta = parameters.get("rope_theta", hf.get("rope_theta"))
    return 10_000.0 if theta is None else float(theta)


def _require_supported(hf: HFConfig) -> None:
    scaling = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    facts = {
        "hidden_act": (value_or(hf, "hidden_act", "silu"), ("silu", "swish")),
        "mlp_bias": (value_or(hf, "mlp_bias", False), (False,)),
        "rope_type": (scaling.get("rope_type", scaling.get("type", "default")), ("default",)),
        "partial_rotary_factor": (value_or(hf, "partial_rotary_factor", 1.0), (1.0,)),
        "use_sliding_window": (value_or(hf, "use_sliding_window", False), (False,)),
        "quantization_config": (hf.get("quantization_config"), (None,)),
    }
    for key, (value, supported) in facts.items():
        if value not in supported:
            raise ConfigError(f"{key} {value!r} is not supported", remedy=f"use a model with {key} {supported[0]!r}")


LLAMA = ModelFamily("llama", _llama_from_hf, _llama_to_hf, {"LlamaForCausalLM": LlamaForCausalLM})
QWEN3 = ModelFamily("qwen3", _qwen3_from_hf, _qwen3_to_hf, {"Qwen3ForCausalLM": LlamaForCausalLM})
