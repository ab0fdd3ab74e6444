"""CSV and TSV, with or without a row of column names."""

import csv
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from typing import ClassVar

from inkstone.core.records import Document
from inkstone.data.readers.base import Reading, ReadOptions, Source
from inkstone.data.readers.columns import ID_LIKE, TEXT_NAMES, Columns
from inkstone.data.readers.text import all_lines

SAMPLE_ROWS = 20
_NAME = re.compile(r"[^\W\d][\w.-]*( [\w.-]+){0,2}")


class TableReader:
    """One row is one document."""

    suffixes: ClassVar[frozenset[str]] = frozenset({".csv", ".tsv", ".tab"})
    scheme: ClassVar[str] = ""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the file's documents."""
        rows = self._rows(source, reading)
        sample = list(itertools.islice(rows, SAMPLE_ROWS))
        if not sample:
            return
        names = self._names([row for _, row in sample], reading.options)
        if names is None:
            names = [name.strip() or f"column{i + 1}" for i, name in enumerate(sample.pop(0)[1])]
        lengths = _mean_lengths(names, [row for _, row in sample])
        columns = Columns.choose(reading.options, names, lengths, str(source.file))
        reading.use(columns.text)
        for number, row in itertools.chain(sample, rows):
            if len(row) != len(names):
                cause = f"the row has {len(row)} fields, expected {len(names)} ({', '.join(names)})"
                reading.malformed(cause, f"{source.file}:{number}", "repair or remove the row")
                continue
            yield from columns.document(dict(zip(names, row, strict=True)), source, number, reading)

    def _rows(self, source: Source, reading: Reading) -> Iterator[tuple[int, list[str]]]:
        """Rows with the number of the line they end on."""
        tabs = source.suffix != ".csv"
        quotes = reading.options.quotes if reading.options.quotes is not None else not tabs
        numbered = all_lines(reading.text(source))
        if tabs and not quotes:
            yield from ((number, line.split("\t")) for number, line in numbered if line)
            return
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(
            (line + "\n" for _, line in numbered),
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                reading.malformed(f"malformed table: {error}", f"{source.file}:{reader.line_num}", "repair the quotes")
                continue
            if row is None:
                return
            if row:
                yield reader.line_num, row

    def _names(self, sample: Sequence[Sequence[str]], options: ReadOptions) -> list[str] | None:
        """Names for the columns of a table without a header; None when the first row has them."""
        has_header = options.header
        if has_header is None:
            has_header = has_header_row(sample, _configured(options))
        if has_header:
            return None
        width = len(sample[0])
        given = list(options.column_names[:width])
        return given + [f"column{i + 1}" for i in range(len(given), width)]


def _mean_lengths(names: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean characters of the columns that hold anything but numbers."""
    lengths = {}
    for i, name in enumerate(names):
        cells = [row[i] for row in rows if len(row) == len(names)]
        if not all(map(_is_number, cells)):
            lengths[name] = sum(map(len, cells)) / len(cells)
    return lengths


def _configured(options: ReadOptions) -> set[str]:
    joined = {name for names in options.column_lists() for name in names}
    return joined | {name for name in (options.text_column, options.id_column, options.lang_column) if name}


def has_header_row(rows: Sequence[Sequence[str]], known: set[str]) -> bool:
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
        if cells and (all(map(_is_number, cells)) or sum(map(len, cells)) > 3 * len(name) * len(cells)):
            return True
    return False


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
