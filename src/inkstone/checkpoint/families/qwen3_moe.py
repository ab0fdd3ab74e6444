"""Qwen3-MoE."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.experts import experts_unpacker
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.llama import shared_from_hf, shared_to_hf
from inkstone.nn.models.qwen3_moe import Qwen3MoeConfig, Qwen3MoeForCausalLM

_DEFAULTS = {
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 24,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32_768,
}
_EXPERTS = {
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "mlp_only_layers": (),
    "moe_intermediate_size": 768,
    "norm_topk_prob": False,
    "num_experts_per_tok": 8,
    "router_aux_loss_coef": 0.001,
}


def _from_hf(hf: HFConfig) -> Qwen3MoeConfig:
    """`num_experts` is called `num_local_experts` in what `transformers` 5 saves."""
    return shared_from_hf(
        Qwen3MoeConfig,
        hf,
        model_type="qwen3_moe",
        defaults=_DEFAULTS,
        num_experts=value_or(hf, "num_experts", value_or(hf, "num_local_experts", 128)),
        sliding_window=hf.get("sliding_window", 4096) if value_or(hf, "use_sliding_window", False) else None,
        **{key: value_or(hf, key, default) for key, default in _EXPERTS.items()},
    )


def _to_hf(config: Qwen3MoeConfig) -> dict[str, Any]:
    return {
        **shared_to_hf(config),
        **{key: getattr(config, key) for key in _EXPERTS},
        "mlp_only_layers": list(config.mlp_only_layers),
        "num_experts": config.num_experts,
        "output_router_logits": False,
        "sliding_window": config.sliding_window,
        "use_sliding_window": config.sliding_window is not None,
    }


QWEN3_MOE = ModelFamily(
    "qwen3_moe",
    _from_hf,
    _to_hf,
    {"Qwen3MoeForCausalLM": Qwen3MoeForCausalLM, **decoder_heads("Qwen3Moe", Qwen3MoeForCausalLM)},
    unpacked=experts_unpacker(gate="gate_proj", up="up_proj", down="down_proj"),
)
