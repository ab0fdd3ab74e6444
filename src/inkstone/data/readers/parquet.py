"""Parquet files, read row group by row group."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from inkstone.core.records import Document
from inkstone.data.parquet_files import open_parquet
from inkstone.data.readers.base import Reading, Source
from inkstone.data.readers.columns import Columns

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 64


class ParquetReader:
    """One row is one document."""

    suffixes: ClassVar[frozenset[str]] = frozenset({".parquet"})
    scheme: ClassVar[str] = ""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the file's documents."""
        size = source.file.stat().st_size
        number = 0
        with open_parquet(source.file) as file:
            schema = file.schema_arrow
            columns: Columns | None = None
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                rows = batch.to_pylist()
                if columns is None:
                    lengths = {f.name: _mean_length(rows, f.name) for f in schema if _is_text(f.type)}
                    columns = Columns.choose(reading.options, schema.names, lengths, str(source.file))
                    reading.use(columns.text)
                for row in rows:
                    number += 1
                    yield from columns.document(row, source, number, reading)
                reading.advance(size * number // max(file.metadata.num_rows, 1))


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _mean_length(rows: list[dict[str, Any]], name: str) -> float:
    return sum(len(row[name] or "") for row in rows) / max(len(rows), 1)
