"""The stage `examples`: from files of any layout to train, valid and test in the ecosystem's own schema."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.files import atomic_file, write_json
from inkstone.core.progress import say
from inkstone.core.stage import Summary, stage
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.gather import Gathered, gather, source_paths
from inkstone.data.examples.hub import PREFIX
from inkstone.data.examples.output import Output
from inkstone.data.examples.splits import SPLITS, is_for_validation
from inkstone.data.examples.stage_config import ExamplesStageConfig, SourceConfig

_OUTLINE_BYTES = 200_000_000


def source_files(config: ExamplesStageConfig) -> Iterator[Path]:
    """The files that decide whether the stage has to run again."""
    for source in config.sources:
        for _, path in source_paths(source):
            yield from (Path(part.strip()) for part in path.split("|"))


def estimate(config: ExamplesStageConfig, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Size of the files that are here, and what they will take."""
    here = [
        source.model_copy(update={"paths": tuple(path for path in source.paths if not path.startswith(PREFIX))})
        for source in config.sources
    ]
    total = sum(path.stat().st_size for path in source_files(config.model_copy(update={"sources": tuple(here)})))
    return {"source_bytes": total, "disk_bytes": int(1.3 * total), "memory_bytes": 60_000_000 + 12 * total}


def outline(config: ExamplesStageConfig, inputs: Mapping[str, Path], out: Path) -> None:
    """The examples themselves, where reading them takes seconds.

    Raises:
        InputError: there are too many, or they are not here.
    """
    remote = any(path.startswith(PREFIX) for source in config.sources for path in source.paths)
    if remote or estimate(config, inputs)["source_bytes"] > _OUTLINE_BYTES:
        raise InputError("the examples are too many to be read for a plan", remedy="run this stage first")
    examples.run(config, inputs, out)


@stage("examples", sources=source_files, plan=estimate, outline=outline)
def examples(config: ExamplesStageConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Gather examples from files of any layout: columns named, splits made, duplicates and leakage dropped."""
    if not config.sources:
        raise ConfigError("no source is given", where="examples.sources", remedy="name files: `- paths: [train.jsonl]`")
    gathered = [_gather(source, number) for number, source in enumerate(config.sources)]
    chosen = _one_format(gathered)
    _check_faults(gathered, config)
    if not any(entry.split == "valid" for source in gathered for entry in source.entries):
        _hold_out(gathered, config.valid_fraction)
    output = Output(chosen, config)
    for split in reversed(SPLITS):
        for source in gathered:
            output.add(source, split)
    for split, rows in output.rows.items():
        with atomic_file(out / f"{split}.jsonl", "w") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    card = output.card(gathered)
    write_json(out / "card.json", card)
    for reason, count in card["dropped"].items():
        say(f"examples: {count:,} {reason}")
    return {"format": chosen.name, **card["splits"], **card["dropped"]}


def _gather(source: SourceConfig, number: int) -> Gathered:
    if not source.paths:
        raise ConfigError("no path is given", where=f"examples.sources.{number}", remedy="name files: [train.jsonl]")
    gathered = gather(source)
    if not gathered.entries and not gathered.faults:
        raise InputError("there are no examples", where=", ".join(source.paths), remedy="check the files and `limit`")
    for old in source.replace:
        if not gathered.counts[f"replaced {old}"]:
            raise ConfigError(f"{old!r} is nowhere in the files", where="replace", remedy="check its spelling")
    return gathered


def _one_format(gathered: Sequence[Gathered]) -> Format[Any]:
    """The format of all sources.

    Raises:
        InputError: they have different ones, or there is no row at all.
    """
    formats = {source.format.name: source.format for source in gathered if source.format is not None}
    if len(formats) == 1:
        return formats.popitem()[1]
    if not formats:
        raise next(fault for source in gathered for fault in source.faults)
    listed = ", ".join(f"{source.name}: {source.format.name}" for source in gathered if source.format is not None)
    remedy = "set `format` and `columns` so that all are of one, or make two stages"
    raise InputError(f"the sources have different formats ({listed})", where="examples.sources", remedy=remedy)


def _check_faults(gathered: Sequence[Gathered], config: ExamplesStageConfig) -> None:
    faults = [fault for source in gathered for fault in source.faults]
    if not faults:
        return
    if config.on_error == "stop":
        more = f" (and {len(faults) - 1:,} more malformed rows)" if len(faults) > 1 else ""
        remedy = f"{faults[0].remedy}; or set `on_error: skip` to leave malformed rows out, counted"
        raise InputError(faults[0].cause + more, where=faults[0].where, remedy=remedy)


def _hold_out(gathered: Iterable[Gathered], fraction: float) -> None:
    for source in gathered:
        for entry in source.entries:
            if entry.split == "train" and is_for_validation(entry.group, fraction):
                entry.split = "valid"
