"""Llama, and what config.json has in common among the models of its wiring."""

from collections.abc import Mapping
from typing import Any, TypeVar

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.rope import rope_from_hf, rope_to_hf
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM

C = TypeVar("C", bound=LlamaConfig)

_SHARED: Mapping[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""Keys with one meaning in all these families, and what `transformers` takes where Llama's config.json has none."""


def shared_from_hf(
    cls: type[C],
    hf: HFConfig,
    *,
    model_type: str,
    defaults: Mapping[str, Any],
    rope_theta: float = 10_000.0,
    **more: Any,
) -> C:
    """A config of config.json's shared keys.

    Args:
        cls: the config's class.
        hf: config.json.
        model_type: of the family.
        defaults: what `transformers` takes for keys left out, where it is not as for Llama.
        rope_theta: likewise.
        more: the family's own keys of our config.

    Raises:
        ConfigError: a value is impossible or not supported.
    """
    _refuse_unsupported(hf)
    keys = {key: value_or(hf, key, default) for key, default in {**_SHARED, **defaults}.items()}
    heads, hidden_size = keys["num_attention_heads"], keys["hidden_size"]
    if keys["num_key_value_heads"] is None:
        keys["num_key_value_heads"] = heads
    if keys["head_dim"] is None and isinstance(heads, int) and isinstance(hidden_size, int) and heads > 0:
        keys["head_dim"] = hidden_size // heads
    keys |= rope_from_hf(hf, rope_theta) | more
    return parse_config(cls, {"model_type": model_type, **keys}, where="config.json")


def shared_to_hf(config: LlamaConfig) -> dict[str, Any]:
    """The shared keys of config.json."""
    return {
        "attention_dropout": 0.0,
        "use_cache": True,
        **{key: getattr(config, key) for key in _SHARED},
        **rope_to_hf(config.rope_theta, config.rope_scaling),
    }


def _refuse_unsupported(hf: HFConfig) -> None:
    if hf.get("quantization_config") is not None:
        raise ConfigError(
            "quantization_config: quantized weights are not read", remedy="use the model's unquantized weights"
        )
    parameters = hf.get("rope_parameters")
    rotated = value_or(hf, "partial_rotary_factor", 1.0)
    if isinstance(parameters, Mapping):
        rotated = value_or(parameters, "partial_rotary_factor", rotated)
    if rotated != 1.0 and hf.get("model_type") != "phi3":
        raise ConfigError(
            f"partial_rotary_factor {rotated!r} is not supported", remedy="use a model with partial_rotary_factor 1.0"
        )


def _llama_from_hf(hf: HFConfig) -> LlamaConfig:
    biases = {key: value_or(hf, key, False) for key in ("attention_bias", "mlp_bias")}
    return shared_from_hf(LlamaConfig, hf, model_type="llama", defaults={}, **biases)


def _llama_to_hf(config: LlamaConfig) -> dict[str, Any]:
    return {**shared_to_hf(config), "attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias}


LLAMA = ModelFamily(
    "llama",
    _llama_from_hf,
    _llama_to_hf,
    {"LlamaForCausalLM": LlamaForCausalLM, **decoder_heads("Llama", LlamaForCausalLM)},
    prefix="model.",
)
