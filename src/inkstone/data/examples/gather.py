"""Examples of one source, each with its split."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import Any

from inkstone.core.errors import ConfigError, InputError
from inkstone.data.examples.files import files_by_split
from inkstone.data.examples.formats.base import AUTO, Format
from inkstone.data.examples.hub import PREFIX
from inkstone.data.examples.parse import example_of, parts_of
from inkstone.data.examples.records import Example, Row
from inkstone.data.examples.rows import numbered_name
from inkstone.data.examples.splits import is_for_test, is_for_validation, split_of
from inkstone.data.examples.stage_config import SourceConfig
from inkstone.data.sources import glob_files


@dataclass
class Entry:
    """An example on its way to a split."""

    example: Example
    split: str
    group: str


@dataclass
class Gathered:
    """One source, read."""

    name: str
    format: Format[Any] | None = None
    entries: list[Entry] = field(default_factory=list)
    faults: list[InputError] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Of rows, of those outside `skip` and `limit`, of what was replaced."""
    kept: Counter[str] = field(default_factory=Counter)
    """By split."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""

    def card(self) -> dict[str, Any]:
        """What became of every row."""
        return {
            "name": self.name,
            "files": self.files,
            **self.counts,
            "kept": dict(self.kept),
            "dropped": dict(self.dropped),
        }


def source_paths(source: SourceConfig) -> Iterator[tuple[str, str]]:
    """The split and the path of every file of a source; a path may name two parallel files.

    Raises:
        InputError: a path does not exist.
    """
    for path in source.paths:
        for found in _expanded(path):
            for split, files in files_by_split(found).items():
                yield from ((source.split or split, file) for file in files)


def _expanded(path: str) -> list[str]:
    if path.startswith(PREFIX) or "|" in path:
        return [path]
    given = Path(path).expanduser()
    if given.exists() or not has_magic(path):
        return [str(given)]
    if found := [str(file) for file, _ in glob_files(given)]:
        return found
    raise InputError("the glob matches no file", where=path, remedy="check the pattern and the folder it starts from")


def gather(source: SourceConfig) -> Gathered:
    """Read a source; its rows become examples of one format, each with its split.

    Raises:
        InputError: a path does not exist, a file cannot be read at all, or its columns are not known.
        ConfigError: `group_by` is no column.
    """
    gathered = Gathered(source.name)
    change = _replacing(source.replace, gathered.counts)
    wanted = AUTO if source.format == "auto" else (source.format,)
    read: list[tuple[str, Row | InputError]] = []
    for split, file in source_paths(source):
        gathered.name = gathered.name or _name(source.paths[0] if source.paths[0].startswith(PREFIX) else file)
        chosen, parts = parts_of(file, source, [gathered.format.name] if gathered.format else wanted, change)
        gathered.format = chosen or gathered.format
        found = [(split, part) for part in parts]
        gathered.files.append({"file": file, "split": split, "rows": len(found)})
        read += found
    gathered.counts["rows"] = len(read)
    end = None if source.limit is None else source.skip + source.limit
    taken = read[source.skip : end]
    gathered.counts["outside skip and limit"] = len(read) - len(taken)
    _assign(source, taken, gathered)
    return gathered


def _assign(source: SourceConfig, taken: list[tuple[str, Row | InputError]], gathered: Gathered) -> None:
    num_train = sum(split == "train" for split, _ in taken)
    first_test = num_train - _how_many(source.test_last, num_train)
    first_valid = first_test - _how_many(source.valid_last, num_train)
    number = -1
    for split, part in taken:
        number += split == "train"
        result = example_of(part, gathered.format)
        if isinstance(result, InputError):
            gathered.faults.append(result)
            gathered.dropped["malformed"] += 1
            continue
        group = result.group_key if source.group_by is None else _column(source, part)
        if split == "train":
            if number >= first_test or is_for_test(group, source.test_fraction):
                split = "test"
            elif number >= first_valid or is_for_validation(group, source.valid_fraction):
                split = "valid"
        gathered.entries.append(Entry(result, split, group))


def _how_many(last: float, total: int) -> int:
    return min(total, round(last * total) if last < 1 else round(last))


def _column(source: SourceConfig, row: Row | InputError) -> str:
    assert source.group_by is not None
    named = (ours for ours, theirs in source.columns.items() if theirs == source.group_by)
    ours = next(named, numbered_name(source.group_by))
    assert isinstance(row, Row)
    if ours not in row.values:
        cause = f"there is no column {source.group_by!r} (there is {', '.join(row.values)})"
        raise ConfigError(cause, where="group_by", remedy="name a column of the file")
    return str(row.values[ours])


def _replacing(replace: Mapping[str, str], counts: Counter[str]) -> Callable[[Row], Row]:
    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            for old, new in replace.items():
                counts[f"replaced {old}"] += value.count(old)
                value = value.replace(old, new)
            return value
        if isinstance(value, Mapping):
            return {key: replaced(item) for key, item in value.items()}
        return [replaced(item) for item in value] if isinstance(value, list) else value

    return (lambda row: row._replace(values=replaced(row.values))) if replace else (lambda row: row)


def _name(path: str) -> str:
    """What a source is called after its first path: the file, the folder of files named after splits, the data set."""
    if path.startswith(PREFIX):
        return path.removeprefix(PREFIX).partition("#")[0].partition("@")[0].partition("/")[2]
    file = Path(path.partition("|")[0]).absolute()
    name = file.name.partition(".")[0]
    return file.parent.name if split_of(name) else name
