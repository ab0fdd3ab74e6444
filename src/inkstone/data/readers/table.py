"""CSV and TSV, with or without a row of column names."""

import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar

from inkstone.core.records import Document
from inkstone.data.readers.base import Reading, ReadOptions, Source
from inkstone.data.readers.columns import Columns
from inkstone.data.readers.text import all_lines
from inkstone.data.tables import TABLES, has_header_row, is_number, numbered_names, table_rows

SAMPLE_ROWS = 20


class TableReader:
    """One row is one document."""

    suffixes: ClassVar[frozenset[str]] = TABLES
    scheme: ClassVar[str] = ""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the file's documents."""
        rows = table_rows(
            all_lines(reading.text(source)),
            str(source.file),
            tabs=source.suffix != ".csv",
            quotes=reading.options.quotes,
            malformed=reading.malformed,
        )
        sample = list(itertools.islice(rows, SAMPLE_ROWS))
        if not sample:
            return
        names = self._names([row for _, row in sample], reading.options)
        if names is None:
            names = numbered_names(sample.pop(0)[1])
        lengths = _mean_lengths(names, [row for _, row in sample])
        columns = Columns.choose(reading.options, names, lengths, str(source.file))
        reading.use(columns.text)
        for number, row in itertools.chain(sample, rows):
            if len(row) != len(names):
                cause = f"the row has {len(row)} fields, expected {len(names)} ({', '.join(names)})"
                reading.malformed(cause, f"{source.file}:{number}", "repair or remove the row")
                continue
            yield from columns.document(dict(zip(names, row, strict=True)), source, number, reading)

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
        if not all(map(is_number, cells)):
            lengths[name] = sum(map(len, cells)) / len(cells)
    return lengths


def _configured(options: ReadOptions) -> set[str]:
    joined = {name for names in options.column_lists() for name in names}
    return joined | {name for name in (options.text_column, options.id_column, options.lang_column) if name}
