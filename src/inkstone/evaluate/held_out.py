"""Text to measure on that is no prepared corpus: a file, or collected documents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from inkstone.core.errors import InputError
from inkstone.core.records import Document
from inkstone.data.corpus import Corpus, Split, read_documents
from inkstone.data.readers.base import Reading, ReadOptions, reader
from inkstone.data.sources import resolve


class EvaluationText(Protocol):
    """What is asked of a corpus to be measured on."""

    path: Path

    def documents(self, split: Split) -> Iterator[Document]:
        """The documents of a split."""

    def texts(self, split: Split) -> Iterator[str]:
        """Their texts."""

    def num_documents(self, split: Split) -> int:
        """How many there are."""

    def num_bytes(self, split: Split) -> int:
        """UTF-8 bytes of their texts."""


class HeldOutText:
    """A corpus whose documents are all held out: no text to train on comes with it."""

    def __init__(self, path: Path, documents: Iterator[Document]) -> None:
        self.path = path
        self._documents = list(documents)

    def documents(self, split: Split) -> Iterator[Document]:
        """All documents for `valid`, none for `train`."""
        return iter(self._documents if split == "valid" else ())

    def texts(self, split: Split) -> Iterator[str]:
        """Their texts."""
        return (document.text for document in self.documents(split))

    def num_documents(self, split: Split) -> int:
        """How many there are."""
        return len(self._documents) if split == "valid" else 0

    def num_bytes(self, split: Split) -> int:
        """UTF-8 bytes of their texts."""
        return sum(len(text.encode()) for text in self.texts(split))


def open_text(path: Path) -> EvaluationText:
    """A corpus of `prepare`, documents of `collect`, or a file that `collect` could read.

    Raises:
        InputError: it is none of these.
    """
    if path.is_file():
        return HeldOutText(path, _read_file(path))
    if (path / "documents").is_dir():
        return HeldOutText(path, read_documents(path / "documents"))
    return Corpus(path)


def _read_file(path: Path) -> Iterator[Document]:
    reading = Reading(ReadOptions())
    for source in resolve([str(path)]).sources:
        yield from reader(source.reader).read(source, reading)
    if reading.problems:
        raise InputError(str(reading.problems[0]), where=path, remedy="correct the file")
