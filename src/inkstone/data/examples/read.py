"""Files of examples, read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.files import files_by_split
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.parse import example_of, parts_of
from inkstone.data.examples.records import Example
from inkstone.data.examples.splits import SPLITS, is_for_validation

__all__ = ["SPLITS", "ExampleSet", "read_examples"]


@dataclass
class ExampleSet:
    """All examples of a folder or file, by split."""

    format: str
    """Name of their format."""
    splits: dict[str, list[Example]] = field(default_factory=dict)
    """`train`, `valid` and, where there is one, `test`."""
    faults: list[InputError] = field(default_factory=list)
    """Rows that are malformed, in the order of the files."""


def read_examples(path: Path, config: ExamplesConfig, formats: Sequence[str]) -> ExampleSet:
    """Read a file, or a folder with `train`, `valid` and `test` files, as examples of one of `formats`.

    Malformed rows are collected, not raised.

    Raises:
        InputError: there is no such file, it cannot be read at all, or its columns are those of none of the formats.
    """
    faults: list[InputError] = []
    chosen: Format[Any] | None = None
    splits: dict[str, list[Example]] = {"train": [], "valid": []}
    for split, files in files_by_split(str(path)).items():
        for file in files:
            found, parts = parts_of(file, config, [chosen.name] if chosen else formats)
            chosen = found or chosen
            for part in parts:
                result = example_of(part, chosen)
                if isinstance(result, InputError):
                    faults.append(result)
                else:
                    splits.setdefault(split, []).append(result)
    if chosen is None:
        first = f": {faults[0]}" if faults else ""
        raise InputError(f"there is no row that can be read{first}", where=path, remedy="give files with examples")
    if not splits["valid"]:
        splits |= _held_out(splits["train"], config.valid_fraction)
    return ExampleSet(chosen.name, splits, faults)


def _held_out(examples: list[Example], fraction: float) -> dict[str, list[Example]]:
    parts: dict[str, list[Example]] = {"train": [], "valid": []}
    for example in examples:
        parts["valid" if is_for_validation(example.group_key, fraction) else "train"].append(example)
    return parts
