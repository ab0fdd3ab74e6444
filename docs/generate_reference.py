"""Write the reference pages from the code: the command line, and the settings of recipes.

``python docs/generate_reference.py`` writes docs/reference/cli.md and docs/reference/recipe.md; with ``--check`` it
writes nothing and fails when a page differs from the code.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from inkstone.cli import COMMANDS, EXIT_INTERRUPTED, _app
from inkstone.core import errors
from inkstone.core.registry import lookup, names
from inkstone.core.stage import Stage
from inkstone.pipeline.recipe import RecipeFile

PAGES = Path(__file__).resolve().parent / "reference"
KINDS = {
    "readers": "Readers turn one kind of file into documents.",
    "filters": "Filters keep a document, or drop it with a reason.",
    "models": "Model families that can be loaded and saved, by the `model_type` of Hugging Face.",
}
_MADE = "<!-- Made from the code by docs/generate_reference.py. -->\n\n"


def cli_page() -> str:
    """Every command with its flags, as its ``--help`` has them."""
    lines = ["# Command line", "", "Every command has `--help`. Those that report have `--json`.", ""]
    for title, commands in COMMANDS.items():
        rows = [f"| [`{name}`](#inkstone-{name}) | {summary} |" for name, (_, summary) in commands.items()]
        lines += [f"**{title}**", "", "| | |", "|---|---|", *rows, ""]
    lines += ["## Exit codes", "", "| code | meaning |", "|---|---|", *_exit_codes(), ""]
    for commands in COMMANDS.values():
        for name in commands:
            text = _app(name).generate_docs(output_format="markdown")
            lines += [_unwrapped(text[text.index(f"## inkstone {name}\n") :].rstrip()), ""]
    lines += [
        "## Shell completion",
        "",
        "`inkstone --install-completion` completes commands and flags in bash, zsh and fish.",
        "",
    ]
    return _MADE + "\n".join(lines)


def _exit_codes() -> Iterator[str]:
    meanings = {0: "Done.", 1: "A bug in Inkstone; please report it with the traceback.", 2: "Bad input."}
    for kind in (errors.InkstoneError, *errors.InkstoneError.__subclasses__()):
        text = (kind.__doc__ or "").partition("\n")[0]
        if kind is not errors.InkstoneError:
            meanings[kind.exit_code] = " ".join(filter(None, [meanings.get(kind.exit_code), text]))
    meanings[EXIT_INTERRUPTED] = "Interrupted (Ctrl-C, SIGTERM); the same command goes on from there."
    return (f"| {code} | {text} |" for code, text in sorted(meanings.items()))


def _unwrapped(text: str) -> str:
    """Settings whose help goes over several lines become one line each."""
    return re.sub(r"\n {4}(?=\S)", " ", text)


def recipe_page() -> str:
    """The keys of a recipe and, for every built-in stage, its inputs and settings."""
    lines = ["# Recipe", "", "A recipe is one YAML file with these keys:", "", *_table(RecipeFile), ""]
    lines += [
        "Under `stages:`, each key is a stage's name and the name of its folder. `uses:` names one of the stages",
        "below; the other keys are its inputs and its settings. An input is a folder, or `${name}` for the output of",
        "another stage. A nested setting is written with dots on the command line",
        "(`--set pretrain.optimizer.name=adamw`) and as a nested mapping in YAML. Unknown keys are errors that name",
        "the nearest known one.",
        "",
    ]
    for name in _in_line_order():
        stage: Stage[Any] = lookup("stages", name)
        inputs = ", ".join(f"`{each}`" for each in stage.inputs) or "none"
        lines += [f"## {name}", "", stage.help, "", f"Inputs: {inputs}.", "", *_table(stage.config), ""]
    lines += ["## Plug-ins", ""]
    for kind, meaning in KINDS.items():
        built_in = ", ".join(f"`{name}`" for name in names(kind))
        lines += [f"{meaning} Built in: {built_in}. Entry points `inkstone.{kind}`.", ""]
    return _MADE + "\n".join(lines).rstrip() + "\n"


def _in_line_order() -> list[str]:
    order = [name for title in ("From text", "Teach") for name in COMMANDS[title]]
    return [name for name in order if name in names("stages")]


def _table(config: type[BaseModel]) -> list[str]:
    rows = [
        f"| `{key}` | {_cell(_type(field.annotation))} | {_cell(_default(field))} | {_cell(field.description or '')} |"
        for key, field in _fields(config)
    ]
    return ["| key | value | default | meaning |", "|---|---|---|---|", *rows]


def _fields(config: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Fields with dotted keys; a nested configuration is replaced by its own fields."""
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _type(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    text = re.sub(r"\b(typing|pathlib\.\_local|pathlib|collections\.abc|inkstone(\.\w+)*)\.", "", text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda match: match[1].replace(", ", " or ").replace("'", ""), text)
    text = re.sub(r"Annotated\[(\w+), [^\]]*\]", r"\1", text)
    text = (
        text.replace(" | None", "")
        .replace("tuple[", "list[")
        .replace("dict[", "mapping[")
        .replace(", ...]", "]")
        .replace(" | ", " or ")
    )
    for code, word in (
        ("NoneType", "null"),
        ("str", "text"),
        ("int", "integer"),
        ("float", "number"),
        ("bool", "yes or no"),
    ):
        text = re.sub(rf"\b{code}\b", word, text)
    return text.replace("Path", "path").replace("Any", "any")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), [], {}, ""):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the pages, or with --check say which differ."""
    parser = argparse.ArgumentParser(description="write the reference pages from the code")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page differs")
    check = parser.parse_args().check
    pages = {PAGES / "cli.md": cli_page(), PAGES / "recipe.md": recipe_page()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if check:
            sys.stderr.write(f"{path.name} differs from the code; run `make docs` and commit it\n")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(pages[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
