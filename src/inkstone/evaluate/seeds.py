"""The benchmarks of one recipe run with several seeds, as one table: means and standard deviations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from inkstone.core.errors import InputError
from inkstone.core.files import read_json
from inkstone.evaluate.benchmark import REPORT
from inkstone.evaluate.tables import number, table

Json = dict[str, Any]
_SAME = ("task", "data", "format", "split", "examples")


def join_seeds(folders: Sequence[Path]) -> Json:
    """The metrics of several benchmarks of the same examples: mean, standard deviation and the values themselves.

    Args:
        folders: of the stage `benchmark`, one for each seed.

    Returns:
        `facts` that they share, `seeds` (how many there are), `main_metric`, and `metrics` of the model, of each of the
        `baselines` that all have, and in `compare` of the models that they were compared with, and the `differences`,
        if all were: `mean`, `sd` (n − 1 in the denominator; None of one) and `values`.

    Raises:
        InputError: a folder has no report, or they did not measure the same.
    """
    if not folders:
        raise InputError("there are no benchmarks to join", remedy="give the folders of the stage benchmark")
    reports = [_read(folder) for folder in folders]
    first = reports[0]
    for folder, report in zip(folders, reports, strict=True):
        for name in _SAME:
            if report["facts"][name] != first["facts"][name]:
                raise InputError(
                    f"its {name} is {report['facts'][name]}, that of {folders[0]} is {first['facts'][name]}",
                    where=folder,
                    remedy="join benchmarks of the same examples only",
                )
    compared = [report["compare"] for report in reports if report.get("compare")]
    compare = None
    if len(compared) == len(reports):
        parts = {part: _joined([each[part] for each in compared]) for part in ("metrics", "differences")}
        compare = {"model": compared[0]["model"], **parts}
    shared = [name for name in first["baselines"] if all(name in report["baselines"] for report in reports)]
    return {
        "facts": {name: first["facts"][name] for name in _SAME},
        "seeds": len(reports),
        "main_metric": first["main_metric"],
        "metrics": _joined([report["metrics"] for report in reports]),
        "compare": compare,
        "baselines": {
            name: {
                "title": first["baselines"][name]["title"],
                "metrics": _joined([report["baselines"][name]["metrics"] for report in reports]),
            }
            for name in shared
        },
    }


def seeds_markdown(joined: Mapping[str, Any], model: str = "model") -> str:
    """A table for people: a row for the model, called `model`, for what it was compared with, and for each baseline."""
    names = list(joined["metrics"])
    systems = [(f"**{model}**", joined["metrics"])]
    if compare := joined["compare"]:
        systems += [(compare["model"], compare["metrics"]), ("difference", compare["differences"])]
    systems += [(baseline["title"], baseline["metrics"]) for baseline in joined["baselines"].values()]
    rows = [[title, *(spread(metrics.get(name)) for name in names)] for title, metrics in systems]
    note = "mean ± standard deviation" if joined["seeds"] > 1 else "one run"
    return table([f"{joined['seeds']} seeds, {note}" if joined["seeds"] > 1 else note, *names], rows)


def spread(joined: Mapping[str, Any] | None) -> str:
    """`0.9012 ± 0.0034`; without the deviation where there is none, or where all runs agree."""
    if joined is None or joined["mean"] is None:
        return number(None)
    return f"{number(joined['mean'])} ± {number(joined['sd'])}" if joined["sd"] else number(joined["mean"])


def _read(folder: Path) -> Json:
    report: Json = read_json(folder / REPORT)
    if not isinstance(report, dict) or not {"facts", "metrics", "baselines", "main_metric"} <= set(report):
        raise InputError("not a report of the stage benchmark", where=folder / REPORT)
    return report


def _joined(metrics: Sequence[Mapping[str, Any]]) -> Json:
    """Of the metrics that all have."""
    names = [name for name in metrics[0] if all(name in each for each in metrics)]
    return {name: mean_and_sd([each[name]["value"] for each in metrics]) for name in names}


def mean_and_sd(values: Sequence[float | None]) -> Json:
    """`mean`, `sd` (n − 1 in the denominator; None of one) and `values`; no mean where one does not exist."""
    known = [value for value in values if value is not None]
    complete = len(known) == len(values)
    return {
        "mean": fmean(known) if complete else None,
        "sd": stdev(known) if complete and len(known) > 1 else None,
        "values": list(values),
    }
