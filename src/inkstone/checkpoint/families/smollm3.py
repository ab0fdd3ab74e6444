"""SmolLM3: Llama with layers that rotate nothing (SmolLM2 is Llama)."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.layer_types import FULL, SLIDING, windows_from_hf, windows_to_hf
from inkstone.checkpoint.families.llama import shared_from_hf, shared_to_hf
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM

_DEFAULTS = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}


def _from_hf(hf: HFConfig) -> LlamaConfig:
    # Left out, every fourth layer rotates nothing.
    interval = value_or(hf, "no_rope_layer_interval", 4)
    layers = value_or(hf, "num_hidden_layers", _DEFAULTS["num_hidden_layers"])
    rotating = tuple(value_or(hf, "no_rope_layers", [int((index + 1) % interval != 0) for index in range(layers)]))
    return shared_from_hf(
        LlamaConfig,
        hf,
        model_type="smollm3",
        defaults=_DEFAULTS,
        rope_theta=2_000_000.0,
        attention_bias=value_or(hf, "attention_bias", False),
        mlp_bias=value_or(hf, "mlp_bias", False),
        no_rope_layers=None if rotating == (1,) * layers else rotating,
        **windows_from_hf(hf, None, [FULL if rotates else SLIDING for rotates in rotating]),
    )


def _to_hf(config: LlamaConfig) -> dict[str, Any]:
    return {
        **shared_to_hf(config),
        **windows_to_hf(config),
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "no_rope_layers": list(config.no_rope_layers or (1,) * config.num_hidden_layers),
    }


SMOLLM3 = ModelFamily(
    "smollm3",
    _from_hf,
    _to_hf,
    {"SmolLM3ForCausalLM": LlamaForCausalLM, **decoder_heads("SmolLM3", LlamaForCausalLM)},
    prefix="model.",
)
