"""Answers against every span of every window, scored by `transformers`."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from inkstone.core.errors import InputError
from inkstone.data.examples.windows import QuestionInContext, Window
from inkstone.nn.heads import HeadConfig
from inkstone.tasks.answer import answer_all, best_span
from tests.tasks.heads import KINDS, headed

CONTEXT = "The stone is wet; the ink is black. 磨墨者先注水,然後慢慢研磨。"
QUESTION = "the ink?"
HEAD = HeadConfig(kind="span")


def every_span(
    folder: Path, question: QuestionInContext, max_answer: int, stride: int
) -> tuple[dict[Any, float], float]:
    """(start, end) in characters → greatest log-probability over the windows; lowest of no answer."""
    oracle = AutoModelForQuestionAnswering.from_pretrained(folder)
    scores: dict[Any, float] = {}
    nothing = []
    for window in question.windows(stride):
        types = {"token_type_ids": torch.tensor([window.token_type_ids])} if oracle.config.model_type == "bert" else {}
        with torch.inference_mode():
            output = oracle(torch.tensor([window.input_ids]), **types)
        starts, ends = output.start_logits[0].log_softmax(-1), output.end_logits[0].log_softmax(-1)
        nothing.append(float(starts[0] + ends[0]))
        for first, (start, _) in enumerate(window.offsets):
            for last, (_, end) in enumerate(window.offsets):
                if first <= last < first + max_answer:
                    score = float(starts[window.first + first] + ends[window.first + last])
                    scores[start, end] = max(score, scores.get((start, end), -math.inf))
    return scores, min(nothing)


@pytest.mark.parametrize(("max_length", "max_answer", "stride"), [(64, 64, 128), (24, 4, 3), (24, 1, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_span_of_all_windows(
    tmp_path: Path, kind: str, max_length: int, max_answer: int, stride: int
) -> None:
    lm = headed(tmp_path, kind, HEAD)
    max_length = min(max_length, lm.model.context)  # type: ignore[arg-type, type-var]
    options: dict[str, Any] = {"max_answer_length": max_answer, "doc_stride": stride, "max_length": max_length}
    question = QuestionInContext(lm.tokenizer, QUESTION, CONTEXT, max_length)
    scores, nothing = every_span(tmp_path, question, max_answer, stride)
    best = max(scores, key=lambda span: scores[span])
    (found,) = answer_all(lm.model, lm.tokenizer, [QUESTION], [CONTEXT], **options)
    assert (found.start, found.end) == best
    assert found.text == CONTEXT[found.start : found.end]
    assert found.score == pytest.approx(math.exp(scores[best]), rel=1e-3)
    gap = nothing - scores[best]
    for threshold, answered in [(gap - 0.01, False), (gap + 0.01, True)]:
        (result,) = answer_all(lm.model, lm.tokenizer, [QUESTION], [CONTEXT], null_threshold=threshold, **options)
        assert (result.text != "") == answered
        assert result.score == pytest.approx(math.exp(scores[best] if answered else nothing), rel=1e-3)


def test_many_questions_are_answered_in_their_order(tmp_path: Path) -> None:
    lm = headed(tmp_path, "encoder", HEAD)
    questions = ["墨?", "the ink?", "x", "the stone?"]
    contexts = [CONTEXT, "wet", CONTEXT * 3, "a stone"]
    together = answer_all(lm.model, lm.tokenizer, questions, contexts)
    for question, context, found in zip(questions, contexts, together, strict=True):
        alone = lm.answer(question, context)
        assert (found.text, found.start, found.end) == (alone.text, alone.start, alone.end)
        assert found.score == pytest.approx(alone.score, rel=1e-4)
    assert answer_all(lm.model, lm.tokenizer, [], []) == []


@pytest.mark.parametrize("seed", range(5))
def test_best_span_is_that_of_trying_all(seed: int) -> None:
    """Tokens that write nothing, such as spaces, neither begin nor end it."""
    random = np.random.default_rng(seed)
    offsets = [(0, 2), (2, 2), (3, 5), (5, 6), (6, 6), (7, 9)]
    window = Window([0] * 9, [0] * 9, 2, 0, offsets)
    scores = random.normal(0, 1, (9, 2))
    for longest in (1, 2, 6):
        allowed = [
            (scores[2 + first, 0] + scores[2 + last, 1], first, last)
            for first in (0, 2, 3, 5)
            for last in (0, 2, 3, 5)
            if first <= last < first + longest
        ]
        assert best_span(window, scores, longest) == pytest.approx(max(allowed))
    assert best_span(window._replace(offsets=[(1, 1)] * 6), scores, 6) is None


def test_questions_that_are_too_long(tmp_path: Path) -> None:
    lm = headed(tmp_path, "encoder", HEAD)
    with pytest.raises(InputError, match="the question has 30 tokens, and may have 22"):
        lm.answer("墨" * 30, CONTEXT)
    with pytest.warns(UserWarning, match="1 of 1 questions were cut to half a window") as caught:
        cut = lm.answer("墨" * 30, CONTEXT, truncate=True)
    assert caught[0].filename == __file__
    assert cut == lm.answer("墨" * 22, CONTEXT)


def test_what_cannot_be_answered(tmp_path: Path) -> None:
    lm = headed(tmp_path, "encoder", HEAD)
    with pytest.raises(InputError, match="the context has no tokens"):
        lm.answer("墨?", " ")
    with pytest.raises(InputError, match="as many contexts as questions"):
        answer_all(lm.model, lm.tokenizer, ["墨?"], [])
    tagger = headed(tmp_path / "t", "encoder", HeadConfig(kind="token", labels=("O", "B-a", "I-a")))
    with pytest.raises(InputError, match="needs a model with a span head"):
        tagger.answer("墨?", "墨")
