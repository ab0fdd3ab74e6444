"""What a reader is, and what it is given.

A reader is registered under the entry point group `inkstone.readers`. It says which file suffixes (or which `scheme:`)
it reads and yields documents as a stream, in an order that is the same each time.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from inkstone.core.config import Config
from inkstone.core.errors import InputError
from inkstone.core.records import Document
from inkstone.core.registry import lookup, names
from inkstone.data.encoding import decoded
from inkstone.data.streams import byte_chunks

MAX_LISTED = 100


class ReadOptions(Config):
    """How sources become documents."""

    encoding: str | None = None
    """Character encoding of all text files; detected file by file when not set."""
    split: Literal["none", "lines", "paragraphs"] = "none"
    """What one document of a plain text file is: the file, a line, or a paragraph (what empty lines separate)."""
    max_document_chars: int = 4_000_000
    """Longer documents are cut at a paragraph or line border near this size; every cut is counted in the card."""
    text_column: str | None = None
    """Column with the text in JSONL, CSV, TSV and Parquet; `text`, or the only one that can be meant, when not set."""
    columns: tuple[str | tuple[str, ...], ...] = ()
    """Columns to join, each on its own line, into the text: `[classical, modern]`; or several such lists, of which the
    first whose columns are all there is taken file by file: `[[title, author, text], [classical, modern]]`."""
    id_column: str = "id"
    """Column with the document's id, where there is one."""
    lang_column: str = "lang"
    """Column with the document's language, where there is one."""
    header: bool | None = None
    """Whether CSV and TSV files begin with a row of column names; judged from the first rows when not set."""
    column_names: tuple[str, ...] = ()
    """Names for the columns of CSV and TSV files without a header; `column1`, `column2` … when not set."""
    quotes: bool | None = None
    """Whether double quotes enclose fields: by default in CSV, not in TSV."""
    lang: str | None = None
    """Language of every document that does not name its own."""
    on_error: Literal["stop", "skip"] = "stop"
    """At a malformed record or an unreadable rest of a file: stop, or skip it, count it and list it in the card."""

    def column_lists(self) -> list[tuple[str, ...]]:
        """The alternatives in `columns`."""
        lists = [names for names in self.columns if not isinstance(names, str)]
        single = tuple(name for name in self.columns if isinstance(name, str))
        return [*lists, single] if single else lists


@dataclass(frozen=True)
class Source:
    """One file, or one `scheme:` source."""

    path: Path | None
    """None for a scheme source."""
    name: str
    """Short name with forward slashes; ids and the `source` column are made of it."""
    suffix: str
    """`.jsonl` for `books.jsonl.gz`."""
    reader: str
    """Name of the plug-in that reads it."""

    @property
    def file(self) -> Path:
        """The path of a file source."""
        if self.path is None:
            raise InputError("is not a file", where=self.name)
        return self.path


@dataclass
class Reading:
    """One pass over the sources: options in, observations out."""

    options: ReadOptions
    advance: Callable[[int], None] = lambda _: None
    """Told how many bytes of the current file are used."""
    encodings: dict[str, str] = field(default_factory=dict)
    """Encoding of the sources read as text, by source name; emptied by the stage file by file."""
    counts: Counter[str] = field(default_factory=Counter)
    """Records left out or changed, by reason: `empty`, `malformed`, `cut`."""
    problems: list[str] = field(default_factory=list)
    """The first malformed records."""
    used_columns: set[str] = field(default_factory=set)
    text_columns: tuple[str, ...] = ()
    """Columns that the text of the current source is made of."""

    def text(self, source: Source, hint: str | None = None) -> Iterator[str]:
        """The decoded text of a file source, in pieces of about a mebibyte, with line feeds as line ends."""
        chunks = byte_chunks(source.file, self.advance)
        return decoded(
            source.file, chunks, self.options.encoding or hint, lambda name: self.encodings.update({source.name: name})
        )

    def use(self, columns: tuple[str, ...]) -> None:
        """Note which columns the text of the current source is made of."""
        self.text_columns = columns
        self.used_columns.update(columns)

    def malformed(self, cause: str, where: str, remedy: str) -> None:
        """Stop at a malformed record, or note it, as `on_error` says."""
        self.problem(
            InputError(cause, where=where, remedy=f"{remedy}, or set `on_error: skip` to leave such records out")
        )

    def problem(self, error: InputError) -> None:
        """Raise `error`, or note it when `on_error` is `skip`."""
        if self.options.on_error == "stop":
            raise error
        self.counts["malformed"] += 1
        if len(self.problems) < MAX_LISTED:
            self.problems.append(f"{error.where}: {error.cause}")

    def cut(self, document: Document) -> Iterator[Document]:
        """The document, or its parts when it is longer than `max_document_chars`."""
        limit = self.options.max_document_chars
        if len(document.text) <= limit:
            yield document
            return
        yield from self.numbered(pieces(iter([document.text]), limit), document)

    def numbered(self, texts: Iterator[str], whole: Document) -> Iterator[Document]:
        """Documents `id#1`, `id#2` … of the pieces of one document; one piece keeps the id."""
        first = next(texts, "")
        second = next(texts, None)
        if second is None and (not first or first.isspace()):
            self.counts["empty"] += 1
        elif second is None:
            yield _with_text(whole, first, whole.id, {})
        else:
            yield from self._parts(_chain(first, second, texts), whole)

    def _parts(self, texts: Iterator[str], whole: Document) -> Iterator[Document]:
        self.counts["cut documents"] += 1
        number = 0
        for number, text in enumerate(texts, start=1):
            yield _with_text(whole, text, f"{whole.id}#{number}", {"part": number, "part_of": whole.id})
        self.counts["parts of cut documents"] += number


def _chain(first: str, second: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield second
    yield from rest


def _with_text(document: Document, text: str, new_id: str, meta: dict[str, Any]) -> Document:
    return Document(text, new_id, document.source, document.lang, {**document.meta, **meta} if meta else document.meta)


def pieces(texts: Iterator[str], limit: int) -> Iterator[str]:
    """Cut a stream of text into pieces of at most `limit` characters, at the last good border before it."""
    held = ""
    for text in texts:
        held += text
        while len(held) > limit:
            end = _border(held, limit)
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def _border(text: str, limit: int) -> int:
    """Where to cut: after the last empty line, line, sentence or space in the second half; else at the limit."""
    for mark in ("\n\n", "\n", "。", ". ", " "):
        end = text.rfind(mark, limit // 2, limit)
        if end >= 0:
            return end + len(mark)
    return limit


class Reader(Protocol):
    """Reads one kind of source."""

    suffixes: ClassVar[frozenset[str]]
    """File suffixes, without a compression's."""
    scheme: ClassVar[str]
    """`python` for paths such as `python:stdlib`; empty for readers of files."""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the documents of `source`; what is left out is noted on `reading`."""
        ...


def reader(name: str) -> Reader:
    """The reader registered as `name`."""
    found: Reader = lookup("readers", name)()
    return found


@cache
def suffixes() -> dict[str, str]:
    """The reader's name of every known suffix."""
    return {suffix: name for name in names("readers") for suffix in lookup("readers", name).suffixes}


@cache
def _schemes() -> dict[str, str]:
    return {lookup("readers", name).scheme: name for name in names("readers") if lookup("readers", name).scheme}


def reader_for_scheme(path: str) -> str | None:
    """The reader of a path such as `python:stdlib`; None for everything that is a file's path."""
    scheme, colon, _ = path.partition(":")
    return _schemes().get(scheme) if colon else None


def reader_for_suffix(suffix: str, *, explicit: bool, where: Path) -> str | None:
    """The reader of files with `suffix`; a file that was named itself and has no suffix is read as text."""
    found = suffixes().get(suffix)
    if found is None and explicit:
        if suffix == "":
            return "text"
        raise InputError(
            f"files of kind {suffix!r} cannot be read",
            where=where,
            remedy=f"convert the file to one of: {', '.join(sorted(suffixes()))} (each also .gz or .zst)",
        )
    return found
