"""Rows of a file, each with its place."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkstone.core.errors import InputError
from inkstone.data.encoding import decoded
from inkstone.data.examples.config import RowsConfig
from inkstone.data.examples.formats.base import known_columns
from inkstone.data.examples.json_rows import json_rows
from inkstone.data.examples.records import Row
from inkstone.data.json_lines import JSON_LINES, json_objects
from inkstone.data.parquet_files import open_parquet
from inkstone.data.readers.text import all_lines, lines
from inkstone.data.sources import missing_remedy
from inkstone.data.streams import byte_chunks, plain_suffix
from inkstone.data.tables import TABLES, Malformed, has_header_row, numbered_names, table_rows

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 20
SUFFIXES = (*sorted(JSON_LINES), ".json", *sorted(TABLES), ".parquet", ".txt")
"""Kinds of files of examples; all but Parquet may also end in .gz or .zst."""


def read_rows(path: str, config: RowsConfig, malformed: Malformed) -> Iterator[Row]:
    """Rows of a file, or of two parallel text files: `train.en|train.zh` have the columns `source` and `target`.

    `malformed` is told of rows that cannot be read, which are left out.

    Raises:
        InputError: there is no such file, it is of no known kind, or it cannot be read on.
    """
    if "|" in path:
        yield from _parallel(path, config)
        return
    file = existing(path)
    suffix = plain_suffix(file)
    if suffix in JSON_LINES:
        for number, values in json_objects(lines(_text(file, config)), file.name, malformed):
            yield Row(values, f"{file.name}:{number}")
    elif suffix == ".json":
        for where, values in json_rows("".join(_text(file, config)), file.name, malformed):
            yield Row(values, where)
    elif suffix in TABLES:
        yield from _table(file, all_lines(_text(file, config)), config, malformed, tabs=suffix != ".csv")
    elif suffix == ".parquet":
        yield from _parquet(file)
    elif suffix == ".txt":
        yield from _text_lines(file, config, malformed)
    else:
        raise InputError(
            f"files of kind {suffix!r} are no files of examples",
            where=file,
            remedy=f"use {', '.join(SUFFIXES)} (each also .gz or .zst), or two parallel files: `train.en|train.zh`",
        )


def existing(path: str) -> Path:
    """The file at a path.

    Raises:
        InputError: there is none.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError("no such file", where=file, remedy=missing_remedy(file))
    return file


def _text(file: Path, config: RowsConfig) -> Iterator[str]:
    return decoded(file, byte_chunks(file), config.encoding)


def _parallel(path: str, config: RowsConfig) -> Iterator[Row]:
    files = [Path(part.strip()) for part in path.split("|")]
    name = "|".join(file.name for file in files)
    if len(files) != 2:
        raise InputError(f"{len(files)} parallel files", where=path, remedy="give two: `train.en|train.zh`")
    texts = (all_lines(_text(file, config)) for file in files)
    for number, (source, target) in enumerate(itertools.zip_longest(*texts), start=1):
        if source is None or target is None:
            shorter = files[0] if source is None else files[1]
            raise InputError(
                f"{shorter.name} ends before line {number}, so the lines do not belong together",
                where=f"{name}:{number}",
                remedy="give files with the same number of lines",
            )
        yield Row({"source": source[1], "target": target[1]}, f"{name}:{number}")


def _text_lines(file: Path, config: RowsConfig, malformed: Malformed) -> Iterator[Row]:
    """A table, if all of the first lines have the same number of tabs; else every line is a text."""
    numbered = lines(_text(file, config))
    sample = list(itertools.islice(numbered, SAMPLE_ROWS))
    tabs = {line.count("\t") for _, line in sample}
    numbered = itertools.chain(sample, numbered)
    if len(tabs) == 1 and tabs != {0}:
        yield from _table(file, numbered, config, malformed, tabs=True)
        return
    for number, line in numbered:
        yield Row({"text": line}, f"{file.name}:{number}")


def _table(
    file: Path, numbered: Iterable[tuple[int, str]], config: RowsConfig, malformed: Malformed, *, tabs: bool
) -> Iterator[Row]:
    rows = table_rows(numbered, file.name, tabs=tabs, quotes=config.quotes, malformed=malformed)
    sample = list(itertools.islice(rows, SAMPLE_ROWS))
    if not sample:
        return
    if _has_header(file, [row for _, row in sample], config):
        names = numbered_names(sample.pop(0)[1])
    else:
        names = [numbered_name(i) for i in range(len(sample[0][1]))]
    for number, row in itertools.chain(sample, rows):
        where = f"{file.name}:{number}"
        if len(row) == len(names):
            yield Row(dict(zip(names, row, strict=True)), where)
        else:
            cause = f"the row has {len(row)} cells, expected {len(names)} ({', '.join(names)})"
            malformed(cause, where, "repair or remove the row")


def numbered_name(column: str | int) -> str:
    """The name of a column that is counted, in a file without a header; names are left as they are."""
    return column if isinstance(column, str) else f"column{column}"


def _has_header(file: Path, sample: list[list[str]], config: RowsConfig) -> bool:
    """Whether the first row names the columns.

    Raises:
        InputError: it seems to, but `columns` counts them; a row must not become an example, nor be lost, by mistake.
    """
    if config.header is False:
        return False
    named = {name for name in config.columns.values() if isinstance(name, str)}
    has_header = config.header or has_header_row(sample, known_columns() | named)
    if has_header and any(isinstance(name, int) for name in config.columns.values()):
        raise InputError(
            f"the first row names the columns ({', '.join(sample[0])}), but `columns` counts them",
            where=file,
            remedy="use their names in `columns`; or, if that row is an example, set `header: false`",
        )
    return has_header


def _parquet(file: Path) -> Iterator[Row]:
    number = 0
    with open_parquet(file) as parquet:
        class_names = _class_names(parquet.schema_arrow)
        for batch in parquet.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                for name, names in class_names.items():
                    values[name] = _named(values[name], names)
                yield Row(values, f"{file.name}:{number}")


def _class_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """Names of the classes that columns of integers stand for, as the library `datasets` notes them in its files."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found = {}
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        inner: Any = feature
        while isinstance(inner, Mapping) and "feature" in inner:
            inner = inner["feature"]
        if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel" and name in schema.names:
            found[name] = list(inner.get("names", []))
    return found


def _named(value: Any, names: list[str]) -> Any:
    """The names instead of the numbers; -1 stands for none."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if isinstance(value, int) and value < len(names):
        return names[value] if value >= 0 else None
    return value
