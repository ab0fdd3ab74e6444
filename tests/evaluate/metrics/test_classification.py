"""Classification metrics against scikit-learn, and by hand."""

import numpy as np
import pytest

from inkstone.evaluate.measure import measure
from inkstone.evaluate.metrics.base import metric_named
from inkstone.evaluate.metrics.classification import confusion

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def both(name: str, truth: list[object], guess: list[object]) -> float:
    return measure([metric_named(name)], truth, {"m": guess}, num_resamples=20, seed=0)["m"][name].estimate.value


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.choice(["体育", "财经", "science", "world"], 60, p=[0.6, 0.25, 0.1, 0.05]).tolist()
    guess = [each if generator.random() < 0.6 else str(generator.choice(["体育", "财经", "other"])) for each in truth]
    assert both("accuracy", truth, guess) == pytest.approx(sklearn_metrics.accuracy_score(truth, guess), abs=1e-12)
    expected = sklearn_metrics.f1_score(truth, guess, average="macro", zero_division=0)
    assert both("macro_f1", truth, guess) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.f1_score(truth, guess, average="micro", zero_division=0)
    assert both("micro_f1", truth, guess) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.matthews_corrcoef(truth, guess)
    assert both("mcc", truth, guess) == pytest.approx(expected, abs=1e-12)
    table = confusion(truth, guess)
    theirs = sklearn_metrics.confusion_matrix(truth, guess, labels=table["labels"])
    assert table["counts"] == theirs.tolist()


def test_f1_of_each_class_by_hand() -> None:
    truth = ["a", "a", "a", "b", "b"]
    guess = ["a", "a", "b", "b", "a"]
    measured = measure([metric_named("macro_f1")], truth, {"m": guess}, num_resamples=50, seed=0)["m"]["macro_f1"]
    # a: 2 hits, 3 predicted, 3 there; b: 1, 2, 2.
    assert {label: each.value for label, each in measured.by_label.items()} == pytest.approx({"a": 2 / 3, "b": 1 / 2})
    assert measured.estimate.value == pytest.approx(7 / 12)


def test_texts_with_several_classes() -> None:
    truth = [("a", "b"), (), ("c",), ("a",)]
    guess = [("b", "a"), ("c",), ("c",), ("a", "c")]
    assert both("accuracy", truth, guess) == 0.5
    # 4 hits; 6 predicted; 4 there.
    assert both("micro_f1", truth, guess) == pytest.approx(8 / 10)
    # a: 2·2/(2+2), b: 1, c: 2·1/(3+1)
    assert both("macro_f1", truth, guess) == pytest.approx((1 + 1 + 0.5) / 3)


def test_one_class_alone_correlates_with_nothing() -> None:
    assert both("mcc", ["a", "b", "a"], ["a", "a", "a"]) == 0
