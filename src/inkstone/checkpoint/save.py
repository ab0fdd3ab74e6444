"""Writing a model folder that `transformers` loads too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inkstone.checkpoint.card import model_card
from inkstone.checkpoint.families import architecture_of, family_named
from inkstone.checkpoint.weights import WEIGHTS, write_safetensors
from inkstone.core.errors import CheckpointError
from inkstone.core.files import StrPath, atomic_file, write_json
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
CARD = "README.md"
END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")
"""Special tokens that end a message in the chat templates of the field."""


def save_checkpoint(
    folder: StrPath,
    model: Model,
    tokenizer: Tokenizer,
    *,
    generation: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights, config, tokenizer, generation config and model card; each file appears whole or not at all.

    Args:
        folder: made when missing; files of other names in it are left alone.
        model: compiled models are accepted.
        tokenizer: the one the model was trained with.
        generation: further keys of generation_config.json, such as `temperature` or `top_p`.
        training: how the model was trained, name → value, for the model card.
        dtype: of the saved weights, by default that of the model.

    Raises:
        CheckpointError: the tokenizer has more tokens than the model.
        ResourceError: the disk is full.
    """
    folder = Path(folder)
    model = getattr(model, "_orig_mod", model)
    check_vocabulary(model, tokenizer, folder)
    dtype = dtype or model.dtype
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / WEIGHTS, {name: value.to(dtype) for name, value in saved_tensors(model).items()})
    tokenizer.save(folder)
    write_json(folder / GENERATION_CONFIG, generation_config(tokenizer) | dict(generation or {}))
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
        **family.to_hf(model.config),
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """The keys of generation_config.json: sampling on, stopping at the end of a document or of a chat message."""
    return {
        "do_sample": True,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stop_ids(tokenizer),
        "pad_token_id": tokenizer.pad_id,
    }


def stop_ids(tokenizer: Tokenizer) -> list[int]:
    """Tokens that end a completion: end of document and, in chat models, end of message."""
    ends = [tokenizer.eos_id, *(tokenizer.special_tokens.get(name) for name in END_OF_TURN)]
    return sorted({token for token in ends if token is not None})


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


def num_parameters(model: nn.Module) -> int:
    """Number of values in a model's parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
