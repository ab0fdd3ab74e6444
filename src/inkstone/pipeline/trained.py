"""What was trained in a folder: its settings, its numbers and the measurements of it, also while it still runs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inkstone.core.errors import InputError
from inkstone.core.files import read_json
from inkstone.core.manifest import MANIFEST, STATE
from inkstone.evaluate.benchmark import REPORT
from inkstone.pipeline.lineage import locate
from inkstone.pipeline.runner import RUN_FILE
from inkstone.train.row_log import METRICS, Row, read_rows

_SEED = "seed"
_NOT_COMPARED = frozenset({_SEED, "trackers", "sample_tokens"})
"""Settings that make no two runs different: all but the seed change nothing of the model."""
_LEADING_INPUTS = ("adapter", "model")
"""Of a stage that changes or measures a model: where to look first for the stage that trained it."""


@dataclass(frozen=True)
class Record:
    """What a stage's folder says of itself, finished or not."""

    folder: Path
    stage: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str]]
    sources: Mapping[str, Mapping[str, Any]]
    summary: Mapping[str, Any]
    """Empty while the stage is not finished."""

    def input_folder(self, name: str) -> Path | None:
        """Where the input is now, if it still is."""
        return locate(self.folder, Path(self.inputs[name]["path"]), self.inputs[name]["digest"])


def read_record(folder: Path) -> Record | None:
    """What a stage wrote of itself; None where there is no stage's folder.

    Raises:
        InputError: the file is malformed.
    """
    path = next((folder / name for name in (MANIFEST, STATE) if (folder / name).is_file()), None)
    if path is None:
        return None
    values = read_json(path)
    try:
        kept = {name: values[name] for name in ("stage", "version", "config", "inputs", "sources")}
        return Record(folder, summary=values.get("summary", {}), **kept)
    except (KeyError, TypeError, AttributeError):
        raise InputError("not a stage's record", where=path, remedy="run its stage again") from None


class Input(NamedTuple):
    """A folder or file that a stage read."""

    identity: str
    """Equal for two that differ in nothing but seeds."""
    name: str
    """For people: the last two parts of its path."""


@dataclass(frozen=True)
class Trained:
    """A stage that trained a model."""

    label: str
    record: Record
    measurements: tuple[Record, ...] = ()
    """Stages that measured the model: `benchmark`, `evaluate`."""

    @property
    def folder(self) -> Path:
        """Where."""
        return self.record.folder

    @cached_property
    def rows(self) -> list[Row]:
        """Of `metrics.jsonl`."""
        return read_rows(self.folder / METRICS)

    @property
    def seed(self) -> Any:
        """Of its settings."""
        return self.record.config.get(_SEED)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Dotted name → value, of those that are compared."""
        return dict(_flat(_compared(self.record.config)))

    @cached_property
    def identity(self) -> str:
        """Equal for two folders that differ in nothing but seeds, theirs and those of all that they were made of."""
        return identity_of(self.record)

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """What it was made of."""
        return {
            name: Input(_input_identity(self.record, name), "/".join(Path(each["path"]).parts[-2:]))
            for name, each in self.record.inputs.items()
        }


def identity_of(record: Record) -> str:
    """As of `Trained.identity`."""
    sources = sorted(str(source["sha256"]) for source in record.sources.values())
    inputs = {name: _input_identity(record, name) for name in sorted(record.inputs)}
    return json.dumps([record.stage, record.version, _compared(record.config), inputs, sources], sort_keys=True)


def _input_identity(record: Record, name: str) -> str:
    folder = record.input_folder(name)
    made = read_record(folder) if folder is not None else None
    return record.inputs[name]["digest"] if made is None else identity_of(made)


def _compared(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {name: _compared(value) for name, value in config.items() if name not in _NOT_COMPARED}
    return config


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def find_trained(path: Path) -> Trained:
    """The training that a path means: that of a stage's folder, the last one of a run, or that of a measured model.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError("no such folder", where=path, remedy="see: inkstone runs")
    folder = _last_training(path) if (path / RUN_FILE).is_file() else trained_by(path.resolve())
    record = read_record(folder) if folder is not None else None
    if record is None:
        raise InputError(
            "nothing was trained here: there is no stage's folder with metrics.jsonl",
            where=path,
            remedy="give a run's folder, or that of a stage that trains or measures a model",
        )
    label = str(path) if record.folder == path.resolve() else f"{path}: {record.folder.name}"
    return Trained(label, record, tuple(_measurements_of(record.folder)))


def trained_by(folder: Path) -> Path | None:
    """The folder that trained the model in `folder`, or the model that was measured in it; None where none did."""
    if (folder / METRICS).is_file():
        return folder
    record = read_record(folder)
    if record is None:
        return None
    names = [name for name in _LEADING_INPUTS if name in record.inputs]
    places = (record.input_folder(name) for name in names)
    return next((found for place in places if place is not None and (found := trained_by(place.resolve()))), None)


def _last_training(run: Path) -> Path | None:
    record = read_json(run / RUN_FILE)
    steps = record.get("steps") if isinstance(record, dict) else None
    if not isinstance(steps, list):
        raise InputError("not a run's record", where=run / RUN_FILE, remedy="run the recipe again")
    trainings = [run.resolve() / name for name in steps if (run / name / METRICS).is_file()]
    return trainings[-1] if trainings else None


def _measurements_of(training: Path) -> Iterator[Record]:
    for folder in sorted(training.parent.iterdir()):
        if folder == training or not (folder / MANIFEST).is_file():
            continue
        record = read_record(folder)
        if record is not None and is_measurement(record) and trained_by(folder) == training:
            yield record


def is_measurement(record: Record) -> bool:
    """Whether the stage measured a model on held-out examples or text."""
    return (record.folder / REPORT).is_file() or "bits_per_byte" in record.summary


def positions(rows: list[Row], by: str) -> dict[int, float]:
    """Step → where it is on the axis: `step`, `tokens` read, or `time` spent in training, in minutes."""
    steps = sorted({row["step"] for row in rows})
    if by == "step":
        return {step: float(step) for step in steps}
    known = [row for row in rows if "tokens" in row]
    tokens = [row["tokens"] for row in known]
    reached = tokens if by == "tokens" else minutes(known)
    places = np.interp(steps, [0, *(row["step"] for row in known)], [0, *reached])
    return dict(zip(steps, places.tolist(), strict=True))


def minutes(rows: list[Row]) -> list[float]:
    """Time in the training loop until each of the rows that count tokens."""
    reached, total, before = [], 0.0, 0
    for row in rows:
        total += (row["tokens"] - before) / row["tokens_per_s"] / 60
        before = row["tokens"]
        reached.append(total)
    return reached
