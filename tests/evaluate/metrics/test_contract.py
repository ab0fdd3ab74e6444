"""Every metric: the best value for perfect predictions, intervals that hold the estimate, whatever the order."""

import random
from typing import Any

import numpy as np
import pytest

from inkstone.core.registry import names
from inkstone.data.examples.records import Span
from inkstone.evaluate.measure import difference, measure
from inkstone.evaluate.metrics.base import LabeledMetric, Metric, metric_named
from inkstone.evaluate.metrics.likelihood import Likelihood
from inkstone.evaluate.metrics.preference import Margin
from inkstone.evaluate.metrics.problems import Attempts

CLASSES = ["good", "bad", "好", "bad", "good", "好", "bad", "good"]
TEXTS = [
    "The ink is black and wet：墨分五色。",
    "筆走龍蛇，紙上有風 and the brush writes on.",
    "A stone in the river：水滴石穿，非一日之功。",
    "我们今天去北京看朋友，明天回家 by train.",
    "She reads a book：每天晚上都在窗边读书。",
    "他说 hello 然后走了，没有回头。",
]
SPANS = [
    (Span(0, 2, "place"), Span(3, 5, "name")),
    (Span(1, 4, "name"),),
    (Span(2, 3, "公司"),),
    (Span(0, 1, "place"), Span(5, 9, "公司")),
]
NUMBERS = [0.5, 1.0, -2.0, 3.5, 3.5, 7.0, 0.0, 2.5]
ANSWERS = [("the black ink", "ink"), ("北京大学",), ("1919年",), ("Paris",), ("砚台", "一方砚台"), ("two rivers",)]
KINDS: dict[str, tuple[list[Any], list[Any]]] = {
    "accuracy": (CLASSES, CLASSES),
    "macro_f1": (CLASSES, CLASSES),
    "micro_f1": (CLASSES, CLASSES),
    "mcc": (CLASSES, CLASSES),
    "mae": (NUMBERS, NUMBERS),
    "pearson": (NUMBERS, NUMBERS),
    "spearman": (NUMBERS, NUMBERS),
    "entity_f1": (SPANS, SPANS),
    "entity_precision": (SPANS, SPANS),
    "entity_recall": (SPANS, SPANS),
    "answer_em": (ANSWERS, [answers[0] for answers in ANSWERS]),
    "answer_f1": (ANSWERS, [answers[-1] for answers in ANSWERS]),
    **dict.fromkeys(("bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL"), (TEXTS, TEXTS)),
    **{name: ([None] * 5, [Likelihood(0.0, length) for length in (3, 5, 8, 2, 9)]) for name in ("loss", "perplexity")},
    **{
        name: ([None] * 5, [Margin(each, each / 3, each / 2) for each in (3.0, 0.5, 8.0, 2.0, 0.1)])
        for name in ("preference_accuracy", "preference_accuracy_per_token", "implicit_reward_accuracy")
    },
    **{
        name: ([None] * 4, [Attempts(1.0, (1.0, 1.0))] * 4)
        for name in ("solved", "solved_mean", "pass_at_k")
    },
}  # fmt: skip
WORSE: dict[str, list[Any]] = {
    "loss": [Likelihood(nats, length) for nats, length in ((2.0, 3), (9.0, 5), (30.0, 8), (1.0, 2), (20.0, 9))],
    "preference": [Margin(-1.0, 0.5, 0.0), Margin(1.0, -0.5, 2.0), *[Margin(-2.0, -1.0, -3.0)] * 2, Margin(1, 1, 1)],
    "problems": [
        Attempts(0.0, (1.0, 0.0)),
        Attempts(1.0, (0.0, 0.0)),
        Attempts(1.0, (1.0, 1.0)),
        Attempts(0.0, (0.0,)),
    ],
}
ALL = names("metrics")


def flawed(name: str) -> list[Any]:
    """Predictions of which some are wrong."""
    if name in ("loss", "perplexity"):
        return WORSE["loss"]
    if "preference" in name or "implicit" in name:
        return WORSE["preference"]
    if name in ("solved", "solved_mean", "pass_at_k"):
        return WORSE["problems"]
    right = KINDS[name][1]
    return [*right[1:3], *right[2:]]


def values(metric: Metric, references: list[Any], predictions: list[Any]) -> tuple[Any, dict[str, Any]]:
    measured = measure([metric], references, {"it": predictions}, num_resamples=200, seed=3)["it"][metric.name]
    return measured.estimate, dict(measured.by_label)


def test_every_metric_has_its_examples() -> None:
    assert set(ALL) == set(KINDS)


@pytest.mark.parametrize("name", ALL)
def test_perfect_predictions_have_the_best_value(name: str) -> None:
    metric = metric_named(name)
    estimate, by_label = values(metric, *KINDS[name])
    assert metric.name == name
    assert estimate.value == pytest.approx(metric.best)
    assert estimate.high == pytest.approx(metric.best) if metric.higher_is_better else estimate.low >= metric.best
    assert all(each.value == pytest.approx(metric.best) for each in by_label.values())
    assert bool(by_label) == isinstance(metric, LabeledMetric)


@pytest.mark.parametrize("name", ALL)
def test_flaws_make_it_worse_and_the_interval_holds_the_estimate(name: str) -> None:
    metric, references = metric_named(name), KINDS[name][0]
    estimate, by_label = values(metric, references, flawed(name))
    assert (estimate.value < metric.best) == metric.higher_is_better
    assert estimate.value != metric.best
    for each in (estimate, *by_label.values()):
        assert each.low is None or each.low <= each.value <= each.high
    assert estimate.low < estimate.high


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_the_examples_does_not_matter(name: str) -> None:
    metric, references, predictions = metric_named(name), KINDS[name][0], flawed(name)
    order = list(range(len(references)))
    random.Random(1).shuffle(order)
    estimate, by_label = values(metric, references, predictions)
    shuffled, labels = values(metric, [references[i] for i in order], [predictions[i] for i in order])
    assert shuffled.value == pytest.approx(estimate.value, rel=1e-12)
    assert {label: each.value for label, each in labels.items()} == pytest.approx(
        {label: each.value for label, each in by_label.items()}, nan_ok=True
    )


@pytest.mark.parametrize("name", ALL)
def test_a_resample_is_measured_as_if_its_examples_were_the_data(name: str) -> None:
    metric, references, predictions = metric_named(name), KINDS[name][0], flawed(name)
    draws = np.random.default_rng(5).multinomial(len(references), [1 / len(references)] * len(references), size=3)
    statistics = metric.count(references, predictions)
    for row, value in zip(draws, metric.values(statistics, draws.astype(float)), strict=True):
        again = [number for number, times in enumerate(row) for _ in range(times)]
        alone = metric.count([references[i] for i in again], [predictions[i] for i in again])
        expected = metric.values(alone, np.ones((1, len(again))))[0]
        assert value == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("name", ALL)
def test_a_difference_to_itself_is_nothing(name: str) -> None:
    metric, references = metric_named(name), KINDS[name][0]
    systems = {"one": flawed(name), "same": flawed(name), "best": KINDS[name][1]}
    measured = measure([metric], references, systems, num_resamples=200, seed=0)
    nothing = difference(measured["one"][name], measured["same"][name])
    assert (nothing.value, nothing.low, nothing.high, nothing.p_value) == (0, 0, 0, 1)
    something = difference(measured["best"][name], measured["one"][name])
    assert (something.value > 0) == metric.higher_is_better
    assert something.low <= something.value <= something.high
    assert 0 < something.p_value <= 1


def test_what_has_no_value_has_no_difference_either() -> None:
    systems = {"empty": [Likelihood(0.0, 0)] * 3, "one": [Likelihood(2.0, 1)] * 3}
    measured = measure([metric_named("loss")], [None] * 3, systems, num_resamples=100, seed=0)
    found = difference(measured["empty"]["loss"], measured["one"]["loss"])
    assert np.isnan(found.value)
    assert (found.low, found.high, found.p_value) == (None, None, None)
