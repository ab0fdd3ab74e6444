"""What the stage `benchmark` found, as JSON values; `benchmark_markdown` makes the page of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inkstone.evaluate.confidence import Interval
from inkstone.evaluate.measure import Measurement, Measurements, difference
from inkstone.evaluate.metrics.base import Metric

Json = dict[str, Any]
MODEL = "model"
COMPARE = "compare"


@dataclass(frozen=True)
class Facts:
    """What was measured, and how."""

    model: str
    compare: str | None
    data: str
    format: str
    task: str
    split: str
    examples: int
    of_examples: int
    train_examples: int
    decoding: Mapping[str, Any]
    num_bootstrap: int
    seed: int
    seconds: float
    """That the model took."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Baselines that could not be computed, and why."""
    notes: Sequence[str] = ()
    """What was cut, say, in running the models."""


def build_report(
    facts: Facts,
    metrics: Sequence[Metric],
    references: Sequence[Any],
    measured: Mapping[str, Measurements],
    titles: Mapping[str, str],
    details: Json,
) -> Json:
    """The report as JSON.

    Args:
        facts: what was measured.
        metrics: the main one first.
        references: of the examples.
        measured: of the model (`MODEL`), the model to compare with (`COMPARE`), if any, and each baseline.
        titles: of the baselines.
        details: of the task.
    """
    main = metrics[0]
    baselines = {name: {"title": title, **_beside(metrics, measured, name)} for name, title in titles.items()}
    best = _best(main, {name: measured[name][main.name] for name in titles})
    compare = {COMPARE: {"model": facts.compare, **_beside(metrics, measured, COMPARE)}} if COMPARE in measured else {}
    return {
        "facts": dict(vars(facts)),
        "main_metric": main.name,
        "metrics": {metric.name: _described(metric, references, measured[MODEL][metric.name]) for metric in metrics},
        **compare,
        "baselines": baselines,
        "best_baseline": best,
        "verdict": None if best is None else verdict(main, baselines[best]["differences"][main.name]),
        "verdict_on_compare": verdict(main, compare[COMPARE]["differences"][main.name]) if compare else None,
        **details,
    }


def verdict(metric: Metric, compared: Json) -> str:
    """`better`, `worse`, or `undecided` where the interval of the difference holds 0."""
    low, high = compared["low"], compared["high"]
    if low is None or high is None or low <= 0 <= high:
        return "undecided"
    return "better" if (low > 0) == metric.higher_is_better else "worse"


def _beside(metrics: Sequence[Metric], measured: Mapping[str, Measurements], name: str) -> Json:
    """Another system's metrics, and how far the model is above them."""
    differences = {
        metric.name: difference(measured[MODEL][metric.name], measured[name][metric.name]) for metric in metrics
    }
    return {
        "metrics": {metric.name: interval_json(measured[name][metric.name].estimate) for metric in metrics},
        "differences": {
            metric: interval_json(each) | {"p_value": _number(each.p_value)} for metric, each in differences.items()
        },
    }


def _described(metric: Metric, references: Sequence[Any], measurement: Measurement) -> Json:
    signature = metric.signature(references)
    by_label = {label: interval_json(each) for label, each in measurement.by_label.items()}
    return {
        **interval_json(measurement.estimate),
        "higher_is_better": metric.higher_is_better,
        **({"signature": signature} if signature else {}),
        **({"by_label": by_label} if by_label else {}),
    }


def _best(main: Metric, baselines: Mapping[str, Measurement]) -> str | None:
    sign = 1 if main.higher_is_better else -1
    known = {
        name: sign * each.estimate.value for name, each in baselines.items() if not math.isnan(each.estimate.value)
    }
    return max(known, key=lambda name: known[name], default=None)


def interval_json(interval: Interval) -> Json:
    """An estimate with its ends; what does not exist is null."""
    return {"value": _number(interval.value), "low": _number(interval.low), "high": _number(interval.high)}


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def summarize(report: Json) -> Json:
    """What the stage says at its end."""
    main = report["main_metric"]
    found, best = report["metrics"][main], report["best_baseline"]
    summary = {
        "task": report["facts"]["task"],
        "split": report["facts"]["split"],
        "examples": report["facts"]["examples"],
        "metric": main,
        main: found["value"],
        f"{main}_low": found["low"],
        f"{main}_high": found["high"],
    }
    if best is not None:
        summary |= {
            "best_baseline": best,
            f"{best}_{main}": report["baselines"][best]["metrics"][main]["value"],
            "beats_baseline": says(report["verdict"]),
        }
    if COMPARE in report:
        summary |= {
            f"compare_{main}": report[COMPARE]["metrics"][main]["value"],
            "beats_compare": says(report["verdict_on_compare"]),
        }
    return summary


def says(judgment: str) -> str:
    """A verdict in plain words."""
    return {"better": "yes", "worse": "no, it is worse", "undecided": "not beyond the luck of the sample"}[judgment]
