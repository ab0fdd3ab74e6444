"""`inkstone check`: what is wrong with examples, and what exactly would be learned from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.core.registry import lookup
from inkstone.core.stage import Stage
from inkstone.pipeline.recipe import set_value
from inkstone.pipeline.show import print_json
from inkstone.pipeline.show_check import print_report


def command(
    data: Path,
    /,
    *,
    model: Path,
    for_: Annotated[Literal["finetune", "align", "distill"], Parameter(name="--for")] = "finetune",
    method: str | None = None,
    format: str = "auto",  # noqa: A002
    columns: dict[str, int | str] | None = None,
    max_length: int | None = None,
    truncate: bool = False,
    set_: Sequence[str] = (),
    teacher: Path | None = None,
    reward: Path | None = None,
    examples: int = 1,
    json: bool = False,
) -> int:
    """Find what is wrong with examples before a model is taught by them, and show what it would learn.

    Args:
        data: Folder of a stage `examples`, any folder with train, valid and test files, or one file.
        model: Folder of the model that will be taught.
        for_: The stage that will teach it.
        method: The stage's method; by default the one that the stage would take.
        format: Format of the examples; by default judged from the columns.
        columns: Our column and the file's: --columns.source en --columns.target zh.
        max_length: Tokens of an example; by default the model's context.
        truncate: Count examples that are longer as cut; without it they are errors.
        set_: Any other setting of the stage: key=value, the value in YAML, such as examples.header=false or
            rl.max_new_tokens=64; may be repeated.
        teacher: Folder of the teacher (with --for distill).
        reward: Folder of the reward model (with --for align), if any.
        examples: How many examples to show token by token.
        json: Print the report as JSON, with all places of all faults.
    """
    from inkstone.train.data_check import check_lesson, render
    from inkstone.train.method import method_for
    from inkstone.train.teach import open_lesson

    settings: dict[str, Any] = {
        "examples": {"format": format, "columns": columns or {}},
        "max_length": max_length,
        "truncate": truncate,
        "device": "cpu",
        **({} if method is None else {"method": method}),
    }
    for override in set_:
        key, separator, value = override.partition("=")
        if not separator:
            raise ConfigError("not of the form key=value", where=f"--set {override}", remedy="such as rl.group_size=4")
        set_value(settings, key, value, f"--set {override}")
    stage: Stage[Any] = lookup("stages", for_)
    config = parse_config(stage.config, settings, where="inkstone check")
    inputs = _inputs(stage, {"model": model, "data": data, "teacher": teacher, "reward": reward})
    chosen = method_for(for_, config, inputs)
    lesson, examples_read = open_lesson(chosen, config, inputs, Path())
    report = check_lesson(chosen, lesson, examples_read)
    if json:
        print_json({"data": str(data), "model": str(model), "for": for_, "method": chosen.name, **report.to_json()})
    else:
        shown = [(render(lesson, encoding), where) for encoding, where in report.first("train", examples)]
        print_report(report, f"{data} for {for_} by {chosen.name}, at most {report.max_length:,} tokens", shown)
    return 2 if report.num_errors else 0


def _inputs(stage: Stage[Any], folders: Mapping[str, Path | None]) -> dict[str, Path]:
    """The folders that are given.

    Raises:
        ConfigError: one that the stage needs is not, or one is that it does not take.
    """
    given = {name: folder for name, folder in folders.items() if folder is not None}
    for name in given:
        if name not in (*stage.inputs, *stage.optional_inputs):
            cause = f"the stage {stage.name} takes no {name}"
            raise ConfigError(cause, where="inkstone check", remedy=f"leave out --{name}")
    for name in stage.inputs:
        if name not in given:
            cause = f"the stage {stage.name} needs a {name}"
            raise ConfigError(cause, where="inkstone check", remedy=f"give --{name} FOLDER")
    return given
