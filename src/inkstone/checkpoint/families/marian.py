"""Marian, and the two families that share its wiring: BART and mBART."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, value_or
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.models.transformer import LAYOUTS, Layout, Transformer, TransformerConfig

_SAME_NAME = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "decoder_layers",
    "decoder_attention_heads",
    "decoder_ffn_dim",
    "max_position_embeddings",
    "activation_function",
    "scale_embedding",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "tie_word_embeddings",
    "vocab_size",
)
_DEFAULTS: dict[str, Any] = {
    "d_model": 1024,
    "encoder_layers": 12,
    "encoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_layers": 12,
    "decoder_attention_heads": 16,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "scale_embedding": False,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "tie_word_embeddings": True,
}
"""Of `transformers`, for keys that config.json leaves out."""
_VOCAB_SIZE = {"marian": 58101, "bart": 50265, "mbart": 50265}
_TABLES = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")


def _from_hf(hf: HFConfig, model_type: str, start: int) -> TransformerConfig:
    _require_supported(hf, LAYOUTS[model_type])
    keys = {key: value_or(hf, key, _DEFAULTS.get(key)) for key in _SAME_NAME}
    keys |= {
        "model_type": model_type,
        "vocab_size": value_or(hf, "vocab_size", _VOCAB_SIZE[model_type]),
        "decoder_start_token_id": value_or(hf, "decoder_start_token_id", start),
        "initializer_range": value_or(hf, "init_std", 0.02),
    }
    if model_type == "marian":
        shared = value_or(hf, "share_encoder_decoder_embeddings", True)
        keys["share_encoder_decoder_embeddings"] = shared
        keys["decoder_vocab_size"] = None if shared else hf.get("decoder_vocab_size")
    return parse_config(TransformerConfig, keys, where="config.json")


def _to_hf(config: TransformerConfig) -> dict[str, Any]:
    keys = {key: getattr(config, key) for key in _SAME_NAME}
    keys |= {
        "decoder_start_token_id": config.decoder_start_token_id,
        "init_std": config.initializer_range,
        "is_encoder_decoder": True,
        "num_hidden_layers": config.encoder_layers,
        "use_cache": True,
    }
    if config.model_type == "marian":
        keys["share_encoder_decoder_embeddings"] = config.share_encoder_decoder_embeddings
        keys["decoder_vocab_size"] = config.target_vocab_size
    return keys


def _require_supported(hf: HFConfig, layout: Layout) -> None:
    """Older folders say in config.json, too, what `model_type` implies; it must be the same."""
    shared = value_or(hf, "share_encoder_decoder_embeddings", True)
    learned, embedding, before = layout
    facts = {
        "static_position_embeddings": (value_or(hf, "static_position_embeddings", not learned), (not learned,)),
        "normalize_embedding": (value_or(hf, "normalize_embedding", embedding), (embedding,)),
        "normalize_before": (value_or(hf, "normalize_before", before), (before,)),
        "tie_word_embeddings": (value_or(hf, "tie_word_embeddings", True), (True,) if shared else (True, False)),
        "quantization_config": (hf.get("quantization_config"), (None,)),
    }
    for key, (value, supported) in facts.items():
        if value not in supported:
            raise ConfigError(f"{key} {value!r} is not supported", remedy=f"use a model with {key} {supported[0]!r}")


def _marian_name(name: str) -> str | None:
    """Older files hold the sinusoidal tables."""
    return None if name in _TABLES else name


MARIAN = ModelFamily(
    "marian",
    lambda hf: _from_hf(hf, "marian", start=value_or(hf, "pad_token_id", 58100)),
    _to_hf,
    {"MarianMTModel": Transformer},
    renamed=_marian_name,
)
BART = ModelFamily(
    "bart", lambda hf: _from_hf(hf, "bart", start=2), _to_hf, {"BartForConditionalGeneration": Transformer}
)
MBART = ModelFamily(
    "mbart", lambda hf: _from_hf(hf, "mbart", start=2), _to_hf, {"MBartForConditionalGeneration": Transformer}
)
