"""Files of examples, read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inkstone.core.errors import InputError
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.records import Example

SPLITS = ("train", "valid", "test")


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
    raise NotImplementedError
