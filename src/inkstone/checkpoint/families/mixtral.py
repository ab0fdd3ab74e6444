"""Mixtral."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.checkpoint.families.experts import experts_unpacker
from inkstone.checkpoint.families.heads import decoder_heads
from inkstone.checkpoint.families.llama import shared_from_hf, shared_to_hf
from inkstone.nn.models.mixtral import MixtralConfig, MixtralForCausalLM

_DEFAULTS = {
    "intermediate_size": 14_336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
}
_EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.001}


def _from_hf(hf: HFConfig) -> MixtralConfig:
    """`router_jitter_noise` is for training and not read."""
    return shared_from_hf(
        MixtralConfig,
        hf,
        model_type="mixtral",
        defaults=_DEFAULTS,
        rope_theta=1e6,
        sliding_window=hf.get("sliding_window"),
        **{key: value_or(hf, key, default) for key, default in _EXPERTS.items()},
    )


def _to_hf(config: MixtralConfig) -> dict[str, Any]:
    return {
        **shared_to_hf(config),
        **{key: getattr(config, key) for key in _EXPERTS},
        "output_router_logits": False,
        "router_jitter_noise": 0.0,
        "sliding_window": config.sliding_window,
    }


def _renamed(name: str) -> str | None:
    """Packed files have `mlp` for `block_sparse_moe`."""
    return name.replace(".mlp.", ".block_sparse_moe.")


MIXTRAL = ModelFamily(
    "mixtral",
    _from_hf,
    _to_hf,
    {"MixtralForCausalLM": MixtralForCausalLM, **decoder_heads("Mixtral", MixtralForCausalLM, span_prefix="model")},
    renamed=_renamed,
    unpacked=experts_unpacker(gate="w1", up="w3", down="w2"),
)
