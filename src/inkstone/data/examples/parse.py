"""What becomes of the rows of a file."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from inkstone.core.errors import InputError
from inkstone.data.examples.columns import mapped
from inkstone.data.examples.config import RowsConfig
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.records import Example, Row
from inkstone.data.examples.rows import SAMPLE_ROWS, read_rows


class Outcome(NamedTuple):
    """An example, or why there is none."""

    result: Example | InputError
    row: Row | None = None
    """With our names for the columns; None where the file holds no row there."""


def outcomes(
    file: str, config: RowsConfig, chosen: Format[Any] | None, change: Callable[[Row], Row] = lambda row: row
) -> Iterator[Outcome]:
    """What becomes of each row of a file, in their order; of rows that can be read nothing, if no format is chosen.

    `change` is applied to rows as they are in the file.

    Raises:
        InputError: the file cannot be read on.
    """
    faults: list[Outcome] = []

    def malformed(cause: str, where: str, remedy: str) -> None:
        faults.append(Outcome(InputError(cause, where=where, remedy=remedy)))

    for row in read_rows(file, config, malformed):
        yield from faults
        faults.clear()
        if chosen is not None:
            yield from _of_row(mapped(change(row), config.columns), chosen)
    yield from faults


def sampled(file: str, config: RowsConfig) -> list[Row]:
    """The first rows of a file, from which its format is told."""
    return list(itertools.islice(read_rows(file, config, lambda *_: None), SAMPLE_ROWS))


def _of_row(row: Row, chosen: Format[Any]) -> Iterator[Outcome]:
    try:
        parts = list(chosen.unfold(row))
    except InputError as error:
        yield Outcome(error, row)
        return
    for part in parts:
        try:
            yield Outcome(chosen.parse(part), part)
        except InputError as error:
            yield Outcome(error, part)
