"""Mistral: Llama with a window in every layer."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.llama import shared_from_hf, shared_to_hf
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM

_DEFAULTS = {"intermediate_size": 14_336, "max_position_embeddings": 131_072, "num_key_value_heads": 8}


def _from_hf(hf: HFConfig) -> LlamaConfig:
    # A null window is none; a window that is left out has the default.
    window = hf.get("sliding_window", 4096)
    return shared_from_hf(LlamaConfig, hf, model_type="mistral", defaults=_DEFAULTS, sliding_window=window)


def _to_hf(config: LlamaConfig) -> dict[str, Any]:
    return {**shared_to_hf(config), "sliding_window": config.sliding_window}


MISTRAL = ModelFamily(
    "mistral",
    _from_hf,
    _to_hf,
    {"MistralForCausalLM": LlamaForCausalLM, **decoder_heads("Mistral", LlamaForCausalLM, span_prefix="model")},
    prefix="model.",
)
