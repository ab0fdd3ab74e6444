"""GPT-2, in the layout of `transformers` and in that of OpenAI's files on the hub."""

import re
from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.layers.activation import ACTIVATIONS
from inkstone.nn.models.gpt2 import GPT2Config, GPT2LMHeadModel

_CAUSAL_TABLE = re.compile(r"(^|\.)h\.\d+\.attn\.(bias|masked_bias)$")


def _from_hf(hf: HFConfig) -> GPT2Config:
    """Keys that config.json leaves out have the defaults of `transformers`; dropout is for training and not read."""
    _require_supported(hf)
    hidden_size = value_or(hf, "n_embd", 768)
    keys = {
        "vocab_size": value_or(hf, "vocab_size", 50257),
        "hidden_size": hidden_size,
        "num_hidden_layers": value_or(hf, "n_layer", 12),
        "num_attention_heads": value_or(hf, "n_head", 12),
        "intermediate_size": value_or(hf, "n_inner", 4 * hidden_size),
        "max_position_embeddings": value_or(hf, "n_positions", 1024),
        "activation_function": value_or(hf, "activation_function", "gelu_new"),
        "layer_norm_epsilon": value_or(hf, "layer_norm_epsilon", 1e-5),
        "scale_attn_weights": value_or(hf, "scale_attn_weights", True),
        "scale_attn_by_inverse_layer_idx": value_or(hf, "scale_attn_by_inverse_layer_idx", False),
        "reorder_and_upcast_attn": value_or(hf, "reorder_and_upcast_attn", False),
        "tie_word_embeddings": value_or(hf, "tie_word_embeddings", True),
        "initializer_range": value_or(hf, "initializer_range", 0.02),
    }
    return parse_config(GPT2Config, keys, where="config.json")


def _to_hf(config: GPT2Config) -> dict[str, Any]:
    return {
        "activation_function": config.activation_function,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "initializer_range": config.initializer_range,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "n_embd": config.hidden_size,
        "n_head": config.num_attention_heads,
        "n_inner": config.intermediate_size,
        "n_layer": config.num_hidden_layers,
        "n_positions": config.max_position_embeddings,
        "reorder_and_upcast_attn": config.reorder_and_upcast_attn,
        "resid_pdrop": 0.0,
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
        "scale_attn_weights": config.scale_attn_weights,
        "tie_word_embeddings": config.tie_word_embeddings,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def _require_supported(hf: HFConfig) -> None:
    facts: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "activation_function": (value_or(hf, "activation_function", "gelu_new"), ("gelu_new", *ACTIVATIONS)),
        "add_cross_attention": (value_or(hf, "add_cross_attention", False), (False,)),
        "quantization_config": (hf.get("quantization_config"), (None,)),
    }
    for key, (value, supported) in facts.items():
        if value not in supported:
            raise ConfigError(f"{key} {value!r} is not supported", remedy=f"use a model with {key} {supported[0]!r}")


def _renamed(name: str) -> str | None:
    """OpenAI's files hold the causal mask of every block."""
    return None if _CAUSAL_TABLE.search(name) else name


GPT2 = ModelFamily(
    "gpt2",
    _from_hf,
    _to_hf,
    {
        "GPT2LMHeadModel": GPT2LMHeadModel,
        **decoder_heads("GPT2", GPT2LMHeadModel, prefix="transformer", token_head="classifier"),
    },
    renamed=_renamed,
    prefix="transformer.",
)
