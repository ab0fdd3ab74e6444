"""The stage on models that restore text, and on a recurrent one."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.core.stage import execute
from inkstone.evaluate.stages import EvaluateConfig, evaluate
from inkstone.nn.models.base import Model
from inkstone.nn.models.bert import BertModel
from inkstone.nn.models.masked_lm import BertForMaskedLM
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import PretrainConfig
from inkstone.train.learning import build_model, equip
from tests.evaluate.test_stage import TRAIN, VALID, write_corpus

SMALL: dict[str, Any] = {"ngram_order": 2, "device": "cpu", "dtype": "float32", "seed": 7}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("restoration") / "corpus", TRAIN, VALID)


def made(arch: str, tokenizer: Tokenizer) -> tuple[Model, Tokenizer]:
    heads = {} if arch == "lstm" else {"num_attention_heads": 2}
    shape = {"arch": arch, "hidden_size": 32, "num_hidden_layers": 1, **heads}
    config = PretrainConfig(model=shape, context_length=64)  # type: ignore[arg-type]
    tokenizer = equip(tokenizer, config)
    return build_model(config, tokenizer), tokenizer


def run(folder: Path, corpus: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Any], str]:
    out = folder.parent / "evaluate"
    result = execute(evaluate, EvaluateConfig(**SMALL | changes), {"model": folder, "corpus": corpus}, out)
    return result.summary, json.loads((out / "report.json").read_text()), (out / "report.md").read_text()


@pytest.mark.parametrize("arch", ["bert", "t5", "marian"])
def test_a_model_that_knows_nothing_costs_the_logarithm_of_the_vocabulary(
    arch: str, corpus: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model, tokenizer = made(arch, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    save_checkpoint(tmp_path / "model", model, tokenizer)
    summary, report, page = run(tmp_path / "model", corpus)
    assert summary["loss"] == pytest.approx(math.log(tokenizer.vocab_size), rel=1e-5)
    assert report["perplexity"] == pytest.approx(tokenizer.vocab_size, rel=1e-4)
    # Of 64 tokens 10 are hidden; where they are cut out, in 3 spans, 3 sentinels and eos are written too.
    assert summary["restored_tokens"] == summary["sequences"] * (10 if arch == "bert" else 14)
    assert "hidden tokens" in page or "cut out" in page


@pytest.mark.parametrize(
    ("arch", "noise", "restored", "page_says"),
    [
        ("bert", {"density": 0.5}, 32, "50% of each hidden"),
        ("marian", {"restore": "text"}, 64, "texts that spans were cut out of"),
    ],
)
def test_it_is_measured_as_it_was_trained(
    arch: str, noise: dict[str, Any], restored: int, page_says: str, corpus: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model, tokenizer = made(arch, tokenizer)
    save_checkpoint(tmp_path / "model", model, tokenizer)
    summary, _, page = run(tmp_path / "model", corpus, noise=noise)
    assert summary["restored_tokens"] == restored * summary["sequences"]
    assert page_says in page


def test_the_loss_is_that_of_the_tokens_which_the_seed_hides(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """A model whose logits are one constant vector: the loss follows from the hidden tokens' frequencies."""
    model, tokenizer = made("bert", tokenizer)
    assert isinstance(model, BertForMaskedLM)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.cls["predictions"].bias.copy_(torch.arange(tokenizer.vocab_size) / 50)
    save_checkpoint(tmp_path / "model", model, tokenizer)
    summary, _, _ = run(tmp_path / "model", corpus)
    logits = model.cls["predictions"].bias.detach()
    plain = [token for document in VALID for token in tokenizer.encode_plain(document.text)]
    expected = float((logits.logsumexp(0) - logits[plain]).mean())
    # The hidden tokens are a sample of about a sixth of all.
    assert summary["loss"] == pytest.approx(expected, rel=0.05)
    assert summary["loss_low"] < summary["loss"] < summary["loss_high"]
    again, _, _ = run(tmp_path / "model", corpus)
    assert again["loss"] == summary["loss"]


def test_models_without_an_output_layer_or_sentinels_are_refused(
    corpus: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    bert, equipped = made("bert", tokenizer)
    backbone = BertModel(bert.config)  # type: ignore[arg-type]
    save_checkpoint(tmp_path / "backbone", backbone, equipped)
    with pytest.raises(CheckpointError, match="without a language model's output layer"):
        run(tmp_path / "backbone", corpus)
    marian, _ = made("marian", tokenizer)
    save_checkpoint(tmp_path / "translator", marian, tokenizer)
    with pytest.raises(CheckpointError, match="no sentinels"):
        run(tmp_path / "translator", corpus)
    save_checkpoint(tmp_path / "bert", bert, equipped)
    with pytest.raises(ConfigError, match="64 tokens at once, not 65"):
        run(tmp_path / "bert", corpus, context_length=65)


def test_a_recurrent_model_is_measured_as_every_decoder(corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model, tokenizer = made("lstm", tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    save_checkpoint(tmp_path / "model", model, tokenizer)
    summary, _, _ = run(tmp_path / "model", corpus)
    assert summary["loss"] == pytest.approx(math.log(tokenizer.vocab_size), rel=1e-5)
    assert 0 < summary["bits_per_byte"] < 9
