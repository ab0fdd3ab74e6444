"""Data sets of the Hugging Face hub: their files, without code of anybody's."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from inkstone.core.config import suggestion
from inkstone.core.errors import InputError
from inkstone.core.hub import fetch
from inkstone.data.examples.splits import split_of
from inkstone.data.streams import COMPRESSIONS, plain_suffix

PREFIX = "hub:"
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_NAME = re.compile(
    r"hub:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(#(?P<config>[\w.-]*)(/(?P<split>[\w.-]+))?)?"
)
_NO_EXAMPLES = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"})


class DataFile(NamedTuple):
    """A file of a data set."""

    path: Path
    split: str | None
    """train, valid or test, where its name or the data set's card says so."""


class _Pattern(NamedTuple):
    """Files of a split, as the card names them."""

    split: str | None
    glob: str


def dataset_files(name: str) -> list[DataFile]:
    """The files of `hub:owner/name[@revision][#config/split]`, in their order; downloaded once, then cached.

    Raises:
        InputError: malformed; no such data set, configuration or split; no access; or it holds no files of examples.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError("not the name of a hub data set", where=name, remedy="write hub:owner/name#config/split")
    repository, revision, config, split = match["repository"], match["revision"], match["config"], match["split"]
    folder = fetch(repository, revision, ["README.md"], kind="dataset", error=InputError)
    patterns = _patterns(_configs(folder / "README.md"), config, name)
    if split:
        patterns = [pattern for pattern in patterns if pattern.split in (None, split)]
    wanted = [pattern.glob for pattern in patterns]
    folder = fetch(repository, folder.name, wanted, kind="dataset", error=InputError)
    found = list(_matching(folder, patterns))
    if split:
        found = [(relative, of) for relative, of in found if of == split or _is_named(relative, split)]
    if not found:
        raise InputError(
            f"has no files of examples{f' of the split {split}' if split else ''} ({', '.join(SUFFIXES)})",
            where=name,
            remedy="check configuration and split; for data sets made by code, try @refs/convert/parquet",
        )
    return [DataFile(folder / relative, split_of(of) if of else _split_of_path(relative)) for relative, of in found]


def _patterns(configs: Mapping[str, list[_Pattern]], config: str | None, name: str) -> list[_Pattern]:
    """Which files to fetch: those that the card names, else all of a folder called like the configuration."""
    if not configs:
        folder = f"{config}/" if config else ""
        return [_Pattern(None, f"*{folder}*{s}{c}") for s in SUFFIXES for c in ("", *COMPRESSIONS)]
    chosen = config or ("default" if "default" in configs else next(iter(configs)) if len(configs) == 1 else None)
    if chosen is None:
        listed = ", ".join(configs)
        raise InputError(
            f"has the configurations {listed}", where=name, remedy=f"name one: {name}#{next(iter(configs))}"
        )
    if chosen not in configs:
        raise InputError(f"has no configuration {chosen!r}", where=name, remedy=suggestion(chosen, configs))
    return configs[chosen]


def _configs(card: Path) -> dict[str, list[_Pattern]]:
    """The files of each configuration, from the YAML at the beginning of a data set's card."""
    import yaml

    parts = card.read_text("utf-8").split("\n---", 1) if card.is_file() else []
    if len(parts) != 2 or not parts[0].startswith("---"):
        return {}
    try:
        header = yaml.safe_load(parts[0].removeprefix("---"))
    except yaml.YAMLError:
        return {}
    configs = header.get("configs") if isinstance(header, Mapping) else None
    found = {}
    for entry in configs if isinstance(configs, list) else ():
        if isinstance(entry, Mapping) and (files := list(_data_files(None, entry.get("data_files")))):
            found[str(entry.get("config_name", "default"))] = files
    return found


def _data_files(split: str | None, value: Any) -> Iterable[_Pattern]:
    if isinstance(value, str):
        yield _Pattern(split, value.removeprefix("./"))
    elif isinstance(value, Mapping):
        yield from _data_files(value.get("split", split), value.get("path"))
    elif isinstance(value, list):
        for item in value:
            yield from _data_files(split, item)


def _matching(folder: Path, patterns: Iterable[_Pattern]) -> Iterable[tuple[str, str | None]]:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for relative in files:
        path = PurePosixPath(relative)
        if plain_suffix(Path(relative)) in SUFFIXES and path.name not in _NO_EXAMPLES:
            matches = [pattern.split for pattern in patterns if fnmatch.fnmatchcase(relative, pattern.glob)]
            if matches:
                yield relative, matches[0]


def _is_named(relative: str, split: str) -> bool:
    return any(part.startswith(split) for part in PurePosixPath(relative).parts)


def _split_of_path(relative: str) -> str | None:
    splits = (split_of(part) for part in reversed(PurePosixPath(relative).parts))
    return next((split for split in splits if split is not None), None)
