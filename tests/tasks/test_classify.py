"""Classes of texts against `transformers`, one text at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import inkstone
from inkstone.core.errors import InputError
from inkstone.engine import encode
from inkstone.nn.heads import HeadConfig
from tests.tasks.heads import KINDS, SHORT, headed
from tests.tiny_models import tiny_model, tiny_tokenizer

LABELS = ("bad", "good", "中")
HEAD = HeadConfig(kind="sequence", labels=LABELS, problem_type="single_label_classification")


def their_logits(folder: Path, text: str, pair: str | None = None) -> torch.Tensor:
    oracle = AutoModelForSequenceClassification.from_pretrained(folder)
    has_types = oracle.config.model_type == "bert"
    inputs = AutoTokenizer.from_pretrained(folder)(text, pair, return_tensors="pt", return_token_type_ids=has_types)
    with torch.inference_mode():
        return oracle(**inputs).logits[0]


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_one_class(tmp_path: Path, kind: str, paired: bool) -> None:
    lm = headed(tmp_path, kind, HEAD)
    pairs = SHORT[::-1] if paired else None
    results = lm.classify(SHORT, pairs)
    assert np.ptp([result.probabilities["good"] for result in results]) > 0.01
    for row, (text, result) in enumerate(zip(SHORT, results, strict=True)):
        expected = their_logits(tmp_path, text, pairs[row] if pairs else None).softmax(-1)
        assert list(result.probabilities) == list(LABELS)
        np.testing.assert_allclose(list(result.probabilities.values()), expected, atol=1e-5)
        assert result.label == LABELS[int(expected.argmax())]


def test_several_classes_and_numbers(tmp_path: Path) -> None:
    several = headed(
        tmp_path / "s", "encoder", HeadConfig(kind="sequence", labels=LABELS, problem_type="multi_label_classification")
    )
    for text, result in zip(SHORT, several.classify(SHORT), strict=True):
        expected = their_logits(tmp_path / "s", text).sigmoid()
        np.testing.assert_allclose(list(result.probabilities.values()), expected, atol=1e-5)
        assert result.label == tuple(name for name, p in zip(LABELS, expected, strict=True) if p > 0.5)
    value = headed(tmp_path / "v", "decoder", HeadConfig(kind="sequence", labels=("value",), problem_type="regression"))
    for text, result in zip(SHORT, value.classify(SHORT), strict=True):
        assert result.label == pytest.approx(their_logits(tmp_path / "v", text).item(), abs=1e-5)
        assert result.probabilities == {}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_change_nothing(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = headed(tmp_path, kind, HEAD)
    together = lm.classify(SHORT * 2)
    for tokens in (1, 30):
        monkeypatch.setattr(encode, "TOKENS_AT_ONCE", tokens)
        for result, expected in zip(lm.classify(SHORT * 2), together, strict=True):
            assert result.label == expected.label
            assert result.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert lm.classify([]) == []


def test_texts_that_are_too_long(tmp_path: Path) -> None:
    lm = headed(tmp_path, "encoder", HEAD)
    texts = ["a stone", "墨" * 47]
    with pytest.raises(InputError, match=r"1 of 2 texts are longer than 48 tokens.*texts\[1\] has 49"):
        lm.classify(texts)
    with pytest.warns(UserWarning, match="1 of 2 texts were cut to 48 tokens") as caught:
        results = lm.classify(texts, truncate=True)
    assert caught[0].filename == __file__
    assert results[1].probabilities == pytest.approx(lm.classify(["墨" * 46])[0].probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a stone",), "a single text"),
        ((["a"], ["b", "c"]), "1 texts and 2 pairs"),
        ((["a", " "],), r"texts\[1\] has no tokens"),
    ],
)
def test_texts_that_cannot_be_read(tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        headed(tmp_path, "encoder", HEAD).classify(*arguments)


def test_models_that_were_taught_something_else(tmp_path: Path) -> None:
    tagger = headed(tmp_path, "encoder", HeadConfig(kind="token", labels=("O", "B-x", "I-x")))
    with pytest.raises(InputError, match=r"needs a model with a sequence head, .* has a token head"):
        tagger.classify(["x"])
    with pytest.raises(InputError, match=r"has no head\n.*classify, regress or reward"):
        inkstone.LanguageModel(tiny_model(), tiny_tokenizer()).classify(["x"])
    two = HeadConfig(kind="sequence", labels=("a", "b"), problem_type="regression")
    with pytest.raises(InputError, match="gives 2 numbers"):
        headed(tmp_path / "two", "encoder", two).classify(["x"])
