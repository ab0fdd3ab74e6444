"""The stage that measures what a model was taught, beside baselines and another model."""

import json
import random
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkstone.core.device import seed_everything, tune_allocator
from inkstone.core.errors import InputError
from inkstone.core.files import atomic_file, write_json
from inkstone.core.progress import say
from inkstone.core.stage import Summary, stage
from inkstone.data.examples.read import ExampleSet, read_examples
from inkstone.data.examples.records import Example
from inkstone.evaluate.baselines.base import Baseline, baseline_named
from inkstone.evaluate.benchmark_config import BenchmarkConfig
from inkstone.evaluate.benchmark_markdown import benchmark_markdown
from inkstone.evaluate.benchmark_report import COMPARE, MODEL, Facts, build_report, summarize
from inkstone.evaluate.measure import Measurements, measure
from inkstone.evaluate.metrics.base import metric_named

if TYPE_CHECKING:
    from inkstone.evaluate.benchmark_tasks import BenchmarkTask, Subject

REPORT, PAGE, PREDICTIONS = "benchmark.json", "benchmark.md", "predictions.jsonl"


@stage("benchmark", inputs=("model", "data"), optional_inputs=("compare",))
def benchmark(config: BenchmarkConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """What a model was taught, measured on held-out examples, with intervals, beside baselines and another model."""
    from inkstone.evaluate.benchmark_tasks import choose_task, tasks_of

    tune_allocator()
    seed_everything(config.seed)
    subject = _load(inputs[MODEL], config)
    tasks = tasks_of(subject.model, config.task)
    data = _read(config, inputs["data"], [name for task in tasks for name in task.formats])
    task = choose_task(tasks, data.format)
    split, whole = _held_out(config, data, inputs["data"])
    examples = _sample(config, whole)
    train = [] if split == "all" else data.splits.get("train", [])
    metric_names = _chosen(config.metrics, task.metrics(examples))
    baseline_names = _chosen(config.baselines, task.baselines)
    began = time.perf_counter()
    predictions: dict[str, Sequence[Any]] = {MODEL: _predict(task, subject, examples)}
    seconds = time.perf_counter() - began
    if COMPARE in inputs:
        predictions[COMPARE] = _predict(task, _of_same_kind(task, _load(inputs[COMPARE], config), inputs), examples)
        predictions[MODEL] = task.beside(predictions[MODEL], predictions[COMPARE])
        if config.metrics == ("auto",):
            metric_names = (*metric_names, *task.metrics_of_comparison())
    metrics = [metric_named(name) for name in metric_names]
    baselines = [baseline_named(name) for name in baseline_names]
    left_out = {each.name: "it needs a train split" for each in baselines if each.needs_training and not train}
    baselines = [each for each in baselines if each.name not in left_out]
    for each in baselines:
        predictions[each.name] = _predict_baseline(config, task, each, train, examples)
    references = [task.reference(example) for example in examples]
    measured = measure(metrics, references, predictions, num_resamples=config.num_bootstrap, seed=config.seed)
    facts = Facts(
        model=inputs[MODEL].name,
        compare=inputs[COMPARE].name if COMPARE in inputs else None,
        data=inputs["data"].name,
        format=data.format,
        task=task.name,
        split=split,
        examples=len(examples),
        of_examples=len(whole),
        train_examples=len(train),
        decoding={name: getattr(config, name) for name in task.decoding},
        num_bootstrap=config.num_bootstrap,
        seed=config.seed,
        seconds=round(seconds, 2),
        left_out=left_out,
    )
    titles = {each.name: each.title for each in baselines}
    report = build_report(facts, metrics, references, measured, titles, task.details(references, predictions[MODEL]))
    _write_predictions(out / PREDICTIONS, task, examples, predictions, measured)
    with atomic_file(out / PAGE, "w") as file:
        file.write(benchmark_markdown(report))
    write_json(out / REPORT, report)
    return summarize(report)


def _load(folder: Path, config: BenchmarkConfig) -> "Subject":
    from inkstone.checkpoint import load_checkpoint
    from inkstone.evaluate.benchmark_tasks import Subject

    return Subject(*load_checkpoint(folder, config.device, config.dtype), config)


def _of_same_kind(task: "BenchmarkTask[Any]", subject: "Subject", inputs: Mapping[str, Path]) -> "Subject":
    if not task.takes(subject.model):
        raise InputError(
            f"this model ({type(subject.model).__name__}) cannot do the task {task.name}",
            where=inputs[COMPARE],
            remedy="compare with a model that was taught the same",
        )
    return subject


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


def _chosen(names: Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """The names, with those that `auto` stands for.

    Raises:
        ConfigError: there is nothing to measure.
    """
    chosen = [each for name in names for each in (usual if name == "auto" else () if name == "none" else (name,))]
    return tuple(dict.fromkeys(chosen))


def _predict(task: "BenchmarkTask[Any]", subject: "Subject", examples: Sequence[Example]) -> list[Any]:
    """The model's predictions; what was cut is said, and kept in the log."""
    say(f"{task.name}: {len(examples):,} examples")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictions = task.predict(subject, examples)
    for warning in caught:
        say(f"note: {warning.message}")
    return predictions


def _predict_baseline(
    config: BenchmarkConfig,
    task: "BenchmarkTask[Any]",
    baseline: Baseline[Any],
    train: Sequence[Example],
    examples: Sequence[Example],
) -> Sequence[Any]:
    say(f"baseline: {baseline.title}")
    return task.of_baseline(config, examples, baseline.predict(train, examples))


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
