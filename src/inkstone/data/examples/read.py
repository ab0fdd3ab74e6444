"""Files of examples, read."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.examples.columns import choose_format, mapped
from inkstone.data.examples.config import ExamplesConfig, RowsConfig
from inkstone.data.examples.files import files_by_split
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.keys import group_key
from inkstone.data.examples.records import Example, Row
from inkstone.data.examples.rows import SAMPLE_ROWS, read_rows
from inkstone.data.examples.splits import SPLITS
from inkstone.data.split import as_fraction, is_held_out

__all__ = ["SPLITS", "ExampleSet", "is_for_validation", "parsed", "read_examples", "sampled"]


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
    files = files_by_split(str(path))
    faults: list[InputError] = []
    chosen: Format[Any] | None = None
    splits: dict[str, list[Example]] = {"train": [], "valid": []}
    for split, names in files.items():
        for name in names:
            if sample := sampled(name, config):
                chosen = choose_format(sample, config, [chosen.name] if chosen else formats, name)
            examples = _examples(name, config, chosen, faults)
            splits.setdefault(split, []).extend(examples)
    if chosen is None:
        first = f": {faults[0]}" if faults else ""
        raise InputError(f"there is no row that can be read{first}", where=path, remedy="give files with examples")
    if not splits["valid"]:
        splits |= _held_out(splits["train"], config.valid_fraction)
    return ExampleSet(chosen.name, splits, faults)


def sampled(file: str, config: RowsConfig) -> list[Row]:
    """The first rows of a file, from which its format is told."""
    return list(itertools.islice(read_rows(file, config, lambda *_: None), SAMPLE_ROWS))


def parsed(row: Row, config: RowsConfig, chosen: Format[Any], faults: list[InputError]) -> Iterator[Example]:
    """The examples of a row, its columns mapped; `faults` gets what is malformed."""
    try:
        parts = list(chosen.unfold(mapped(row, config.columns)))
    except InputError as error:
        faults.append(error)
        return
    for part in parts:
        try:
            yield chosen.parse(part)
        except InputError as error:
            faults.append(error)


def is_for_validation(key: str, fraction: float) -> bool:
    """Whether examples with this `group_key` are held out for validation.

    The key is hashed with a word before it, so that this share is independent of one held out for a test.
    """
    return is_held_out(f"valid:{key}", as_fraction(fraction))


def _examples(file: str, config: RowsConfig, chosen: Format[Any] | None, faults: list[InputError]) -> Iterator[Example]:
    def malformed(cause: str, where: str, remedy: str) -> None:
        faults.append(InputError(cause, where=where, remedy=remedy))

    for row in read_rows(file, config, malformed):
        if chosen is not None:
            yield from parsed(row, config, chosen, faults)


def _held_out(examples: list[Example], fraction: float) -> dict[str, list[Example]]:
    train: list[Example] = []
    valid: list[Example] = []
    for example in examples:
        (valid if is_for_validation(group_key(example), fraction) else train).append(example)
    return {"train": train, "valid": valid}
