"""A model that is made from scratch: its size, and its shape for the stages that come after."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from inkstone.checkpoint import save_checkpoint
from inkstone.data.tokenizer_outline import assumed_tokenizer, is_assumed, mark_assumed
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.pairs import with_separated_pairs
from inkstone.train.config import NewModelConfig
from inkstone.train.cost.counts import FLOAT_BYTES
from inkstone.train.cost.disk import tokenizer_bytes
from inkstone.train.cost.memory import PROCESS_BYTES
from inkstone.train.learning import equip


def plan_new_model(config: Any, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Parameters, memory and disk of a model with initial weights; `config` is a `NewModelConfig`."""
    tokenizer, notes = known_tokenizer(inputs)
    tokenizer = equip(tokenizer, config)
    parameters = model_outline(config, tokenizer).num_parameters()
    weights = FLOAT_BYTES * parameters
    return {
        "parameters": parameters,
        "trained_parameters": 0,
        "memory_bytes": PROCESS_BYTES + weights,
        "memory": {"process": PROCESS_BYTES, "weights": weights},
        "disk_bytes": weights + tokenizer_bytes(tokenizer),
        **notes,
    }


def outline_new_model(config: Any, inputs: Mapping[str, Path], out: Path) -> None:
    """The model's folder, with zeros for weights; `config` is a `NewModelConfig`."""
    tokenizer, notes = known_tokenizer(inputs)
    tokenizer = equip(tokenizer, config)
    if config.architecture.learning == "masked_tokens":
        tokenizer = with_separated_pairs(tokenizer)
    save_checkpoint(out, model_outline(config, tokenizer), tokenizer)
    if notes:
        mark_assumed(out)


def model_outline(config: NewModelConfig, tokenizer: Tokenizer) -> Model:
    """The model of `build_model`, without values.

    Args:
        config: of its shape.
        tokenizer: of `equip`.
    """
    token_ids = {"pad_token_id": tokenizer.pad_id, "decoder_start_token_id": tokenizer.pad_id}
    with torch.device("meta"):
        return config.architecture.build(config.shape(tokenizer.vocab_size, token_ids))


def known_tokenizer(inputs: Mapping[str, Path]) -> tuple[Tokenizer, dict[str, str]]:
    """The tokenizer of a run, or where it is not trained yet one of a likely size, and a note that says so."""
    folder = inputs.get("tokenizer")
    if folder is None or not (folder / "tokenizer.json").is_file():
        tokenizer = assumed_tokenizer()
    else:
        tokenizer = Tokenizer.load(folder)
        if not is_assumed(folder):
            return tokenizer, {}
    return tokenizer, {"vocabulary": f"assumed {tokenizer.vocab_size:,}: the tokenizer is not trained yet"}
