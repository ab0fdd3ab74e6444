"""Classes of tokens against `transformers`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForTokenClassification

from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import InputError
from inkstone.data.examples.records import LabeledSpans, Span
from inkstone.nn.heads import HeadedModel
from inkstone.nn.layers.loss import IGNORED
from inkstone.train.objectives.tag import TOKENS
from tests.train.objectives.heads import (
    KINDS,
    Kind,
    layout_changes_nothing,
    lesson_of,
    prepared,
    step,
)


def named(text: str, **spans: str) -> LabeledSpans:
    found = [Span(text.index(part), text.index(part) + len(part), label) for label, part in spans.items()]
    return LabeledSpans(text=text, spans=tuple(sorted(found)), where="f:1")


EXAMPLES = (
    named("The stone is wet; the ink is black.", thing="stone", color="black"),
    named("磨墨者先注水,然後慢慢研磨。", thing="墨", color="慢慢"),
    named("the brush", thing="brush"),
    named("筆走龍蛇"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_those_of_transformers(tmp_path: Path, kind: Kind) -> None:
    lesson = lesson_of(kind)
    encoded = prepared(TOKENS, lesson, EXAMPLES)
    save_checkpoint(tmp_path, lesson.model, lesson.tokenizer)
    oracle, report = AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert list(oracle.config.label2id) == ["O", "B-color", "I-color", "B-thing", "I-thing"]
    batch = TOKENS.objective(lesson, encoded).collate(encoded)
    output = oracle.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"])
    output.loss.backward()
    loss, gradient, metrics = step(TOKENS, lesson, encoded)
    assert abs(loss - output.loss.item()) < 1e-5
    for name, parameter in oracle.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-4)
    real = batch["labels"] != IGNORED
    right = (output.logits.argmax(-1) == batch["labels"])[real].float().mean()
    assert metrics["accuracy"] == pytest.approx(right.item())


@pytest.mark.parametrize("kind", KINDS)
def test_layout_changes_nothing(kind: Kind) -> None:
    layout_changes_nothing(TOKENS, kind, EXAMPLES, label_smoothing=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_tokens(kind: Kind) -> None:
    """Every token of the text has a tag, what the tokenizer adds has none."""
    lesson = lesson_of(kind)
    encoded = prepared(TOKENS, lesson, EXAMPLES)
    assert isinstance(lesson.model, HeadedModel)
    names = lesson.model.head_config.labels
    for example, each in zip(EXAMPLES, encoded, strict=True):
        encoding = lesson.tokenizer.encode_with_offsets(example.text)
        assert each.input_ids.tolist() == encoding.ids
        for label, text, (start, end) in zip(each.labels, encoding.sequence_ids, encoding.offsets, strict=True):
            if text is None:
                assert label == IGNORED
                continue
            around = [span for span in example.spans if span.start < end and start < span.end]
            assert names[label].partition("-")[2] == (around[0].label if around else "")
        assert [names[label][0] for label in each.labels if label >= 0].count("B") == len(example.spans)


def test_cutting_keeps_what_the_tokenizer_adds() -> None:
    lesson = lesson_of("encoder")
    whole = prepared(TOKENS, lesson, EXAMPLES)[0]
    assert TOKENS.cut is not None
    cut = TOKENS.cut(whole, 6)
    assert cut.input_ids.tolist() == [*whole.input_ids[:5], whole.input_ids[-1]]
    assert cut.labels.tolist() == [*whole.labels[:5], IGNORED]


def test_spans_that_are_not_whole_tokens_are_counted() -> None:
    lesson = lesson_of("encoder")
    inside = LabeledSpans(text="the stone is black", spans=(Span(5, 7, "thing"), Span(13, 18, "color")))
    encoded = prepared(TOKENS, lesson, [*EXAMPLES, inside])
    assert [each.num_inexact for each in encoded] == [0, 0, 0, 0, 1]


def test_the_models_own_tags_are_kept() -> None:
    lesson = lesson_of("encoder")
    lesson.model = first = TOKENS.prepare(lesson, EXAMPLES)
    second = TOKENS.prepare(lesson, EXAMPLES[2:])
    assert isinstance(first, HeadedModel)
    assert isinstance(second, HeadedModel)
    assert second.head_config.labels == first.head_config.labels
    assert torch.equal(second.output_layer.weight, first.output_layer.weight)


def test_examples_that_cannot_be_learned_from() -> None:
    lesson = lesson_of("encoder")
    with pytest.raises(InputError, match="no span is labeled"):
        TOKENS.prepare(lesson, EXAMPLES[3:])
    prepared(TOKENS, lesson, EXAMPLES)
    encode: Any = TOKENS.encoder(lesson)
    with pytest.raises(InputError, match=r"f:1: spans called 'thin' .*\n.*did you mean 'thing'"):
        encode(named("the ink", thin="ink"))
    with pytest.raises(InputError, match="f:1: the text has no tokens"):
        encode(named(" "))
