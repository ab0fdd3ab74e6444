"""`method: auto`: what examples and model suggest."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from inkstone.checkpoint.hub import locate
from inkstone.checkpoint.load import read_outline
from inkstone.core.errors import InputError
from inkstone.core.registry import lookup
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.files import files_by_split
from inkstone.data.examples.parse import example_of, parts_of
from inkstone.data.examples.records import Example, LabeledText
from inkstone.data.examples.rows import SAMPLE_ROWS
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Model

_OF_FORMAT = {
    "chat": "chat",
    "preferences": "reward",
    "completion": "chat",
    "pairs": "pairs",
    "questions": "span",
    "spans": "tokens",
    "labels": "classify",
    "text": "text",
}
"""Format → method. Where columns fit several formats, the first that can read the rows is meant."""


def suggested_method(config: ExamplesConfig, inputs: Mapping[str, Path]) -> str:
    """The method of `finetune` for a model and examples, told from the first rows.

    A model with a head keeps its head's method. Without one, the format decides; labels that are all numbers with a
    point make a regression, as whole numbers are names of classes in most data sets.

    Raises:
        InkstoneError: the model or the examples cannot be read, or they do not fit together.
    """
    methods = _methods_of_head(read_outline(locate(inputs["model"])).model)
    if methods:
        formats = {name: method for method in reversed(methods) for name in lookup("methods", method).formats}
    else:
        formats = _OF_FORMAT
    name, examples = _first_examples(config, inputs["data"], tuple(formats))
    numbers = all(isinstance(example, LabeledText) and isinstance(example.label, float) for example in examples)
    return "regress" if formats[name] == "classify" and not methods and examples and numbers else formats[name]


def _methods_of_head(model: Model) -> tuple[str, ...]:
    """The methods that teach the head on a model; none where it has none."""
    if not isinstance(model, HeadedModel):
        return ()
    head = model.head_config
    if head.kind == "sequence":
        return ("regress", "reward") if head.problem == "regression" else ("classify",)
    return ("tokens",) if head.kind == "token" else ("span",)


def _first_examples(config: ExamplesConfig, data: Path, formats: Sequence[str]) -> tuple[str, list[Example]]:
    """The format of a folder or file, and the first examples in it."""
    for files in files_by_split(str(data)).values():
        for file in files:
            chosen, parts = parts_of(file, config, formats)
            if chosen is not None:
                first = (example_of(part, chosen) for part in islice(parts, SAMPLE_ROWS))
                return chosen.name, [example for example in first if not isinstance(example, InputError)]
    raise InputError("there is no row that can be read", where=data, remedy="give files with examples")
