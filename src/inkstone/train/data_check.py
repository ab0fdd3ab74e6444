"""The data check as training sees it: what a method makes of the examples, and whether it may begin."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from inkstone.checkpoint.save import stop_ids
from inkstone.core.errors import InputError
from inkstone.core.files import write_json
from inkstone.core.progress import say
from inkstone.data.check import CheckReport, examine
from inkstone.data.check.faults import UNTEACHABLE, found_in
from inkstone.data.check.streams import Part, marked, rendered
from inkstone.data.examples.read import ExampleSet
from inkstone.nn.heads import HeadedModel
from inkstone.train.config_teach import TeachConfig
from inkstone.train.method import Lesson, Method

DATA_CHECK = "data_check.json"


def check_lesson(method: Method[Any], lesson: Lesson, data: ExampleSet) -> CheckReport[Any]:
    """Prepare the model for the method, encode all examples and find their faults.

    Raises:
        InputError: the model cannot be taught by such examples, though nothing is wrong with any of them.
    """
    if not data.splits.get("train"):
        return _examine_rows(lesson, data)
    try:
        lesson.model = method.prepare(lesson, data.splits["train"])
        encode = method.encoder(lesson)
    except InputError as error:
        report = _examine_rows(lesson, data)
        if not report.num_errors:
            raise
        report.findings.add(found_in(error, UNTEACHABLE), error.where or "")
        return report
    return examine(
        data,
        encode,
        tokenizer=lesson.tokenizer,
        max_length=lesson.max_length,
        longest=method.longest,
        cut=method.cut,
        truncate=lesson.config.truncate,
        stop_ids=stop_ids(lesson.tokenizer, lesson.model),
    )


def _examine_rows(lesson: Lesson, data: ExampleSet) -> CheckReport[Any]:
    return examine(data, None, tokenizer=lesson.tokenizer, max_length=lesson.max_length)


def accept(report: CheckReport[Any], method: Method[Any], lesson: Lesson) -> None:
    """Say what was found, and keep it beside the model.

    Raises:
        InputError: there are errors: nothing may be trained.
    """
    refusal = report.refusal(lesson.inputs["data"], _command(method, lesson))
    if refusal is not None:
        raise refusal
    for line in report.warnings():
        say(f"data check: {line}")
    example = marked(render(lesson, report.encoded("train")[0]))
    write_json(lesson.out / DATA_CHECK, {**report.to_json(), "example": example})


def render(lesson: Lesson, encoding: object) -> list[Part]:
    """The texts of an encoding, with what is learned of them."""
    labels = lesson.model.head_config.labels if isinstance(lesson.model, HeadedModel) else ()
    return rendered(encoding, lesson.tokenizer, labels)


def _command(method: Method[Any], lesson: Lesson) -> str:
    """The command line that shows everything that was found."""
    config, examples = lesson.config, lesson.config.examples
    parts = ["inkstone", "check", str(lesson.inputs["data"]), "--model", str(lesson.inputs["model"])]
    parts += ["--for", method.stage]
    if method.stage != "distill":
        parts += ["--method", method.name]
    if examples.format != "auto":
        parts += ["--format", examples.format]
    for ours, theirs in examples.columns.items():
        parts += [f"--columns.{ours}", str(theirs)]
    if config.max_length is not None:
        parts += ["--max-length", str(config.max_length)]
    for name in lesson.inputs.keys() & {"teacher", "reward"}:
        parts += [f"--{name}", str(lesson.inputs[name])]
    for key, value in _own_settings(config):
        parts += ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
    return shlex.join([*parts, *(["--truncate"] if config.truncate else [])])


def _own_settings(config: TeachConfig) -> Iterator[tuple[str, Any]]:
    """The settings that no flag of the command has, of reading and of this stage only, by dotted key."""
    reading = config.examples.model_dump(mode="json", exclude_defaults=True, exclude={"format", "columns"})
    shared = {*TeachConfig.model_fields, "method"}
    own = config.model_dump(mode="json", exclude_defaults=True, exclude=shared)
    for name, value in {"examples": reading, **own}.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", setting) for key, setting in value.items())
        else:
            yield name, value
