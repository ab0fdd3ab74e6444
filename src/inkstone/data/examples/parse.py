"""What becomes of the rows of a file."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.examples.columns import mapped
from inkstone.data.examples.config import RowsConfig
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.records import Example, Row
from inkstone.data.examples.rows import SAMPLE_ROWS, read_rows


def parts_of(
    file: str, config: RowsConfig, chosen: Format[Any] | None, change: Callable[[Row], Row] = lambda row: row
) -> Iterator[Row | InputError]:
    """The rows of one example each, under our names for the columns, and what cannot be read, in the file's order.

    `chosen` may be missing for a file that holds no row (see `sampled`), only what cannot be read. `change` is applied
    to rows as they are in the file.

    Raises:
        InputError: the file cannot be read on.
    """
    faults: list[InputError] = []

    def malformed(cause: str, where: str, remedy: str) -> None:
        faults.append(InputError(cause, where=where, remedy=remedy))

    for row in read_rows(file, config, malformed):
        yield from faults
        faults.clear()
        assert chosen is not None
        try:
            yield from chosen.unfold(mapped(change(row), config.columns))
        except InputError as error:
            yield error
    yield from faults


def example_of(part: Row | InputError, chosen: Format[Any] | None) -> Example | InputError:
    """The example of a part, or why there is none."""
    if isinstance(part, InputError):
        return part
    assert chosen is not None
    try:
        example: Example = chosen.parse(part)
        return example
    except InputError as error:
        return error


def sampled(file: str, config: RowsConfig) -> list[Row]:
    """The first rows of a file, from which its format is told."""
    return list(itertools.islice(read_rows(file, config, lambda *_: None), SAMPLE_ROWS))
