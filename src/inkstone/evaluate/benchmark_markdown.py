"""The report of the stage `benchmark` as a page to read."""

from collections.abc import Mapping
from typing import Any

from inkstone.evaluate.benchmark_report import COMPARE, says
from inkstone.evaluate.tables import estimate, number, table

Json = Mapping[str, Any]


def benchmark_markdown(report: Json) -> str:
    """The page for a report that `build_report` made."""
    facts = report["facts"]
    parts = [
        f"# {facts['model']}: {facts['task']}",
        _coverage(facts),
        _systems(report),
        _verdict(report),
        _differences(report),
        *(_labels(name, metric["by_label"]) for name, metric in report["metrics"].items() if "by_label" in metric),
        _confusion(report.get("confusion")),
        _method(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _coverage(facts: Json) -> str:
    return (
        f"{facts['examples']:,} of {facts['of_examples']:,} examples of the {facts['split']} split of {facts['data']} "
        f"({facts['format']}). Baselines that learn have {facts['train_examples']:,} training examples."
    )


def _systems(report: Json) -> str:
    names = list(report["metrics"])
    rows = [[f"**{report['facts']['model']}**", *(estimate(report["metrics"][name]) for name in names)]]
    if COMPARE in report:
        other = report[COMPARE]
        rows.append([f"{other['model']} (compared)", *(estimate(other["metrics"][name]) for name in names)])
    rows += [
        [baseline["title"], *(estimate(baseline["metrics"][name]) for name in names)]
        for baseline in report["baselines"].values()
    ]
    head = [name if report["metrics"][name]["higher_is_better"] else f"{name} (lower is better)" for name in names]
    return table(["", *head], rows)


def _verdict(report: Json) -> str:
    main, best = report["main_metric"], report["best_baseline"]
    lines = []
    if best is not None:
        title = report["baselines"][best]["title"]
        lines.append(
            f"By {main}, the best baseline is: {title}. Does the model beat it? **{says(report['verdict'])}**."
        )
    if COMPARE in report:
        lines.append(f"Does it beat {report[COMPARE]['model']}? **{says(report['verdict_on_compare'])}**.")
    return "\n".join(lines)


def _differences(report: Json) -> str:
    main = report["main_metric"]
    others = [(baseline["title"], baseline) for baseline in report["baselines"].values()]
    if COMPARE in report:
        others.insert(0, (f"{report[COMPARE]['model']} (compared)", report[COMPARE]))
    rows = [
        [title, estimate(each["differences"][main]), number(each["differences"][main]["p_value"])]
        for title, each in others
    ]
    return table([f"{main}, model less …", "difference", "p"], rows) if rows else ""


def _labels(name: str, by_label: Json) -> str:
    return table([f"{name} of", "value"], [[label, estimate(each)] for label, each in by_label.items()])


def _confusion(confusion: Json | None) -> str:
    if confusion is None:
        return ""
    labels = confusion["labels"]
    rows = [[label, *map(str, counts)] for label, counts in zip(labels, confusion["counts"], strict=True)]
    return table(["is … (row), taken for …", *labels], rows)


def _method(report: Json) -> str:
    facts = report["facts"]
    intervals = (
        "In parentheses are 95 % intervals of the percentile bootstrap over examples, "
        f"{facts['num_bootstrap']:,} resamples, seed {facts['seed']}. Differences are paired: the same examples are "
        "drawn for both. p is how often a difference as large would come about if both were equally good."
    )
    lines = [intervals]
    if facts["decoding"]:
        lines.append(f"Decoding: {', '.join(f'{name} {value}' for name, value in facts['decoding'].items())}.")
    signed = [(name, metric["signature"]) for name, metric in report["metrics"].items() if "signature" in metric]
    lines += [f"{name}: `{signature}`" for name, signature in signed]
    lines += [f"Left out: {name}, {why}." for name, why in facts["left_out"].items()]
    lines += [f"Note: {note}." for note in facts["notes"]]
    lines.append(f"The model took {facts['seconds']:.1f} s.")
    return "\n\n".join(lines)
