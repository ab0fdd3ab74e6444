"""Label counts and what is odd about them."""

from collections.abc import Sequence

import numpy as np
import pytest

from inkstone.data.check.balance import Balance
from inkstone.data.examples.encoded import LabeledSequence
from inkstone.data.examples.records import Example, Judged, LabeledSpans, LabeledText, Question, Span


def balance(examples: Sequence[Example]) -> Balance:
    counted = Balance()
    for example in examples:
        counted.add(example)
    return counted


def texts(*labels: str | float | tuple[str, ...]) -> list[LabeledText]:
    return [LabeledText(text=str(n), label=label, where=f"train:{n}") for n, label in enumerate(labels)]


def faults(counted: Balance) -> dict[str, str]:
    return {found.fault.name: where for found, where in counted.find()}


def test_labels_of_all_kinds_are_counted_commonest_first() -> None:
    assert list(balance(texts("b", "a", "a")).to_json().items()) == [("a", 2), ("b", 1)]
    assert balance(texts(("x", "y"), ("y",), ())).to_json() == {"y": 2, "x": 1}
    spans = LabeledSpans(text="墨和筆", spans=(Span(0, 1, "物"), Span(2, 3, "物")))
    assert balance([spans]).to_json() == {"物": 2}
    judged = [Judged(prompt="p", completion="c", desirable=good) for good in (True, False, True)]
    assert balance(judged).to_json() == {"desirable": 2, "undesirable": 1}
    assert balance([Question(id="1", question="q", context="c", answers=())]).to_json() == {"unanswerable": 1}


def test_what_became_of_a_label_says_whether_it_is_a_number() -> None:
    ids = np.asarray([1])
    counted = Balance()
    for example, target in zip(texts("1", "2", "4"), (1.0, 2.0, 4.0), strict=True):
        counted.add(example, [LabeledSequence(ids, ids, ids, target)])
    expected = {"lowest": 1.0, "mean": 7 / 3, "highest": 4.0, "standard_deviation": np.std([1, 2, 4])}
    assert counted.to_json() == pytest.approx(expected)
    assert not faults(counted)
    (example,) = texts(3.0)
    classes = Balance()
    classes.add(example, [LabeledSequence(ids, ids, ids, 0)])
    assert classes.to_json() == {"3": 1}


def test_odd_labels_are_found() -> None:
    assert faults(balance(texts("a", "a", "b"))) == {"label with a single example": "train:2"}
    assert faults(balance(texts("a", "a"))) == {"all labels are the same": "train"}
    assert faults(balance(texts(1.5, 1.5))) == {"all labels are the same": "train"}
    assert faults(balance(texts(("a",), ("a",)))) == {}
    assert faults(balance(texts(*["a"] * 99, "b", "b"))) == {}
    assert faults(balance(texts(*["a"] * 100, "b", "b"))) == {"labels far out of balance": "train"}
    assert faults(balance(texts("非常好", "非常好", " 非常好!", " 非常好!"))) == {
        "labels that differ in spelling only": "train:2"
    }
    assert faults(balance([Judged(prompt="p", completion="c", desirable=True)] * 3)) == {
        "labels far out of balance": "train"
    }


def test_labels_are_compared_between_splits() -> None:
    train, valid = balance(texts("a", "b")), balance(texts("a", "c"))
    ((found, where),) = valid.find_unseen(train)
    assert (found.fault.name, where) == ("label never seen in training", "train:1")
    assert not list(train.find_unseen(train))
