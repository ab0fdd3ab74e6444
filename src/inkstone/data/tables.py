"""CSV and TSV: rows of cells, and whether the first of them names the columns."""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

TABLES = frozenset({".csv", ".tsv", ".tab"})
TEXT_NAMES = (
    "text",
    "content",
    "body",
    "document",
    "article",
    "passage",
    "story",
    "raw_content",
    "sentence",
    "code",
    "markdown",
)
ID_LIKE = ("id", "uuid", "url", "lang", "language", "source", "date", "title", "author", "name", "label", "timestamp")
_NAME = re.compile(r"[^\W\d][\w.-]*( [\w.-]+){0,2}")

Malformed = Callable[[str, str, str], None]
"""Told of a malformed record: the cause, `file:line`, the remedy."""


def table_rows(
    lines: Iterable[tuple[int, str]], name: str, *, tabs: bool, quotes: bool | None, malformed: Malformed
) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line they end on; empty lines are left out.

    Args:
        lines: numbered from 1, without line ends.
        name: of the file.
        tabs: whether tabs separate the cells, rather than commas.
        quotes: whether double quotes enclose cells; by default they do between commas, not between tabs.
        malformed: told of rows with broken quotes, which are left out.
    """
    quotes = quotes if quotes is not None else not tabs
    if tabs and not quotes:
        yield from ((number, line.split("\t")) for number, line in lines if line)
        return
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(
        (line + "\n" for _, line in lines),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            malformed(f"malformed table: {error}", f"{name}:{reader.line_num}", "repair the quotes")
            continue
        if row is None:
            return
        if row:
            yield reader.line_num, row


def has_header_row(rows: Sequence[Sequence[str]], known: AbstractSet[str]) -> bool:
    """Whether the first of `rows` names the columns.

    It does when all its cells are distinct and look like names, and one of them is a usual column name or `known`, or
    heads a column of numbers or of much longer texts.
    """
    first, rest = rows[0], rows[1:]
    if len(set(first)) != len(first) or not all(
        len(cell) <= 40 and _NAME.fullmatch(cell.strip()) for cell in (first if first[0] else first[1:])
    ):
        return False
    if any(cell.strip().lower() in {*TEXT_NAMES, *ID_LIKE} or cell in known for cell in first):
        return True
    for i, name in enumerate(first):
        cells = [row[i] for row in rest if len(row) == len(first)]
        if cells and (all(map(is_number, cells)) or sum(map(len, cells)) > 3 * len(name) * len(cells)):
            return True
    return False


def numbered_names(names: Sequence[str]) -> list[str]:
    """The names of a header row, `column2` where the second is empty."""
    return [name.strip() or f"column{i + 1}" for i, name in enumerate(names)]


def is_number(cell: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
