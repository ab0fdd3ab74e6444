"""Rotary positions in config.json: `rope_theta` and `rope_scaling` of `transformers` 4, `rope_parameters` of 5."""

from collections.abc import Mapping
from typing import Any

from inkstone.checkpoint.families.base import HFConfig, value_or
from inkstone.core.config import Config, parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.layers.rope_scaling import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeScaling,
    YarnScaling,
)

_SCALINGS: Mapping[str, type[Config]] = {
    "linear": LinearScaling,
    "dynamic": DynamicScaling,
    "llama3": Llama3Scaling,
    "yarn": YarnScaling,
    "longrope": LongRopeScaling,
}
_NOT_SCALING = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})


def rope_from_hf(hf: HFConfig, default_theta: float) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling` of our config.

    Raises:
        ConfigError: a scaling that is not supported, or not understood.
    """
    key, parameters = _parameters(hf)
    theta = value_or(parameters, "rope_theta", value_or(hf, "rope_theta", default_theta))
    rope_type = value_or(parameters, "rope_type", value_or(parameters, "type", "default"))
    if rope_type == "default":
        return {"rope_theta": theta, "rope_scaling": None}
    if rope_type not in _SCALINGS:
        known = ", ".join(["default", *_SCALINGS])
        raise ConfigError(
            f"{key}: rope_type {rope_type!r} is not supported", remedy=f"use a model with one of: {known}"
        )
    scaling = {name: value for name, value in parameters.items() if value is not None and name not in _NOT_SCALING}
    if "original_max_position_embeddings" in _SCALINGS[rope_type].model_fields:
        scaling.setdefault("original_max_position_embeddings", _original_context(hf))
    else:
        scaling.pop("original_max_position_embeddings", None)
    parsed = parse_config(_SCALINGS[rope_type], {"rope_type": rope_type, **scaling}, where=f"config.json, {key}")
    return {"rope_theta": theta, "rope_scaling": parsed}


def _parameters(hf: HFConfig) -> tuple[str, Mapping[str, Any]]:
    """The mapping that says how positions are rotated, and its key; `rope_scaling` goes first, as in `transformers`."""
    for key in ("rope_scaling", "rope_parameters"):
        parameters = hf.get(key)
        if parameters:
            if not isinstance(parameters, Mapping):
                raise ConfigError(f"{key}: expected an object, got {parameters!r}", remedy="copy config.json again")
            if any(isinstance(value, Mapping) for value in parameters.values()):
                raise ConfigError(
                    f"{key}: settings by layer type are not supported", remedy="use a model with one setting for all"
                )
            return key, parameters
    return "rope_parameters", {}


def _original_context(hf: HFConfig) -> Any:
    return value_or(hf, "original_max_position_embeddings", hf.get("max_position_embeddings"))


def rope_to_hf(theta: float, scaling: RopeScaling | None, **more: float) -> dict[str, Any]:
    """Both generations' keys; `more` are further entries of `rope_parameters`."""
    if scaling is None:
        parameters: dict[str, Any] = {"rope_type": "default"}
        return {
            "rope_theta": theta,
            "rope_scaling": None,
            "rope_parameters": {"rope_theta": theta, **parameters, **more},
        }
    parameters = scaling.model_dump(mode="json", exclude_none=True)
    return {
        "rope_theta": theta,
        "rope_scaling": parameters,
        "rope_parameters": {"rope_theta": theta, **parameters, **more},
    }
