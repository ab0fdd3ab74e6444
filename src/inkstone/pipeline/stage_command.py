"""One command per stage, made from the stage itself: inputs and settings become flags with their documentation."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_origin

from cyclopts import Parameter, Token
from pydantic.fields import FieldInfo

from inkstone.core.config import parse_config, read_mapping
from inkstone.core.registry import lookup, names
from inkstone.core.stage import Stage, execute
from inkstone.pipeline.runner import StepResult, print_results
from inkstone.pipeline.show import print_json


def __getattr__(name: str) -> Callable[..., None]:
    """``stage_command:prepare`` is the command of the stage called prepare."""
    if name.startswith("_") or name not in names("stages"):
        raise AttributeError(name)
    return stage_command(lookup("stages", name))


def stage_command(stage: Stage[Any]) -> Callable[..., None]:
    """A function for the command line: ``--<input> PATH``, ``--<setting> VALUE``, ``--out DIR`` and ``--json``."""

    def command(**flags: Any) -> None:
        out, as_json = Path(flags.pop("out")), flags.pop("json", False)
        inputs = {name: flags.pop(name) for name in stage.inputs}
        inputs |= {name: path for name in stage.optional_inputs if (path := flags.pop(name, None)) is not None}
        config = parse_config(stage.config, flags, where=f"inkstone {stage.name}")
        result = StepResult(stage.name, out, execute(stage, config, inputs, out))
        if as_json:
            print_json(result.to_json())
        else:
            print_results(str(out), [result])

    command.__name__ = stage.name
    command.__doc__ = stage.help
    command.__signature__ = inspect.Signature(_parameters(stage))  # type: ignore[attr-defined]
    return command


def _parameters(stage: Stage[Any]) -> list[inspect.Parameter]:
    inputs = [_flag(name, Path, f"Folder of the {name}.", "Inputs and output") for name in stage.inputs]
    optional = [
        _flag(name, Path | None, f"Folder of the {name}, if any.", "Inputs and output", default=None)
        for name in stage.optional_inputs
    ]
    out = _flag("out", Path, "Folder that the stage writes; it gets a manifest.", "Inputs and output")
    settings = [_setting(name, field) for name, field in stage.config.model_fields.items()]
    settings.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    return [
        *inputs,
        out,
        *settings,
        *optional,
        _flag("json", bool, "Print the result as JSON.", "Inputs and output", default=False),
    ]


def _setting(name: str, field: FieldInfo) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
    return _flag(name, field.annotation, field.description or "", "Settings", default=default)


def _mapping(_: Any, tokens: Sequence[Token]) -> dict[str, Any]:
    value = read_mapping(tokens[0].value)
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no mapping; write one as {{name: value}}")
    return value


def _flag(
    name: str, annotation: Any, documentation: str, group: str, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    flag = "--" + name.replace("_", "-")
    is_list, is_mapping = get_origin(annotation) in (list, tuple), get_origin(annotation) is Mapping
    negative = "" if name == "json" else None
    parameter = Parameter(
        name=flag,
        help=documentation,
        group=group,
        negative=negative,
        consume_multiple=is_list,
        converter=_mapping if is_mapping else None,
        accepts_keys=False if is_mapping else None,
        n_tokens=1 if is_mapping else None,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, parameter]
    )
