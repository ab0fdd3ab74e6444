"""OLMo-2."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.llama import shared_from_hf, shared_to_hf
from inkstone.nn.models.olmo2 import Olmo2Config, Olmo2ForCausalLM

_DEFAULTS = {"vocab_size": 50_304, "rms_norm_eps": 1e-5}


def _from_hf(hf: HFConfig) -> Olmo2Config:
    bias = value_or(hf, "attention_bias", False)
    return shared_from_hf(Olmo2Config, hf, model_type="olmo2", defaults=_DEFAULTS, attention_bias=bias)


def _to_hf(config: Olmo2Config) -> dict[str, Any]:
    return {**shared_to_hf(config), "attention_bias": config.attention_bias}


OLMO2 = ModelFamily(
    "olmo2",
    _from_hf,
    _to_hf,
    {"Olmo2ForCausalLM": Olmo2ForCausalLM, **decoder_heads("Olmo2", Olmo2ForCausalLM, {"sequence"})},
    prefix="model.",
)
