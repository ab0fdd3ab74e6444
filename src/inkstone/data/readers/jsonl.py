"""JSON Lines: one object per line."""

import json
import re
from collections.abc import Iterator
from typing import ClassVar

from inkstone.core.records import Document
from inkstone.data.readers.base import Reading, Source
from inkstone.data.readers.columns import Columns
from inkstone.data.readers.text import lines

_SURROGATES = re.compile("[\ud800-\udfff]")


class JsonLinesReader:
    """One line is one document; empty lines are fine."""

    suffixes: ClassVar[frozenset[str]] = frozenset({".jsonl", ".ndjson"})
    scheme: ClassVar[str] = ""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the file's documents."""
        columns: Columns | None = None
        for number, line in lines(reading.text(source)):
            where = f"{source.file}:{number}"
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                detail = (
                    f"{error.msg} at character {error.pos + 1}"
                    if isinstance(error, json.JSONDecodeError)
                    else "nested too deep"
                )
                reading.malformed(f"malformed JSON: {detail}", where, "repair or remove the line")
                continue
            if "\\ud" in line or "\\uD" in line:
                row = _without_surrogates(row)
            if not isinstance(row, dict):
                reading.malformed(f"the line holds {_kind(row)}, not an object", where, 'write {"text": …}')
                continue
            if columns is None:
                lengths = {name: len(value) for name, value in row.items() if isinstance(value, str)}
                columns = Columns.choose(reading.options, row, lengths, str(source.file))
                reading.use(columns.text)
            yield from columns.document(row, source, number, reading)


def _without_surrogates(row: object) -> object:
    """The same JSON value with halves of surrogate pairs, which no text may hold, as U+FFFD."""
    return json.loads(_SURROGATES.sub("\ufffd", json.dumps(row, ensure_ascii=False)))


def _kind(value: object) -> str:
    return {list: "an array", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")
