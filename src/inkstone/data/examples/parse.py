"""What becomes of the rows of a file."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.examples.columns import choose_format, mapped
from inkstone.data.examples.config import RowsConfig
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.records import Example, Row
from inkstone.data.examples.rows import SAMPLE_ROWS, read_rows


def parts_of(
    file: str, config: RowsConfig, formats: Sequence[str], change: Callable[[Row], Row] = lambda row: row
) -> tuple[Format[Any] | None, Iterator[Row | InputError]]:
    """The format of a file, told from its first rows, and its rows of one example each.

    Args:
        file: is read once, while its rows are asked for.
        config: how.
        formats: those that it may have.
        change: applied to rows as they are in the file.

    Returns:
        The format, None where no row can be read; rows under our names for the columns, and what cannot be read, in
        the file's order.

    Raises:
        InputError: the file cannot be read (on), or its columns are those of none of the formats.
    """
    read = _rows_and_faults(file, config)
    first, sample = list[Row | InputError](), list[Row]()
    for part in read:
        first.append(part)
        if isinstance(part, Row):
            sample.append(part)
        if len(sample) == SAMPLE_ROWS:
            break
    if not sample:
        return None, iter(first)
    chosen = choose_format(sample, config, formats, file)
    return chosen, _unfolded(itertools.chain(first, read), chosen, config, change)


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


def _rows_and_faults(file: str, config: RowsConfig) -> Iterator[Row | InputError]:
    faults: list[InputError] = []

    def malformed(cause: str, where: str, remedy: str) -> None:
        faults.append(InputError(cause, where=where, remedy=remedy))

    for row in read_rows(file, config, malformed):
        yield from faults
        faults.clear()
        yield row
    yield from faults


def _unfolded(
    parts: Iterable[Row | InputError], chosen: Format[Any], config: RowsConfig, change: Callable[[Row], Row]
) -> Iterator[Row | InputError]:
    for part in parts:
        if isinstance(part, InputError):
            yield part
            continue
        try:
            yield from chosen.unfold(mapped(change(part), config.columns))
        except InputError as error:
            yield error
