"""The stage that measures what a model was taught, beside baselines and another model."""

import json
import random
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkstone.core.device import seed_everything, tune_allocator
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.files import atomic_file, write_json
from inkstone.core.progress import say
from inkstone.core.stage import Summary, stage
from inkstone.data.examples.read import ExampleSet, read_examples
from inkstone.data.examples.records import Example
from inkstone.evaluate.baselines.base import Baseline, baseline_named
from inkstone.evaluate.benchmark_config import BenchmarkConfig
from inkstone.evaluate.benchmark_markdown import benchmark_markdown
from inkstone.evaluate.benchmark_report import COMPARE, MODEL, Facts, build_report, summarize
from inkstone.evaluate.cost import plan_benchmark
from inkstone.evaluate.measure import Measurements, measure
from inkstone.evaluate.metrics.base import Metric, metric_named

if TYPE_CHECKING:
    from inkstone.evaluate.benchmark_tasks import BenchmarkTask, Subject

REPORT, PAGE, PREDICTIONS = "benchmark.json", "benchmark.md", "predictions.jsonl"


@stage("benchmark", inputs=("model", "data"), optional_inputs=("compare",), plan=plan_benchmark)
def benchmark(config: BenchmarkConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """What a model was taught, measured on held-out examples, with intervals, beside baselines and another model."""
    tune_allocator()
    seed_everything(config.seed)
    subject, material = open_material(config, inputs)
    task, examples = material.task, material.examples
    # What can be wrong is tried before the models run, which may take hours.
    metrics = _metrics(config, material, beside_another=COMPARE in inputs)
    baselines, left_out = _baselines(config, material)
    references = [task.reference(example) for example in examples]
    predictions = {each.name: _predict_baseline(config, material, each) for each in baselines}
    notes: list[str] = []
    began = time.perf_counter()
    predictions[MODEL] = _predict(task, subject, examples, notes)
    seconds = time.perf_counter() - began
    if COMPARE in inputs:
        predictions[COMPARE] = _predict(task, _load_other(task, inputs[COMPARE], config), examples, notes)
        predictions[MODEL] = task.beside(predictions[MODEL], predictions[COMPARE])
    measured = measure(metrics, references, predictions, num_resamples=config.num_bootstrap, seed=config.seed)
    facts = Facts(
        model=inputs[MODEL].name,
        compare=inputs[COMPARE].name if COMPARE in inputs else None,
        data=inputs["data"].name,
        format=material.format,
        task=task.name,
        split=material.split,
        examples=len(examples),
        of_examples=material.of_examples,
        train_examples=len(material.train),
        decoding={name: value for name in task.decoding if (value := getattr(config, name)) is not None},
        num_bootstrap=config.num_bootstrap,
        seed=config.seed,
        seconds=round(seconds, 2),
        left_out=left_out,
        notes=notes,
    )
    titles = {each.name: each.title for each in baselines}
    details = task.details(references, predictions[MODEL])
    report = build_report(facts, metrics, references, measured, titles, details)
    _write_predictions(out / PREDICTIONS, task, examples, predictions, measured)
    with atomic_file(out / PAGE, "w") as file:
        file.write(benchmark_markdown(report))
    write_json(out / REPORT, report)
    return summarize(report)


@dataclass(frozen=True)
class Material:
    """What is measured on, and what baselines may learn from."""

    task: "BenchmarkTask[Any]"
    format: str
    split: str
    examples: Sequence[Example]
    of_examples: int
    train: Sequence[Example]


def open_material(config: BenchmarkConfig, inputs: Mapping[str, Path]) -> "tuple[Subject, Material]":
    """Load the model and read the examples.

    Raises:
        InkstoneError: one of them cannot be, or they are not for each other.
    """
    subject = _load(inputs[MODEL], config)
    return subject, _material(config, subject, inputs["data"])


def _load(folder: Path, config: BenchmarkConfig) -> "Subject":
    from inkstone.checkpoint import load_checkpoint
    from inkstone.evaluate.benchmark_tasks import Subject

    return Subject(*load_checkpoint(folder, config.device, config.dtype), config)


def _load_other(task: "BenchmarkTask[Any]", folder: Path, config: BenchmarkConfig) -> "Subject":
    """The model to compare with.

    Raises:
        InputError: it cannot do the task.
    """
    subject = _load(folder, config)
    if not task.takes(subject.model):
        raise InputError(
            f"this model ({type(subject.model).__name__}) cannot do the task {task.name}",
            where=folder,
            remedy="compare with a model that was taught the same",
        )
    return subject


def _material(config: BenchmarkConfig, subject: "Subject", path: Path) -> Material:
    from inkstone.evaluate.benchmark_tasks import choose_task, tasks_of

    tasks = tasks_of(subject.model, config.task)
    data = _read(config, path, [name for task in tasks for name in task.formats])
    split, whole = _held_out(config, data, path)
    train = [] if split == "all" else data.splits.get("train", [])
    return Material(choose_task(tasks, data.format), data.format, split, _sample(config, whole), len(whole), train)


def _read(config: BenchmarkConfig, path: Path, formats: Sequence[str]) -> ExampleSet:
    data = read_examples(path, config.examples, tuple(dict.fromkeys(formats)))
    if data.faults:
        first = data.faults[0]
        raise InputError(
            f"{len(data.faults):,} rows are malformed; the first: {first.cause}",
            where=first.where or path,
            remedy=first.remedy or f"see all of them with inkstone check {path}",
        )
    return data


def _held_out(config: BenchmarkConfig, data: ExampleSet, path: Path) -> tuple[str, list[Example]]:
    """The name of the split to measure on, and its examples.

    Raises:
        InputError: there are none.
    """
    if config.split == "all":
        examples = [example for split in data.splits.values() for example in split]
        name: str = "all"
    else:
        wanted = ("test", "valid") if config.split == "auto" else (config.split,)
        name = next((split for split in wanted if data.splits.get(split)), wanted[-1])
        examples = data.splits.get(name, [])
    if not examples:
        raise InputError(
            f"there are no examples in the {name} split",
            where=path,
            remedy="choose another split, or all where nothing was trained on the data",
        )
    return name, list(examples)


def _sample(config: BenchmarkConfig, examples: Sequence[Example]) -> list[Example]:
    """`config.limit` of the examples, in their order."""
    if config.limit is None or config.limit >= len(examples):
        return list(examples)
    taken = random.Random(config.seed).sample(range(len(examples)), config.limit)
    return [examples[number] for number in sorted(taken)]


def _metrics(config: BenchmarkConfig, material: Material, *, beside_another: bool) -> list[Metric]:
    """The main one first.

    Raises:
        ConfigError: there is none, none of that name, or one is for other tasks.
    """
    usual = material.task.metrics(material.examples)
    if beside_another:
        usual = (*usual, *material.task.metrics_of_comparison())
    metrics = [metric_named(name) for name in _chosen(config.metrics, usual)]
    _check_kinds(metrics, material.task, "metrics")
    if not metrics:
        raise ConfigError("there is nothing to measure", where="metrics", remedy=f"name some: {', '.join(usual)}")
    return metrics


def _baselines(config: BenchmarkConfig, material: Material) -> tuple[list[Baseline[Any]], dict[str, str]]:
    """Those that can be computed, and why the others cannot."""
    baselines = [baseline_named(name) for name in _chosen(config.baselines, material.task.baselines)]
    _check_kinds(baselines, material.task, "baselines")
    unlearned = {each.name for each in baselines if each.needs_training and not material.train}
    return (
        [each for each in baselines if each.name not in unlearned],
        dict.fromkeys(sorted(unlearned), "it learns from training examples, and there are none"),
    )


def _check_kinds(chosen: Sequence[Metric | Baseline[Any]], task: "BenchmarkTask[Any]", setting: str) -> None:
    for each in chosen:
        if each.kind != task.kind:
            raise ConfigError(
                f"{each.name} is for {each.kind}, and the task {task.name} has {task.kind}",
                where=setting,
                remedy="choose another one, or auto",
            )


def _chosen(names: Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """The names, with those that `auto` and `none` stand for."""
    stand_for = {"auto": tuple(usual), "none": ()}
    return tuple(dict.fromkeys(each for name in names for each in stand_for.get(name, (name,))))


def _predict(
    task: "BenchmarkTask[Any]", subject: "Subject", examples: Sequence[Example], notes: list[str]
) -> list[Any]:
    """The model's predictions; what was cut is said, and added to `notes`."""
    say(f"{task.name}: {len(examples):,} examples")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictions = task.predict(subject, examples)
    for warning in caught:
        say(f"note: {warning.message}")
        notes.append(str(warning.message))
    return predictions


def _predict_baseline(config: BenchmarkConfig, material: Material, baseline: Baseline[Any]) -> Sequence[Any]:
    say(f"baseline: {baseline.title}")
    predictions = baseline.predict(material.train, material.examples)
    return material.task.of_baseline(config, material.examples, predictions)


def _write_predictions(
    path: Path,
    task: "BenchmarkTask[Any]",
    examples: Sequence[Example],
    predictions: Mapping[str, Sequence[Any]],
    measured: Mapping[str, Measurements],
) -> None:
    """One row for each example: input, reference, what each model made of it, and the metrics of it alone."""
    models = [name for name in (MODEL, COMPARE) if name in predictions]
    scores = {
        name: {
            metric: each.example_values for metric, each in measured[name].items() if each.example_values is not None
        }
        for name in models
    }
    with atomic_file(path, "w") as file:
        for number, example in enumerate(examples):
            row = {
                "where": example.where,
                "input": task.shown_input(example),
                "reference": task.shown_reference(example),
            }
            for name in models:
                key = "" if name == MODEL else f"{name}_"
                row[f"{key}prediction"] = task.shown_prediction(predictions[name][number])
                row[f"{key}scores"] = {
                    metric: None if values[number] != values[number] else float(values[number])
                    for metric, values in scores[name].items()
                }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
