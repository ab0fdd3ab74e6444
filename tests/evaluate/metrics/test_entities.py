"""Entity scores, counted by hand."""

import math

import pytest

from inkstone.data.examples.records import Span
from inkstone.evaluate.measure import measure
from inkstone.evaluate.metrics.base import metric_named

TRUTH = [
    (Span(0, 2, "name"), Span(5, 9, "place")),  # 王五 …
    (Span(3, 6, "name"),),
    (),
    (Span(1, 4, "company"),),
]
GUESS = [
    (Span(0, 2, "name"), Span(5, 8, "place")),  # an end is wrong
    (Span(3, 6, "place"),),  # the type is wrong
    (Span(0, 1, "name"),),  # there is none
    (Span(1, 4, "company"),),
]


def test_only_exact_spans_of_the_right_type_count() -> None:
    names = ["entity_precision", "entity_recall", "entity_f1"]
    measured = measure([metric_named(name) for name in names], TRUTH, {"m": GUESS}, num_resamples=100, seed=0)["m"]
    assert [measured[name].estimate.value for name in names] == pytest.approx([2 / 5, 2 / 4, 4 / 9])
    f1 = {label: each.value for label, each in measured["entity_f1"].by_label.items()}
    assert f1 == pytest.approx({"company": 1.0, "name": 2 * 1 / (2 + 2), "place": 0.0})
    precision = {label: each.value for label, each in measured["entity_precision"].by_label.items()}
    assert precision == pytest.approx({"company": 1.0, "name": 1 / 2, "place": 0.0})
    assert measured["entity_f1"].example_values == pytest.approx([0.5, 0.0, 0.0, 1.0])


def test_nothing_there_and_nothing_said() -> None:
    measured = measure([metric_named("entity_f1")], [(), ()], {"m": [(), ()]}, num_resamples=10, seed=0)["m"]
    assert measured["entity_f1"].estimate.value == 0
    assert measured["entity_f1"].example_values is not None
    assert all(math.isnan(value) for value in measured["entity_f1"].example_values)
