"""Recipes: YAML files that name stages, their settings and how their folders feed each other."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from inkstone.core.config import Config, parse_config, suggestion
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.registry import lookup, names
from inkstone.core.stage import Stage

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_REFERENCE = re.compile(r"^\$\{(?P<stage>[^}]*)\}(?P<rest>/.*)?$")


class RecipeFile(Config):
    """The schema of a recipe."""

    name: str = Field(pattern=r"^[\w][\w.-]*$")
    """Name of the run's folder."""
    description: str = ""
    """What the recipe makes, in a line."""
    seed: int | None = None
    """Given to every stage that has a seed and does not set it."""
    variables: dict[str, str] = Field(default_factory=dict)
    """Names for text that stages write as ``${name}``, such as the folder of the data: ``--set data=my-data``."""
    stages: dict[str, dict[str, Any]]
    """Stage name to ``uses:`` (the registered stage), its inputs and its settings."""


@dataclass(frozen=True)
class Step:
    """One stage of a recipe, checked and ready to run."""

    name: str
    stage: Stage[Any]
    config: Config
    inputs: Mapping[str, str]
    """Input name to a path or ``${name}`` of another step, optionally with a path below it."""

    @property
    def depends(self) -> tuple[str, ...]:
        """Names of the steps whose folders this one reads."""
        references = (_REFERENCE.match(value) for value in self.inputs.values())
        return tuple(dict.fromkeys(reference["stage"] for reference in references if reference))

    def input_paths(self, folder: Path) -> dict[str, Path]:
        """Where the inputs lie when the steps' outputs are in `folder`."""
        return {name: _resolve(value, folder) for name, value in self.inputs.items()}


@dataclass(frozen=True)
class Recipe:
    """A checked recipe; its steps are in an order in which every one comes after those it depends on."""

    name: str
    description: str
    path: Path
    steps: tuple[Step, ...]
    data: Mapping[str, Any]
    """The recipe as written, overrides applied."""

    def step_names(self) -> list[str]:
        """Names of the steps in running order."""
        return [step.name for step in self.steps]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; nothing is run.

    `overrides` are ``stage.key=value`` with the value in YAML, or ``seed=…``, ``name=…``.

    Raises:
        InputError: the file cannot be read.
        ConfigError: malformed YAML, with its line; an unknown stage, key or reference, with the nearest; a cycle.
    """
    data = read_yaml(path)
    for override in overrides:
        _apply_override(data, override)
    file = parse_config(RecipeFile, data, where=str(path))
    if not file.stages:
        raise ConfigError("there are no stages", where=path, remedy="add at least one under 'stages:'")
    file = file.model_copy(update={"stages": _with_variables(file, path)})
    steps = [_parse_step(file, name, path) for name in file.stages]
    for step in steps:
        _check_references(step, file.stages, path)
    return Recipe(file.name, file.description, path, tuple(_sort(steps, path)), data)


def _with_variables(file: RecipeFile, path: Path) -> dict[str, dict[str, Any]]:
    """The stages with the values of the recipe's variables in place of ``${name}``."""
    for name in file.variables:
        if name in file.stages:
            raise ConfigError(f"{name!r} is a variable and a stage", where=path, remedy="rename one of them")

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda found: file.variables.get(found[1], found[0]), value)
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        return [replaced(item) for item in value] if isinstance(value, list) else value

    return {name: replaced(settings) for name, settings in file.stages.items()}


def find_recipe(name: str) -> Path:
    """The recipe file called `name`: a path, or the name of a recipe that ships with Inkstone.

    Raises:
        InputError: neither exists; names the shipped recipe that is nearest.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    raise InputError(
        "no such recipe", where=name, remedy=f"give a path or a shipped recipe; {suggestion(name, shipped)}"
    )


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with Inkstone, by name: inside the installed package, or in the source tree."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if found := {path.stem: path for path in sorted(folder.glob("*.yaml"))}:
            return found
    return {}


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, which plain YAML would silently overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is repeated", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
        ConfigError: malformed YAML, with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", where=path, remedy="save it as UTF-8") from None
    except OSError as error:
        raise InputError(error.strerror or str(error), where=path, remedy="check the path") from None
    data = _parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError("not a mapping", where=path, remedy="a recipe has the keys name and stages")
    return data


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        cause = getattr(error, "problem", None) or str(error)
        raise ConfigError(
            f"malformed YAML: {cause}", where=f"{where}{line}", remedy='write references in quotes: "${name}"'
        ) from None


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    where = f"--set {override}"
    if not separator or not key:
        raise ConfigError(
            "not of the form stage.key=value", where=where, remedy="for example: --set pretrain.steps=100"
        )
    *parents, last = key.split(".")
    stages = data.get("stages")
    target: Any = data
    variables = found if isinstance(found := data.get("variables"), dict) else {}
    if parents:
        known = list(stages) if isinstance(stages, dict) else []
        if parents[0] not in known:
            raise ConfigError(f"no stage is called {parents[0]!r}", where=where, remedy=suggestion(parents[0], known))
        target = stages
    elif last in variables:
        target = variables
    elif last not in ("name", "seed", "description"):
        others = ", ".join(["seed", "name", *variables])
        raise ConfigError(f"unknown key {last!r}", where=where, remedy=f"use stage.key=value, or one of: {others}")
    set_value(target, key, value, where)


def set_value(settings: dict[str, Any], key: str, value: str, where: str) -> None:
    """Set a key, dotted where it lies deeper, to a value in YAML.

    Raises:
        ConfigError: malformed YAML, or there can be no such key.
    """
    *parents, last = key.split(".")
    for parent in parents:
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"{parent!r} has no keys below it", where=where, remedy="set it as a whole")
    settings[last] = _parse_yaml(value, where)


def _parse_step(file: RecipeFile, name: str, path: Path) -> Step:
    where = f"{path}: stages.{name}"
    values = dict(file.stages[name])
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise ConfigError("not a name for a folder", where=where, remedy="use letters, digits, '-' and '_'")
    uses = values.pop("uses", None)
    if not isinstance(uses, str):
        raise ConfigError("'uses' is not given", where=where, remedy=f"name a stage: {', '.join(names('stages'))}")
    try:
        stage: Stage[Any] = lookup("stages", uses)
    except ConfigError as error:
        raise ConfigError(error.cause, where=f"{where}.uses", remedy=error.remedy) from error
    known = [*stage.inputs, *stage.optional_inputs, *stage.config.model_fields]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key {key!r}", where=where, remedy=suggestion(key, known))
    paths = {key: values.pop(key, None) for key in (*stage.inputs, *stage.optional_inputs)}
    absent = {key for key in stage.optional_inputs if paths[key] is None}
    inputs = {key: _parse_input(where, key, value) for key, value in paths.items() if key not in absent}
    _refuse_references(values, where)
    if file.seed is not None and "seed" in stage.config.model_fields:
        values.setdefault("seed", file.seed)
    return Step(name, stage, parse_config(stage.config, values, where=where), inputs)


def _parse_input(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        cause = "is not given" if value is None else f"is not a path: {value!r}"
        raise ConfigError(f"the input {key!r} {cause}", where=where, remedy=f'write {key}: "${{stage}}" or a folder')
    return value


def _refuse_references(value: Any, where: str) -> None:
    if isinstance(value, str) and _REFERENCE.match(value):
        raise ConfigError(
            f"{value} is used outside of an input", where=where, remedy="only inputs refer to other stages"
        )
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        _refuse_references(child, f"{where}.{key}")


def _check_references(step: Step, known: Iterable[str], path: Path) -> None:
    known = list(known)
    for name in step.depends:
        if name not in known:
            raise ConfigError(
                f"${{{name}}} refers to no stage of this recipe",
                where=f"{path}: stages.{step.name}",
                remedy=suggestion(name, known),
            )


def _sort(steps: Sequence[Step], path: Path) -> list[Step]:
    """Dependencies first, otherwise as written (depth-first search)."""
    by_name = {step.name: step for step in steps}
    ordered: dict[str, Step] = {}

    def visit(step: Step, above: tuple[str, ...]) -> None:
        if step.name in above:
            cycle = " → ".join([*above[above.index(step.name) :], step.name])
            raise ConfigError(
                f"the stages form a cycle: {cycle}", where=path, remedy="let one of them read another folder"
            )
        if step.name in ordered:
            return
        for name in step.depends:
            visit(by_name[name], (*above, step.name))
        ordered[step.name] = step

    for step in steps:
        visit(step, ())
    return list(ordered.values())


def _resolve(value: str, folder: Path) -> Path:
    reference = _REFERENCE.match(value)
    if reference is None:
        return Path(value).expanduser()
    return folder / reference["stage"] / (reference["rest"] or "").lstrip("/")
