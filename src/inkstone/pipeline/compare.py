"""Runs side by side: what differs in their settings, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.progress import duration
from inkstone.evaluate.benchmark import REPORT
from inkstone.evaluate.seeds import join_seeds, mean_and_sd, spread
from inkstone.evaluate.tables import estimate, number
from inkstone.pipeline.show import number as count
from inkstone.pipeline.show import print_json, print_table, value_text
from inkstone.pipeline.trained import Trained, find_trained, minutes

Json = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but seeds."""

    runs: tuple[Trained, ...]

    @property
    def first(self) -> Trained:
        """One of them, for what they share."""
        return self.runs[0]

    @property
    def label(self) -> str:
        """What the table calls it."""
        more = len(self.runs) - 1
        return f"{self.first.label} and {more} more" if more else self.first.label

    def measures(self) -> dict[str, Json]:
        """Name → `mean`, `sd` and `values`, of what all of them have."""
        each = [measures_of(run) for run in self.runs]
        return {name: mean_and_sd([one[name] for one in each]) for name in each[0] if all(name in one for one in each)}

    def results(self) -> dict[str, Json]:
        """Stage that measured the model and its main metric → `mean`, `sd`, `values`; of one run `low` and `high`."""
        folders = [{record.folder.name: record for record in run.measurements} for run in self.runs]
        found = {}
        for name in (name for name in folders[0] if all(name in one for one in folders)):
            records = [one[name] for one in folders]
            if (records[0].folder / REPORT).is_file():
                joined = join_seeds([record.folder for record in records])
                metric = joined["main_metric"]
                result = joined["metrics"][metric]
            else:
                metric, result = "bits_per_byte", mean_and_sd([record.summary["bits_per_byte"] for record in records])
            if len(records) == 1:
                summary = records[0].summary
                result = result | {end: summary.get(f"{metric}_{end}") for end in ("low", "high")}
            found[f"{name}: {metric}"] = result
        return found


def measures_of(run: Trained) -> dict[str, float]:
    """The single numbers of a training; of one that still runs, those so far."""
    rows, summary = run.rows, run.record.summary
    latest: Json = {}
    for row in rows:
        latest |= row
    counted = [row for row in rows if "tokens" in row]
    found: dict[str, float] = {}
    if "parameters" in summary:
        found["parameters"] = summary["parameters"]
    if counted:
        found["steps"], found["tokens"] = counted[-1]["step"], counted[-1]["tokens"]
        found["seconds"] = minutes(counted)[-1] * 60
        found["tokens_per_s"] = found["tokens"] / found["seconds"]
    found |= {name: latest[name] for name in ("loss", "valid_loss") if name in latest}
    if "valid_loss" in latest:
        found["best_valid_loss"] = min(row["valid_loss"] for row in rows if "valid_loss" in row)
    others = [name for name in latest if name.startswith("valid_") and name != "valid_loss"]
    return found | {name: latest[name] for name in others}


def join(runs: Sequence[Trained]) -> list[Group]:
    """Runs that differ in nothing but seeds together, in the order in which they were given."""
    groups: dict[str, list[Trained]] = {}
    for run in runs:
        groups.setdefault(run.identity, []).append(run)
    return [Group(tuple(each)) for each in groups.values()]


def differences(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Setting or input that is not the same in all groups → what it is in each; None where one does not have it."""
    settings = [{"stage": group.first.record.stage} | group.first.settings for group in groups]
    found = {name: [each.get(name) for each in settings] for name in dict.fromkeys(chain(*settings))}
    inputs = [group.first.inputs for group in groups]
    for name in dict.fromkeys(chain(*inputs)):
        identities = [each[name].identity if name in each else None for each in inputs]
        if len(set(identities)) > 1:
            found[f"input {name}"] = [each[name].name if name in each else None for each in inputs]
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def command(
    *runs: Path, out: Path | None = None, by: Literal["step", "tokens", "time"] = "step", json: bool = False
) -> None:
    """Compare runs: the settings in which they differ, what they cost, and how good they became.

    Runs that differ in nothing but the seed are joined: mean ± standard deviation. Runs may still be going on.

    Args:
        runs: Folders of runs, or of stages that train or measure a model.
        out: Draw the curves of all runs into this PNG.
        by: What the curves are drawn over; time is that spent in training.
        json: Print the comparison as JSON.
    """
    groups = join(_found(runs))
    if out is not None:
        from inkstone.pipeline.compare_curves import draw_comparison

        draw_comparison(groups, out, by)
    if json:
        print_json(_json(groups))
        return
    labels = [f"({number}) {group.label}" for number, group in enumerate(groups, 1)]
    print_table("comparison", ("", *labels), _table(groups))
    if out is not None:
        print(f"curves: {out}")


def _found(paths: Sequence[Path]) -> list[Trained]:
    if not paths:
        raise ConfigError("no run is given", where="compare", remedy="give folders, such as runs/a runs/b/finetune")
    runs = [find_trained(path) for path in paths]
    given: dict[Path, Path] = {}
    for path, run in zip(paths, runs, strict=True):
        if run.folder in given:
            raise InputError(
                f"it is the same training as that of {given[run.folder]}", where=path, remedy="give each run once"
            )
        given[run.folder] = path
    return runs


def _json(groups: Sequence[Group]) -> list[Json]:
    differing = differences(groups)
    return [
        {
            "runs": [str(run.folder) for run in group.runs],
            "stage": group.first.record.stage,
            "seeds": [run.seed for run in group.runs],
            "settings": {name: values[index] for name, values in differing.items()},
            "measures": group.measures(),
            "results": group.results(),
        }
        for index, group in enumerate(groups)
    ]


def _table(groups: Sequence[Group]) -> list[list[str]]:
    rows = [[name, *(value_text(name, value) for value in values)] for name, values in differences(groups).items()]
    seeds = [", ".join(str(run.seed) for run in group.runs) for group in groups]
    if any(seed != seeds[0] for seed in seeds) or len(groups[0].runs) > 1:
        rows.append(["seed", *seeds])
    for measured, text in (
        ([group.measures() for group in groups], _measure_text),
        ([group.results() for group in groups], _result_text),
    ):
        rows += [
            [_TITLES.get(name, name.replace("_", " ")), *(text(name, each.get(name)) for each in measured)]
            for name in dict.fromkeys(chain(*measured))
        ]
    return rows


def _measure_text(name: str, joined: Json | None) -> str:
    if joined is None:
        return number(None)
    show = {"seconds": duration, "parameters": count, "steps": count, "tokens": count, "tokens_per_s": count}.get(name)
    if show is None:
        return spread(joined)
    return f"{show(joined['mean'])} ± {show(joined['sd'])}" if joined["sd"] else show(joined["mean"])


def _result_text(_: str, joined: Json | None) -> str:
    if joined is None or len(joined["values"]) > 1:
        return spread(joined)
    return estimate(joined | {"value": joined["mean"]})


_TITLES = {
    "steps": "steps done",
    "tokens": "tokens read",
    "seconds": "time in training",
    "tokens_per_s": "tokens/s",
    "loss": "training loss",
    "valid_loss": "validation loss",
    "best_valid_loss": "best validation loss",
}
