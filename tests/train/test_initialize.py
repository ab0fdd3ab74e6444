"""Models with initial weights, of every architecture."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.checkpoint import load_checkpoint
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.core.stage import execute
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.models.base import EncoderDecoder
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import PretrainConfig
from inkstone.train.initialize import InitializeConfig, initialize
from inkstone.train.learning import build_model, equip


def settings(arch: str, **changes: Any) -> dict[str, Any]:
    heads = {} if arch == "lstm" else {"num_attention_heads": 2}
    return {"model": {"arch": arch, "hidden_size": 32, "num_hidden_layers": 2, **heads}, "context_length": 48} | changes


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_begins_as_pretraining_begins(
    arch: str, tokenizer: Tokenizer, tokenizer_folder: Path, tmp_path: Path
) -> None:
    result = execute(initialize, InitializeConfig(**settings(arch, seed=3)), {"tokenizer": tokenizer_folder}, tmp_path)
    model, saved = load_checkpoint(tmp_path, device="cpu")
    pretraining = PretrainConfig(**settings(arch, seed=3))
    expected = build_model(pretraining, equip(tokenizer, pretraining))
    assert type(model) is type(expected)
    assert model.config == expected.config
    assert result.summary["parameters"] == model.num_parameters() == expected.num_parameters()
    for (name, found), wanted in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(found, wanted), name
    assert model.context == 48
    assert saved.vocab_size == model.config.vocab_size
    for text in ("学而不思则罔", "def add(a, b):"):
        assert saved.encode_plain(text) == tokenizer.encode_plain(text)


def test_special_tokens_that_teaching_needs(tokenizer_folder: Path, tmp_path: Path) -> None:
    for arch in ("bert", "marian"):
        inputs = {"tokenizer": tokenizer_folder}
        execute(initialize, InitializeConfig(**settings(arch)), inputs, tmp_path / arch)
    encoder, tokenizer = load_checkpoint(tmp_path / "bert", device="cpu")
    assert tokenizer.mask_id is not None
    pair = tokenizer.encode_with_offsets("ink", "学")
    assert pair.token_type_ids[-1] == 1
    assert None in pair.sequence_ids[1:-1]  # a token between both
    assert isinstance(encoder.config.model_dump()["pad_token_id"], int)
    writer, tokenizer = load_checkpoint(tmp_path / "marian", device="cpu")
    assert isinstance(writer, EncoderDecoder)
    assert writer.decoder_start_token_id == tokenizer.pad_id
    assert tokenizer.eos_id not in (None, tokenizer.pad_id)


def test_seeds_and_sizes(tokenizer_folder: Path, tmp_path: Path) -> None:
    inputs = {"tokenizer": tokenizer_folder}
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        execute(initialize, InitializeConfig(**settings("llama", seed=seed)), inputs, tmp_path / str(number))
        weights.append(load_checkpoint(tmp_path / str(number), device="cpu")[0].state_dict()["lm_head.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    with pytest.raises(ConfigError, match="gpt2 has no num_key_value_heads"):
        parse_config(InitializeConfig, {"model": {"arch": "gpt2", "num_key_value_heads": 2}}, where="recipe")
