"""The one family without a counterpart in `transformers`: config and tensors are read back by hand."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.core.errors import CheckpointError
from tests.nn.test_lstm import SHAPES, tiny_lstm
from tests.tiny_models import tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path, tiny_lstm(), tiny_tokenizer())
    return tmp_path


def test_the_config_says_what_it_is(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "lstm"
    assert config["architectures"] == ["LstmForCausalLM"]
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (32, 2, 320)
    assert (config["tie_word_embeddings"], config["eos_token_id"]) == (True, 1)


def test_torch_alone_reads_the_file(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    assert sorted(weights) == ["model.embed_tokens.weight"] + [
        f"model.layers.{layer}.{name}_l0"
        for layer in (0, 1)
        for name in ("bias_hh", "bias_ih", "weight_hh", "weight_ih")
    ]
    states = torch.nn.functional.embedding(torch.tensor([[5, 6, 7]]), weights["model.embed_tokens.weight"])
    for layer in (0, 1):
        lstm = nn.LSTM(32, 32, batch_first=True)
        prefix = f"model.layers.{layer}."
        lstm.load_state_dict({name.removeprefix(prefix): each for name, each in weights.items() if prefix in name})
        states = lstm(states)[0]
    model, _ = load_checkpoint(folder, device="cpu")
    torch.testing.assert_close(model(torch.tensor([[5, 6, 7]])), states @ weights["model.embed_tokens.weight"].T)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_loaded_model_is_the_saved_one(shape: str, tmp_path: Path) -> None:
    model = tiny_lstm(**SHAPES[shape])
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    loaded, _ = load_checkpoint(tmp_path, device="cpu")
    ids = torch.arange(5, 25).reshape(2, 10)
    assert loaded.config == model.config
    assert torch.equal(loaded(ids), model(ids))


def test_a_senseless_config_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 0}))
    with pytest.raises(CheckpointError, match="hidden_size"):
        load_checkpoint(folder)
