"""What counts as the same prompt in train and in the evaluation splits."""

import pytest

from inkstone.data.check.leakage import TrainingPrompts, near_key
from inkstone.data.check.views import view_of
from inkstone.data.examples.records import Completion, Judged, LabeledText, Preference, Question


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("Well,then", "well then"),
        ("Don’t   stop.", "dont stop"),
        ("你好，世界！", "你好世界"),
        ("你 好 世 界", "你好世界"),
        ("ＡＢＣ：１２３", "abc 123"),
        ("“Ink” — he said.", "ink he said"),
    ],
)
def test_texts_that_people_take_for_the_same(one: str, other: str) -> None:
    assert near_key(one) == near_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 - 5", "35"),
        ("3 * 5", "3 + 5"),
        ("1.5", "15"),
        (".5", "5"),
        ("3:5", "3 5"),
        ("1,000", "1 000"),
        ("(3 + 5) * 2", "3 + (5 * 2)"),
        ("1 2", "12"),
        ("well known", "wellknown"),
        ("你好", "您好"),
        ("café", "cafe"),
    ],
)
def test_texts_that_differ(one: str, other: str) -> None:
    assert near_key(one) != near_key(other)


def found(train: object, other: object) -> list[str]:
    prompts = TrainingPrompts()
    prompts.add(view_of(train), "train.jsonl:1")  # type: ignore[arg-type]
    return [each.fault.name for each in prompts.find(view_of(other))]  # type: ignore[arg-type]


def test_another_answer_is_no_excuse() -> None:
    same, almost = ["evaluation row also in train"], ["evaluation row almost in train"]
    assert found(Completion(prompt="1 + 1 =", completion="2"), Completion(prompt="1 + 1 =", completion="3")) == same
    assert found(LabeledText(text="好!", label="a"), LabeledText(text="好。", label="b")) == almost
    assert found(LabeledText(text="a", pair="b", label="x"), LabeledText(text="a", pair="c", label="x")) == []
    prefer = Preference(prompt="Hi", chosen="Hello.", rejected="No.")
    assert found(prefer, Preference(prompt="Hi", chosen="Good day.", rejected="Go.")) == same
    assert (
        found(Judged(prompt="a", completion="b", desirable=True), Judged(prompt="c", completion="b", desirable=True))
        == []
    )
    asked = {"question": "Who?", "answers": (), "id": "1"}
    assert found(Question(context="one", **asked), Question(context="two", **asked)) == []
    assert found(Completion(prompt="!!!", completion="a"), Completion(prompt="???", completion="a")) == []
