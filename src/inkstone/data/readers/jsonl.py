"""JSON Lines: one object per line."""

from collections.abc import Iterator
from typing import ClassVar

from inkstone.core.records import Document
from inkstone.data.json_lines import JSON_LINES, json_objects
from inkstone.data.readers.base import Reading, Source
from inkstone.data.readers.columns import Columns
from inkstone.data.readers.text import lines


class JsonLinesReader:
    """One line is one document; empty lines are fine."""

    suffixes: ClassVar[frozenset[str]] = JSON_LINES
    scheme: ClassVar[str] = ""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the file's documents."""
        columns: Columns | None = None
        for number, row in json_objects(lines(reading.text(source)), str(source.file), reading.malformed):
            if columns is None:
                lengths = {name: len(value) for name, value in row.items() if isinstance(value, str)}
                columns = Columns.choose(reading.options, row, lengths, str(source.file))
                reading.use(columns.text)
            yield from columns.document(row, source, number, reading)
