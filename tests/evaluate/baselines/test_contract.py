"""Every baseline: a prediction for each example, the same each time, that does not look at what it is to predict."""

import dataclasses
from typing import Any

import pytest

from inkstone.core.registry import names
from inkstone.data.examples.records import Answer, LabeledSpans, LabeledText, Pair, Preference, Problem, Question, Span
from inkstone.evaluate.baselines.base import baseline_named

TEXTS = [
    LabeledText(text="a good book", label="good"),
    LabeledText(text="很好的书", label="good"),
    LabeledText(text="an awful room, 很差的房间", label="bad"),
    LabeledText(text="good and cheap", label="good"),
]
NUMBERS = [dataclasses.replace(each, label=float(number)) for number, each in enumerate(TEXTS)]
SPANS = [
    LabeledSpans(text="王五在北京。", spans=(Span(0, 2, "name"), Span(3, 5, "place"))),
    LabeledSpans(text="Wang Wu lives in Beijing", spans=(Span(0, 7, "name"), Span(17, 24, "place"))),
    LabeledSpans(text="北京下雨", spans=(Span(0, 2, "place"),)),
    LabeledSpans(text="nothing here, 没有", spans=()),
]
QUESTIONS = [
    Question(id="1", question="谁写了书？", context="天晴。鲁迅写了书。", answers=(Answer("鲁迅", 3),)),
    Question(
        id="2", question="Where is ink made?", context="Ink is made in Anhui. It rains.", answers=(Answer("Anhui", 15),)
    ),
    Question(id="3", question="何时？", context="", answers=()),
]
PAIRS = [
    Pair(source_text="Good morning. It rains today.", target_text="早上好。"),
    Pair(source_text="今天下雨。出门带伞。", target_text="It rains."),
    Pair(source_text="!", target_text="!"),
    Pair(source_text="Good evening. It rains.", target_text="晚上好。"),
]
PREFERENCES = [
    Preference(prompt="你好", chosen="你好！有什么可以帮你？", rejected="嗯"),
    Preference(
        prompt=[{"role": "user", "content": "Hi"}],
        chosen=[{"role": "assistant", "content": "Hello"}],
        rejected=[{"role": "assistant", "content": "What do you want from me?"}],
    ),
]
PROBLEMS = [
    Problem(prompt="1 + 1 = ?", answer="It is easy. #### 2"),
    Problem(prompt="二加零等于几？", answer="2"),
    Problem(prompt="3 + 4 = ?", answer="7"),
]
KINDS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "majority": (TEXTS, {"label": "other"}),
    "tfidf": (TEXTS, {"label": "other"}),
    "mean": (NUMBERS, {"label": 99.0}),
    "dictionary": (SPANS, {"spans": ()}),
    "linear_tagger": (SPANS, {"spans": ()}),
    "first_sentence": (QUESTIONS, {"answers": ()}),
    "similar_sentence": (QUESTIONS, {"answers": ()}),
    "similar_window": (QUESTIONS, {"answers": ()}),
    "copy": (PAIRS, {"target_text": "other"}),
    "lead": (PAIRS, {"target_text": "other"}),
    "nearest": (PAIRS, {"target_text": "other"}),
    "longer": (PREFERENCES, {}),
    "shorter": (PREFERENCES, {}),
    "majority_answer": (PROBLEMS, {"answer": "other"}),
}


def test_every_baseline_has_its_examples() -> None:
    assert set(names("baselines")) == set(KINDS)


@pytest.mark.parametrize("name", names("baselines"))
def test_contract(name: str) -> None:
    baseline = baseline_named(name)
    examples, hidden = KINDS[name]
    predictions = baseline.predict(examples, examples)
    assert baseline.name == name
    assert baseline.title
    assert len(predictions) == len(examples)
    assert list(predictions) == list(baseline.predict(examples, examples))
    blind = [dataclasses.replace(example, **hidden) for example in examples]
    assert list(predictions) == list(baseline.predict(examples, blind))
    if not baseline.needs_training:
        assert list(predictions) == list(baseline.predict([], examples))
