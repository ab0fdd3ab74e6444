"""Spans of texts against the tags of `transformers`' logits, put together by hand."""

import itertools
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from inkstone.core.errors import ConfigError, InputError
from inkstone.nn.heads import HeadConfig
from tests.tasks.heads import KINDS, SHORT, headed

HEAD = HeadConfig(kind="token", labels=("O", "B-a", "I-a"))


@pytest.mark.parametrize("kind", KINDS)
def test_spans_are_those_of_the_best_legal_tags(tmp_path: Path, kind: str) -> None:
    """All legal tags of short texts are tried, characters of several tokens never being torn."""
    lm = headed(tmp_path, kind, HEAD)
    oracle = AutoModelForTokenClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for text in SHORT if len(lm.tokenizer.encode(text)) <= 9]
    assert len(texts) >= 4
    num_found = 0
    for text, found in zip(texts, lm.extract(texts), strict=True):
        encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True, return_token_type_ids=False)
        offsets = encoded.pop("offset_mapping")[0].tolist()
        with torch.inference_mode():
            log_p = oracle(**encoded).logits[0].log_softmax(-1)
        of_text = [index for index, (start, end) in enumerate(offsets) if start < end]
        best, score = best_tags(log_p[of_text].tolist(), [offsets[index] for index in of_text])
        expected, scores = [], []
        for index, tag in zip(of_text, best, strict=True):
            start, end = offsets[index]
            start += len(text[start:end]) - len(text[start:end].lstrip())
            if tag == 1:
                expected.append([start, end])
                scores.append([])
            elif tag == 2:
                expected[-1][1] = max(end, expected[-1][1])
            if tag:
                scores[-1].append(log_p[index, tag].exp().item())
        assert [[span.start, span.end] for span in found] == expected, score
        for span, probabilities in zip(found, scores, strict=True):
            assert span.text == text[span.start : span.end]
            assert span.label == "a"
            assert span.score == pytest.approx(sum(probabilities) / len(probabilities), abs=1e-4)
        num_found += len(found)
    assert num_found > 0


def best_tags(scores: list[list[float]], offsets: list[list[int]]) -> tuple[tuple[int, ...], float]:
    def legal(path: tuple[int, ...]) -> bool:
        for index, tag in enumerate(path):
            before = path[index - 1] if index else 0
            shares = index > 0 and offsets[index][0] < max(end for _, end in offsets[:index])
            if tag == 2 and before == 0:
                return False
            if shares and (tag == 1 or (tag == 0) != (before == 0)):
                return False
        return True

    def total(path: tuple[int, ...]) -> float:
        return sum(scores[index][tag] for index, tag in enumerate(path))

    paths = [path for path in itertools.product(range(3), repeat=len(scores)) if legal(path)]
    best = max(paths, key=total)
    return best, total(best)


def test_texts_that_are_too_long(tmp_path: Path) -> None:
    lm = headed(tmp_path, "encoder", HEAD)
    with pytest.raises(InputError, match="1 of 1 texts are longer than 48 tokens"):
        lm.extract(["墨 " * 50])
    with pytest.warns(UserWarning, match="1 of 1 texts were cut") as caught:
        (spans,) = lm.extract(["墨 " * 50], truncate=True)
    assert caught[0].filename == __file__
    assert all(span.end <= 92 for span in spans)


def test_models_without_tags(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no BIO tags"):
        headed(tmp_path, "encoder", HeadConfig(kind="token", labels=("NOUN", "VERB"))).extract(["x"])
    with pytest.raises(InputError, match="needs a model with a token head"):
        headed(tmp_path / "s", "encoder", HeadConfig(kind="span")).extract(["x"])
