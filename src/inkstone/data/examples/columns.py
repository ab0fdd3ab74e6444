"""Rows with the columns that formats know, and the format that knows them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from inkstone.core.config import nearest
from inkstone.core.errors import ConfigError, InputError
from inkstone.data.examples.config import RowsConfig
from inkstone.data.examples.formats.base import Format, format_named
from inkstone.data.examples.records import Row
from inkstone.data.examples.rows import numbered_name

DATASET = "dataset"
"""The column that names an example's part of a mixture (`Example.source`); `source` is a text's, in pairs."""
_ABSENT = object()


def mapped(row: Row, columns: Mapping[str, str | int]) -> Row:
    """The row with the file's columns under our names; its `dataset` becomes its source."""
    values = dict(row.values)
    names = {ours: numbered_name(theirs) for ours, theirs in columns.items()}
    found = {ours: value for ours, theirs in names.items() if (value := _look_up(values, theirs)) is not _ABSENT}
    for theirs in names.values():
        values.pop(theirs, None)
    values |= found
    source = values.pop(DATASET, None)
    return Row(values, row.where, source if isinstance(source, str) else row.source)


def _look_up(values: Mapping[str, Any], column: str) -> Any:
    """A column's value: by name, by a path with dots, or by a language of `translation`."""
    if column in values:
        return values[column]
    first, dot, rest = column.partition(".")
    if dot and isinstance(values.get(first), Mapping):
        return _look_up(values[first], rest)
    translation = values.get("translation")
    return translation.get(column, _ABSENT) if isinstance(translation, Mapping) else _ABSENT


def choose_format(sample: Sequence[Row], config: RowsConfig, formats: Sequence[str], where: str) -> Format[Any]:
    """The format of rows that begin with `sample` (not mapped yet): the one that is set, or that has their columns.

    Of several, the first that can read one of the rows: columns alone do not tell a label from CLUENER's spans.

    Raises:
        ConfigError: the format that is set is none of `formats`.
        InputError: a mapped column is not there; or the columns are those of none of the formats.
    """
    candidates = [format_named(name) for name in ([config.format] if config.format != "auto" else formats)]
    if candidates[0].name not in formats:
        raise ConfigError(
            f"{config.format} is not what is learned from here", where="format", remedy=f"use {' or '.join(formats)}"
        )
    _check_mapping(sample, config.columns, where)
    rows = [mapped(row, config.columns) for row in sample]
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    fitting = [candidate for candidate in candidates if candidate.recognizes(columns)]
    if not fitting:
        raise InputError(_unknown(columns, candidates), where=where, remedy=_naming(columns, candidates))
    return next((candidate for candidate in fitting if any(_reads(candidate, row) for row in rows)), fitting[0])


def _reads(candidate: Format[Any], row: Row) -> bool:
    try:
        return any(candidate.parse(part) is not None for part in candidate.unfold(row))
    except InputError:
        return False


def _check_mapping(sample: Sequence[Row], columns: Mapping[str, str | int], where: str) -> None:
    for theirs in columns.values():
        if all(_look_up(row.values, numbered_name(theirs)) is _ABSENT for row in sample):
            names = list(dict.fromkeys(name for row in sample for name in row.values))
            close = nearest(str(theirs), names)
            raise InputError(
                f"there is no column {theirs!r}; the columns are {', '.join(names)}",
                where=where,
                remedy=f"did you mean {close!r}?" if close else "name one of them in `columns`",
            )


def _unknown(columns: Collection[str], candidates: Sequence[Format[Any]]) -> str:
    lines = [f"{candidate.name} wants {_wanted(candidate)}" for candidate in candidates]
    separator = "\n    " if len(lines) > 1 else " "
    return f"the columns are {', '.join(columns)}, but{separator}{separator.join(lines)}"


def _wanted(candidate: Format[Any]) -> str:
    return ", or ".join(" + ".join(wanted) for wanted in candidate.wants)


def _naming(columns: Sequence[str], candidates: Sequence[Format[Any]]) -> str:
    """How to name the columns: ours, each beside the nearest of the file's."""
    known = set(columns)
    wanted = max(
        candidates[0].wants, key=lambda names: (len(known & set(names)), len(names) <= len(columns), len(names))
    )
    left, pairs = [name for name in columns if name not in wanted], []
    for ours in (name for name in wanted if name not in columns):
        theirs = nearest(ours, left) or next(iter(left), "…")
        left = [name for name in left if name != theirs]
        pairs.append(f"{ours}: {theirs.removeprefix('column') if theirs.startswith('column') else theirs}")
    return f"say which is which, for example `columns: {{{', '.join(pairs)}}}`"
