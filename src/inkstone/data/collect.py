"""The stage `collect`: from files to documents."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.files import atomic_folder, write_json
from inkstone.core.progress import progress, say
from inkstone.core.records import Document
from inkstone.core.stage import Summary, stage
from inkstone.data.corpus import ShardWriter
from inkstone.data.readers.base import MAX_LISTED, Reading, ReadOptions, Source, reader
from inkstone.data.sources import Resolved, resolve

EXPANSION = 3.0
"""Text bytes per byte of a compressed file, for estimates."""


class CollectConfig(ReadOptions):
    """Which sources to read, and how."""

    paths: tuple[str, ...] = ()
    """Files, folders, globs, `python:stdlib`: txt, md, html, source code, jsonl, csv, tsv, parquet (.gz, .zst)."""


def source_files(config: CollectConfig) -> Iterable[Path]:
    """The files that decide whether the stage has to run again."""
    from inkstone.data.readers.python_stdlib import stdlib_folder

    for source in resolve(config.paths).sources:
        if source.path is not None:
            yield source.path
        elif source.name.startswith("python:"):
            topics = stdlib_folder() / "pydoc_data" / "topics.py"  # its first line carries the release
            yield topics if topics.is_file() else stdlib_folder() / "os.py"


def estimate(config: CollectConfig, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Size of the sources and the disk that their documents will take."""
    sources = resolve(config.paths).sources
    total = sum(_size(source) for source in sources)
    text = sum(
        _size(source) * (EXPANSION if source.path and source.path.suffix in (".gz", ".zst") else 1)
        for source in sources
    )
    return {
        "files": len(sources),
        "source_bytes": total,
        "disk_bytes": int(text * 0.45),
        "memory_bytes": 400_000_000,
        "seconds": text / 60e6,
    }


def _size(source: Source) -> int:
    return source.path.stat().st_size if source.path else 20_000_000


@stage("collect", sources=source_files, plan=estimate)
def collect(config: CollectConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Read files, folders and globs of text into documents."""
    started = time.monotonic()
    if config.max_document_chars < 1000:
        raise ConfigError("must be at least 1000", where="max_document_chars", remedy="choose a larger size")
    resolved = resolve(config.paths)
    card = _Card(resolved)
    reading = Reading(config)
    with atomic_folder(out / "documents") as folder, ShardWriter(folder) as shards:
        _read_all(resolved.sources, reading, shards, card)
        if card.num_documents == 0:
            raise InputError(
                "no document was found: every file is empty"
                + (f" or malformed ({reading.problems[0]})" if reading.problems else ""),
                where=", ".join(config.paths),
                remedy="check that the files hold text",
            )
        unused = [names for names in config.column_lists() if not set(names) <= reading.used_columns]
        if unused and len(unused) == len(config.column_lists()):
            columns = ", ".join(unused[0])
            raise InputError(
                f"no file has the columns {columns}",
                where="collect.columns",
                remedy="check their spelling, or name them with `column_names`",
            )
    seconds = time.monotonic() - started
    write_json(out / "card.json", card.as_dict(shards, reading))
    for reason, count in reading.counts.items():
        say(f"collect: {count:,} {reason}")
    if resolved.skipped_suffixes:
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in resolved.skipped_suffixes.most_common(5))
        say(f"collect: files of unknown kind left out: {kinds}")
    return {
        "documents": shards.num_documents,
        "bytes": shards.num_bytes,
        "sources": len(resolved.sources),
        **dict(reading.counts),
        "mb_per_s": round(shards.num_bytes / 1e6 / max(seconds, 1e-9), 1),
    }


def _read_all(sources: list[Source], reading: Reading, shards: ShardWriter, card: "_Card") -> None:
    total = sum(_size(source) for source in sources)
    with progress("collect", total, "byte") as bar:
        done = 0
        for source in sources:
            position = done

            def advance(used: int, position: int = position) -> None:
                bar.update(0, done=position + used, documents=card.num_documents)

            reading.advance = advance
            card.begin(source)
            try:
                for document in reader(source.reader).read(source, reading):
                    card.add(document)
                    shards.write(document)
            except InputError as error:
                reading.problem(error)
            card.end(reading.encodings.pop(source.name, None), reading.text_columns)
            reading.text_columns = ()
            done += _size(source)
            bar.update(0, done=done, documents=card.num_documents)


class _Card:
    """What is told about each source; only the first sources are listed one by one, all are counted."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.num_documents = 0
        self.languages: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.encodings: Counter[str] = Counter()
        self.listed: list[dict[str, Any]] = []
        self.current: dict[str, Any] = {}

    def begin(self, source: Source) -> None:
        self.kinds[source.suffix.removeprefix(".") or source.reader] += 1
        self.current = {"name": source.name, "reader": source.reader, "encoding": None, "documents": 0, "characters": 0}

    def add(self, document: Document) -> None:
        self.num_documents += 1
        self.languages[document.lang or "unknown"] += 1
        self.current["documents"] += 1
        self.current["characters"] += len(document.text)

    def end(self, encoding: str | None, text_columns: tuple[str, ...]) -> None:
        self.current["encoding"] = encoding
        if text_columns:
            self.current["text_columns"] = list(text_columns)
        if encoding:
            self.encodings[encoding] += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(self.current)

    def as_dict(self, shards: ShardWriter, reading: Reading) -> dict[str, Any]:
        return {
            "documents": shards.num_documents,
            "bytes": shards.num_bytes,
            "num_sources": len(self.resolved.sources),
            "sources": self.listed,
            "kinds": dict(self.kinds.most_common()),
            "encodings": dict(self.encodings.most_common()),
            "languages": dict(self.languages.most_common()),
            "skipped_files": dict(self.resolved.skipped_suffixes.most_common()),
            "counts": dict(reading.counts),
            "problems": reading.problems,
        }
