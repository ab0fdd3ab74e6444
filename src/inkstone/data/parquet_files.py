"""Parquet files that users give."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from inkstone.core.errors import InputError

if TYPE_CHECKING:
    import pyarrow.parquet as pq


@contextlib.contextmanager
def open_parquet(path: Path) -> "Iterator[pq.ParquetFile]":
    """Open a file. Raises InputError where it, or what is read from it inside the block, is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        detail = str(error).splitlines()[0]
        raise InputError(
            f"cannot be read as Parquet ({detail})", where=path, remedy="write or copy the file again"
        ) from error
