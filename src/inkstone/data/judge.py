"""What `prepare` does to each document by itself: clean, guess the language, filter, hash. Runs in worker processes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inkstone.core.records import Document
from inkstone.data.cleaning import clean
from inkstone.data.corpus import COLUMNS, open_shard, shard_damage, text_bytes, to_documents
from inkstone.data.deduplicate import text_key
from inkstone.data.filters.base import Drop, make_filter
from inkstone.data.language import guess_language, normal_language

SNIPPET_CHARS = 160


@dataclass(frozen=True)
class Dropped:
    """A document that a filter dropped."""

    filter: str
    drop: Drop
    snippet: str


@dataclass(slots=True)
class Judged:
    """One document after its judgment; the text is empty when it was dropped."""

    document: Document
    raw_chars: int
    num_bytes: int
    """UTF-8 bytes of the cleaned text."""
    key: bytes
    dropped: Dropped | None


@dataclass
class Group:
    """The judged documents of one row group, in order."""

    judged: list[Judged] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    """Documents altered, by cleaning step."""
    num_bytes: int = 0
    """UTF-8 bytes before cleaning."""


@dataclass(frozen=True)
class Task:
    """One row group of one shard."""

    path: Path
    row_group: int
    num_bytes: int
    """Uncompressed size, for the progress bar."""


def tasks(paths: list[Path]) -> Iterator[Task]:
    """All row groups of the shards, in order."""
    for path in paths:
        with open_shard(path) as file:
            text = file.schema_arrow.get_field_index("text")
            for number in range(file.num_row_groups):
                yield Task(path, number, file.metadata.row_group(number).column(text).total_uncompressed_size)


class Judge:
    """Cleans and judges documents by one configuration of cleaning and filters."""

    def __init__(self, cleaning: bool, filters: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        self.cleaning = cleaning
        self.settings = filters
        self.filters = {name: make_filter(name, overrides) for name, overrides in filters.items()}

    def group(self, task: Task) -> Group:
        """Judge the documents of one row group."""
        group = Group()
        with open_shard(task.path) as file, shard_damage(task.path):
            table = file.read_row_group(task.row_group, columns=list(COLUMNS))
        for document in to_documents(table):
            group.judged.append(self.judge(document, group.changes))
        group.num_bytes = text_bytes(table)
        return group

    def judge(self, document: Document, changes: Counter[str]) -> Judged:
        """Clean and judge one document."""
        raw_chars = len(document.text)
        lang = normal_language(document.lang) if document.lang else None
        text = clean(document.text, code=lang == "code", changes=changes) if self.cleaning else document.text
        document = Document(text, document.id, document.source, lang or guess_language(text), document.meta)
        data = text.encode()
        for name, one in self.filters.items():
            if drop := one.check(document):
                return Judged(without_text(document), raw_chars, len(data), b"", Dropped(name, drop, snippet(text)))
        return Judged(document, raw_chars, len(data), text_key(data), None)


def without_text(document: Document) -> Document:
    """The document with an empty text: all that is told about a dropped one."""
    return replace(document, text="")


def snippet(text: str) -> str:
    """The beginning of a text on one line."""
    return " ".join(text[: 2 * SNIPPET_CHARS].split())[:SNIPPET_CHARS]


_judge: list[Judge] = []


def start_worker(cleaning: bool, filters: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Make this process's judge."""
    _judge[:] = [Judge(cleaning, filters)]


def judge_task(task: Task) -> Group:
    """Judge one row group in a worker process."""
    return _judge[0].group(task)
