"""T5 (also 1.1 and Flan-T5) and mT5."""

from collections.abc import Collection
from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.models.t5 import T5, T5Config

_DEFAULTS: dict[str, dict[str, Any]] = {
    "t5": {"vocab_size": 32128, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "feed_forward_proj": "relu"},
    "mt5": {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu"},
}
"""Of `transformers`, for keys that config.json leaves out."""
_COMMON_DEFAULTS: dict[str, Any] = {
    "d_model": 512,
    "d_kv": 64,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "n_positions": 512,
    "layer_norm_epsilon": 1e-6,
    "initializer_factor": 1.0,
    "dropout_rate": 0.1,
    "decoder_start_token_id": 0,
}
_UNUSED_BIAS = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def _from_hf(hf: HFConfig, model_type: str) -> T5Config:
    if hf.get("quantization_config") is not None:
        raise ConfigError("quantization_config is not supported", remedy="use a model that is not quantized")
    defaults = _COMMON_DEFAULTS | _DEFAULTS[model_type]
    keys = {key: value_or(hf, key, default) for key, default in defaults.items()}
    tied = value_or(hf, "tie_word_embeddings", True)
    keys |= {
        "model_type": model_type,
        "num_decoder_layers": value_or(hf, "num_decoder_layers", keys["num_layers"]),
        "tie_word_embeddings": tied,
        "scale_decoder_outputs": value_or(hf, "scale_decoder_outputs", tied) and model_type == "t5",
    }
    return parse_config(T5Config, keys, where="config.json")


def _to_hf(config: T5Config) -> dict[str, Any]:
    keys = {key: getattr(config, key) for key in (*_COMMON_DEFAULTS, *_DEFAULTS[config.model_type])}
    return keys | {
        "is_encoder_decoder": True,
        "num_decoder_layers": config.num_decoder_layers,
        "scale_decoder_outputs": config.scale_decoder_outputs,
        "tie_word_embeddings": config.tie_word_embeddings,
        "use_cache": True,
    }


def _for_file(config: T5Config, names: Collection[str]) -> T5Config:
    """Without the first T5's output scaling, config.json does not tell whether the output layer is tied; files do."""
    if config.scale_decoder_outputs:
        return config
    return config.model_copy(update={"tie_word_embeddings": "lm_head.weight" not in names})


def _name(name: str) -> str | None:
    """The first T5 files hold a bias that cross-attention never uses."""
    return None if name == _UNUSED_BIAS else name


T5_FAMILY = ModelFamily(
    "t5",
    lambda hf: _from_hf(hf, "t5"),
    _to_hf,
    {"T5ForConditionalGeneration": T5},
    renamed=_name,
    for_file=_for_file,
)
MT5_FAMILY = ModelFamily(
    "mt5",
    lambda hf: _from_hf(hf, "mt5"),
    _to_hf,
    {"MT5ForConditionalGeneration": T5},
    renamed=_name,
    for_file=_for_file,
)
