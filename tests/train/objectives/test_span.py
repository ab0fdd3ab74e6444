"""Answers in contexts against `transformers`, and where windows point."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import InputError
from inkstone.data.examples.records import Answer, Question
from inkstone.train.objectives.span import SPAN
from tests.train.objectives.heads import (
    KINDS,
    Kind,
    layout_changes_nothing,
    lesson_of,
    prepared,
    step,
)

ENGLISH = "The stone is wet; the ink is black, and the brush begins to write."
CHINESE = "磨墨者先注水,然後慢慢研磨。筆走龍蛇,墨分五色。"


def asked(question: str, context: str, *answers: str) -> Question:
    found = tuple(Answer(text, context.index(text)) for text in answers)
    return Question(id="1", question=question, context=context, answers=found, where="f:1")


EXAMPLES = (
    asked("What is black?", ENGLISH, "the ink", "ink"),
    asked("墨分幾色", CHINESE, "五色"),
    asked("Who writes?", ENGLISH[:40]),
    asked("the ink is?", "black", "black"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_those_of_transformers(tmp_path: Path, kind: Kind) -> None:
    """One window after another: theirs counts padding among the places where an answer could be."""
    lesson = lesson_of(kind)
    encoded = prepared(SPAN, lesson, EXAMPLES)
    save_checkpoint(tmp_path, lesson.model, lesson.tokenizer)
    oracle, report = AutoModelForQuestionAnswering.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    total, right = 0.0, 0
    for window in encoded:
        inputs = {"input_ids": torch.tensor(window.input_ids).unsqueeze(0)}
        if kind == "encoder":
            inputs["token_type_ids"] = torch.tensor(window.token_type_ids).unsqueeze(0)
        output = oracle.eval()(
            **inputs, start_positions=torch.tensor([window.start]), end_positions=torch.tensor([window.end])
        )
        (output.loss / len(encoded)).backward()
        total += output.loss.item() / len(encoded)
        likeliest = (int(output.start_logits.argmax()), int(output.end_logits.argmax()))
        right += likeliest == (window.start, window.end)
    loss, gradient, metrics = step(SPAN, lesson, encoded)
    assert abs(loss - total) < 1e-5
    assert metrics["accuracy"] == pytest.approx(right / len(encoded))
    for name, parameter in oracle.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_layout_changes_nothing(kind: Kind) -> None:
    layout_changes_nothing(SPAN, kind, EXAMPLES)


@pytest.mark.parametrize("max_length", [20, 24, 32, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_point_to_the_first_answer_or_to_their_beginning(kind: Kind, max_length: int) -> None:
    for example in EXAMPLES:
        lesson = lesson_of(kind, max_length=max_length, head={"doc_stride": 2}, truncate=True)
        windows = prepared(SPAN, lesson, [example])
        assert all(window.length <= max_length for window in windows)
        surfaces = [
            lesson.tokenizer.decode(window.input_ids[window.start : window.end + 1].tolist()).strip().replace(" ", "")
            for window in windows
            if window.start
        ]
        assert all(window.end == 0 for window in windows if not window.start)
        if example.answers:
            assert surfaces
            assert set(surfaces) == {example.answers[0].text.replace(" ", "")}
        else:
            assert surfaces == []


def test_an_answer_across_the_border_of_two_windows_gets_its_own() -> None:
    lesson = lesson_of("encoder", max_length=16, head={"doc_stride": 0})
    example = asked("墨分?", CHINESE, "慢慢研磨")
    windows = prepared(SPAN, lesson, [example])
    (last,) = [window for window in windows if window.start]
    assert last is windows[-1]
    assert lesson.tokenizer.decode(last.input_ids[last.start : last.end + 1].tolist()) == "慢 慢 研 磨"
    assert not last.is_inexact
    assert len(windows) == len(prepared(SPAN, lesson, [asked("墨分?", CHINESE)])) + 1
    with pytest.raises(InputError, match="f:1: the answer has 11 tokens, and a window holds 10"):
        prepared(SPAN, lesson, [asked("墨分?", CHINESE, CHINESE[:11])])
    cutting = lesson_of("encoder", max_length=16, head={"doc_stride": 0}, truncate=True)
    found = [window for window in prepared(SPAN, cutting, [asked("墨分?", CHINESE, CHINESE[:11])]) if window.start]
    assert [window.num_cut for window in found] == [1]
    assert (
        cutting.tokenizer.decode(found[0].input_ids[found[0].start : found[0].end + 1].tolist())
        == "磨 墨 者 先 注 水, 然 後 慢"
    )


def test_what_does_not_come_out_even_is_counted() -> None:
    lesson = lesson_of("encoder", truncate=True, max_length=20)
    windows = prepared(SPAN, lesson, [asked("what?", ENGLISH, "ton"), asked("墨分幾色" * 5, CHINESE[:5], "磨")])
    assert [(window.is_inexact, window.num_cut) for window in windows if window.start] == [(True, 0), (False, 12)]


def test_examples_that_cannot_be_learned_from() -> None:
    lesson = lesson_of("encoder", max_length=20)
    prepared(SPAN, lesson, EXAMPLES[3:])
    encode: Any = SPAN.encoder(lesson)
    with pytest.raises(InputError, match="f:1: the question has 20 tokens, and may have 8"):
        encode(asked("墨分幾色" * 5, CHINESE))
    with pytest.raises(InputError, match="f:1: characters 3 to 4 of the context have no tokens"):
        encode(asked("what?", ENGLISH, " "))
