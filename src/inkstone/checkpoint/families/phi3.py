"""Phi-3, Phi-3.5-mini and Phi-4-mini."""

from collections.abc import Mapping
from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.llama import shared_from_hf, shared_to_hf
from inkstone.checkpoint.families.rope import rope_to_hf
from inkstone.core.errors import ConfigError
from inkstone.nn.layers.rope_scaling import LongRopeScaling
from inkstone.nn.models.phi3 import Phi3Config, Phi3ForCausalLM

_DEFAULTS = {
    "vocab_size": 32_064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
_EARLIER_NAMES = ("su", "yarn")
"""Of LongRoPE, in Phi-3's first config.json files."""


def _from_hf(hf: HFConfig) -> Phi3Config:
    parameters = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    hf = dict(hf)
    if isinstance(parameters, Mapping):
        hf["rope_scaling"] = _longrope_by_its_name(parameters, value_or(hf, "original_max_position_embeddings", 4096))
    config = shared_from_hf(
        Phi3Config,
        hf,
        model_type="phi3",
        defaults=_DEFAULTS,
        sliding_window=hf.get("sliding_window"),
        partial_rotary_factor=_partial_rotary_factor(hf),
    )
    if config.rope_scaling is not None and not isinstance(config.rope_scaling, LongRopeScaling):
        raise ConfigError(
            f"rope_scaling: Phi-3 has no rope_type {config.rope_scaling.rope_type!r}", remedy="use longrope or none"
        )
    return config


def _longrope_by_its_name(parameters: Mapping[str, Any], original_context: int) -> dict[str, Any]:
    rope_type = value_or(parameters, "rope_type", value_or(parameters, "type", "default"))
    rope_type = "longrope" if rope_type in _EARLIER_NAMES else rope_type
    more = {"original_max_position_embeddings": original_context} if rope_type == "longrope" else {}
    return {**parameters, "rope_type": rope_type, **more}


def _partial_rotary_factor(hf: HFConfig) -> Any:
    for parameters in (hf.get("rope_scaling"), hf.get("rope_parameters"), hf):
        if isinstance(parameters, Mapping) and parameters.get("partial_rotary_factor") is not None:
            return parameters["partial_rotary_factor"]
    return 1.0


def _to_hf(config: Phi3Config) -> dict[str, Any]:
    rope = rope_to_hf(config.rope_theta, config.rope_scaling, partial_rotary_factor=config.partial_rotary_factor)
    original_context = config.max_position_embeddings
    if isinstance(config.rope_scaling, LongRopeScaling):
        original_context = config.rope_scaling.original_max_position_embeddings
        # transformers 4 wants the kind under `type`, and no original context beside the factors.
        keys = rope["rope_scaling"]
        rope["rope_scaling"] = {"type": keys["rope_type"]} | {
            key: value for key, value in keys.items() if key not in ("rope_type", "original_max_position_embeddings")
        }
    return {
        **shared_to_hf(config),
        **rope,
        "original_max_position_embeddings": original_context,
        "partial_rotary_factor": config.partial_rotary_factor,
        "sliding_window": config.sliding_window,
    }


PHI3 = ModelFamily(
    "phi3",
    _from_hf,
    _to_hf,
    {"Phi3ForCausalLM": Phi3ForCausalLM, **decoder_heads("Phi3", Phi3ForCausalLM, {"sequence", "token"})},
    prefix="model.",
)
