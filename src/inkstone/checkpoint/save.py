"""Writing a model folder that `transformers` loads too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkstone.checkpoint.card import model_card
from inkstone.checkpoint.families import architecture_of, family_named
from inkstone.checkpoint.weights import MAX_SHARD_SIZE, write_weights
from inkstone.core.errors import CheckpointError
from inkstone.core.files import StrPath, atomic_file, write_json
from inkstone.nn.adapters import is_adapted
from inkstone.nn.models.base import EncoderDecoder, Model
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.special import END_OF_TURN

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
CARD = "README.md"


def save_checkpoint(
    folder: StrPath,
    model: Model,
    tokenizer: Tokenizer,
    *,
    generation: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> None:
    """Write weights, config, tokenizer, generation config and model card; each file appears whole or not at all.

    Args:
        folder: made when missing; files of other names in it are left alone.
        model: compiled models are accepted.
        tokenizer: the one the model was trained with.
        generation: further keys of generation_config.json, such as `temperature` or `top_p`; those that the model
            was loaded with (`model.generation_config`) are kept as they are not given here.
        training: how the model was trained, name → value, for the model card.
        dtype: of the saved weights, by default that of the model.
        max_shard_size: largest weights file, such as `5GB` or a number of bytes; larger weights go into several.

    Raises:
        CheckpointError: the tokenizer has more tokens than the model, or an adapter is on the model.
        ConfigError: `max_shard_size` is no size.
        ResourceError: the disk is full.
    """
    folder = Path(folder)
    model = getattr(model, "_orig_mod", model)
    if is_adapted(model):
        raise CheckpointError(
            "an adapter is on the model, which would be saved under names that no model has",
            where=folder,
            remedy="save the adapter alone (save_adapter), or merge it first (merge_and_unload)",
        )
    check_vocabulary(model, tokenizer, folder)
    dtype = dtype or model.dtype
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, saved_tensors(model), dtype, max_shard_size)
    tokenizer.save(folder)
    write_json(folder / GENERATION_CONFIG, generation_config(model, tokenizer) | dict(generation or {}))
    with atomic_file(folder / CARD, "w") as file:
        file.write(model_card(model, tokenizer, dtype_name(dtype), training))
    write_json(folder / CONFIG, hf_config(model, tokenizer, dtype))


def saved_tensors(model: Model) -> dict[str, Tensor]:
    """The model's parameters under Hugging Face's names, aliases of tied ones left out as `transformers` does."""
    return {name: value for name, value in model.state_dict().items() if name not in model.tied_weights}


def hf_config(model: Model, tokenizer: Tokenizer, dtype: torch.dtype) -> dict[str, Any]:
    """The keys of config.json, in the form that `transformers` 4 and 5 both read."""
    family = family_named(model.config.model_type)
    return {
        "architectures": [architecture_of(model)],
        "model_type": family.model_type,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "dtype": dtype_name(dtype),
        "torch_dtype": dtype_name(dtype),
        **family.keys(model),
    }


def generation_config(model: Model, tokenizer: Tokenizer) -> dict[str, Any]:
    """The keys of generation_config.json: those that the model came with, or else sampling on.

    An encoder–decoder searches for the likeliest target instead, and begins it with its own start token. Completions
    stop at the end of a document, of a chat message, or where the model's own list says so.
    """
    task: dict[str, Any] = {"do_sample": True}
    if isinstance(model, EncoderDecoder):
        task = {"do_sample": False, "decoder_start_token_id": model.decoder_start_token_id}
    return {
        **task,
        **model.generation_config,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stop_ids(tokenizer, model),
        "pad_token_id": tokenizer.pad_id,
    }


def stop_ids(tokenizer: Tokenizer, model: Model | None = None) -> list[int]:
    """Tokens that end a completion: end of document, in chat models end of message, and the model's own list."""
    ends = [tokenizer.eos_id, *(tokenizer.special_tokens.get(name) for name in END_OF_TURN)]
    own = model.generation_config.get("eos_token_id") if model is not None else None
    ends += own if isinstance(own, list) else [own]
    return sorted({token for token in ends if type(token) is int and 0 <= token < tokenizer.vocab_size})


def check_vocabulary(model: Model, tokenizer: Tokenizer, folder: Path) -> None:
    """Refuse a tokenizer with tokens that the model does not know."""
    if tokenizer.vocab_size > model.config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model only {model.config.vocab_size}",
            where=folder,
            remedy="use the tokenizer that the model was trained with",
        )


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.float32` → `float32`, as config.json has it."""
    return str(dtype).removeprefix("torch.")
