"""`inkstone check`: what is wrong with examples, and what exactly would be learned from them."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

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
    header: bool | None = None,
    quotes: bool | None = None,
    encoding: str | None = None,
    valid_fraction: float | None = None,
    max_length: int | None = None,
    truncate: bool = False,
    teacher: Path | None = None,
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
        header: Whether tables begin with a row of names (--header=false); judged from the first rows by default.
        quotes: Whether double quotes enclose cells; by default in CSV, not in TSV.
        encoding: Character encoding of text files; detected by default.
        valid_fraction: Share held out for validation where the data have no file for it; by default the stage's.
        max_length: Tokens of an example; by default the model's context.
        truncate: Count examples that are longer as cut; without it they are errors.
        teacher: Folder of the teacher (with --for distill).
        examples: How many examples to show token by token.
        json: Print the report as JSON, with all places of all faults.
    """
    from inkstone.core.config import parse_config
    from inkstone.core.registry import lookup
    from inkstone.train.data_check import check_lesson, render
    from inkstone.train.method import method_for
    from inkstone.train.teach import open_lesson

    reading = {
        "format": format,
        "columns": columns,
        "header": header,
        "quotes": quotes,
        "encoding": encoding,
        "valid_fraction": valid_fraction,
    }
    settings = {
        "examples": {name: value for name, value in reading.items() if value is not None},
        "max_length": max_length,
        "truncate": truncate,
        "device": "cpu",
        **({} if method is None else {"method": method}),
    }
    config = parse_config(lookup("stages", for_).config, settings, where="inkstone check")
    inputs = {"model": model, "data": data, **({} if teacher is None else {"teacher": teacher})}
    chosen = method_for(for_, config, inputs)
    lesson, examples_read = open_lesson(chosen, config, inputs, Path())
    report = check_lesson(chosen, lesson, examples_read)
    if json:
        print_json({"data": str(data), "model": str(model), "for": for_, "method": chosen.name, **report.to_json()})
    else:
        shown = [(render(lesson, encoding), where) for encoding, where in report.first("train", examples)]
        print_report(report, f"{data} for {for_} by {chosen.name}, at most {report.max_length:,} tokens", shown)
    return 2 if report.num_errors else 0
