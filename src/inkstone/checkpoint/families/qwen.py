"""Qwen2 (and 2.5) and Qwen3: Llama with biased, or normalized, queries and keys."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.layer_types import FULL, SLIDING, windows_from_hf, windows_to_hf
from inkstone.checkpoint.families.llama import shared_from_hf, shared_to_hf
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM

_DEFAULTS = {
    "vocab_size": 151_936,
    "intermediate_size": 22_016,
    "max_position_embeddings": 32_768,
    "num_key_value_heads": 32,
}


def _windows(hf: HFConfig) -> dict[str, Any]:
    """The layers from `max_window_layers` on have the window."""
    full = value_or(hf, "max_window_layers", 28)
    layers = value_or(hf, "num_hidden_layers", 32)
    return windows_from_hf(hf, 4096, [SLIDING if index >= full else FULL for index in range(layers)])


def _qwen2_from_hf(hf: HFConfig) -> LlamaConfig:
    return shared_from_hf(LlamaConfig, hf, model_type="qwen2", defaults=_DEFAULTS, attention_bias=True, **_windows(hf))


def _qwen3_from_hf(hf: HFConfig) -> LlamaConfig:
    bias = value_or(hf, "attention_bias", False)
    defaults = {**_DEFAULTS, "head_dim": 128}
    return shared_from_hf(LlamaConfig, hf, model_type="qwen3", defaults=defaults, attention_bias=bias, **_windows(hf))


def _qwen2_to_hf(config: LlamaConfig) -> dict[str, Any]:
    return {**shared_to_hf(config), **windows_to_hf(config)}


def _qwen3_to_hf(config: LlamaConfig) -> dict[str, Any]:
    return {**_qwen2_to_hf(config), "attention_bias": config.attention_bias}


QWEN2 = ModelFamily(
    "qwen2",
    _qwen2_from_hf,
    _qwen2_to_hf,
    {"Qwen2ForCausalLM": LlamaForCausalLM, **decoder_heads("Qwen2", LlamaForCausalLM)},
    prefix="model.",
)
QWEN3 = ModelFamily(
    "qwen3",
    _qwen3_from_hf,
    _qwen3_to_hf,
    {"Qwen3ForCausalLM": LlamaForCausalLM, **decoder_heads("Qwen3", LlamaForCausalLM)},
    prefix="model.",
)
