"""What `collect.paths` names: files, folders, globs, and sources inside the machine such as `python:stdlib`."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path, PurePosixPath

from inkstone.core.config import nearest
from inkstone.core.errors import ConfigError, InputError
from inkstone.data.readers.base import Reader, Source, reader_for_scheme, reader_for_suffix, suffixes
from inkstone.data.streams import plain_suffix

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})


@dataclass
class Resolved:
    """The sources behind a list of paths, in a stable order, and the files that were left out."""

    sources: list[Source] = field(default_factory=list)
    skipped_suffixes: Counter[str] = field(default_factory=Counter)
    """Files found in folders and globs that no reader knows, by suffix."""


def resolve(paths: Iterable[str]) -> Resolved:
    """Find every source that `paths` name.

    Raises:
        ConfigError: no path is given.
        InputError: a path does not exist (the nearest name is given), or nothing readable is behind it.
    """
    resolved = Resolved()
    given = list(paths)
    if not given:
        raise ConfigError(
            "no path is given, so there is nothing to collect",
            where="collect.paths",
            remedy="name files, folders or globs: `--set collect.paths=[books.jsonl.gz]`, or `python:stdlib`",
        )
    seen: set[Path] = set()
    for path in given:
        reader = reader_for_scheme(path)
        if reader is not None:
            resolved.sources.append(Source(None, path, "", reader))
            continue
        _resolve_path(path, resolved, seen)
    if not resolved.sources:
        raise InputError("nothing is left to read", where="collect.paths", remedy="name files of a known kind")
    resolved.sources[:] = _with_distinct_names(resolved.sources)
    return resolved


def _resolve_path(given: str, resolved: Resolved, seen: set[Path]) -> None:
    path = Path(given).expanduser()
    if path.is_dir():
        files = [(file, PurePosixPath(path.resolve().name, *file.relative_to(path).parts)) for file in _walk(path)]
        cause = "the folder holds no file of a known kind"
    elif path.exists():
        files = [(path, PurePosixPath(path.name))]
        cause = ""
    elif has_magic(given):
        files = list(glob_files(path))
        cause = "the glob matches no file of a known kind"
    else:
        raise InputError("no such file or folder", where=given, remedy=missing_remedy(path))
    found = 0
    for file, name in files:
        reader = reader_for_suffix(plain_suffix(file), explicit=path.is_file(), where=file)
        if reader is None:
            resolved.skipped_suffixes[plain_suffix(file) or file.name] += 1
            continue
        found += 1
        if (real := file.resolve()) not in seen:
            seen.add(real)
            resolved.sources.append(Source(file, str(name), plain_suffix(file), reader))
    if not found:
        remedy = f"known kinds: {', '.join(sorted(suffixes()))}, each also .gz or .zst"
        raise InputError(
            cause, where=given, remedy=remedy if files else "check the pattern and the folder it starts from; " + remedy
        )


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def glob_files(pattern: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """Files that match, with names relative to the last folder that the pattern names without a wildcard."""
    parts = pattern.parts
    fixed = next(i for i, part in enumerate(parts) if has_magic(part))
    root = Path(*parts[:fixed])
    for path in sorted(root.glob("/".join(parts[fixed:]))):
        below = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith(".") or part in _SKIPPED_FOLDERS for part in below):
            yield path, PurePosixPath(root.resolve().name, *below)


def missing_remedy(path: Path) -> str:
    """What to do about a path that does not exist: the nearest name, or where it ends."""
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        path, parent = parent, parent.parent
    names = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    closest = nearest(path.name, names)
    return (
        f"did you mean {str(parent / closest)!r}?"
        if closest
        else f"check the path; {str(parent)!r} is the last part that exists"
    )


def _with_distinct_names(sources: list[Source]) -> list[Source]:
    """Short names where they are unique, the path as it was given where not: document ids are made of them."""
    counts = Counter(source.name for source in sources)
    return [
        source
        if counts[source.name] == 1 or source.path is None
        else Source(source.path, source.path.as_posix(), source.suffix, source.reader)
        for source in sources
    ]


__all__ = ["Reader", "Resolved", "Source", "resolve"]
