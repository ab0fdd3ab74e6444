"""What is written in examples, as plain documents: what a tokenizer learns from."""

from collections.abc import Iterator
from pathlib import Path

from inkstone.core.records import Document
from inkstone.core.registry import names
from inkstone.data.corpus import Corpus, Split
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.formats.base import AUTO
from inkstone.data.examples.read import read_examples
from inkstone.data.examples.records import Example


class ExampleTexts:
    """The texts of a folder of examples, read as those of a `Corpus` are."""

    def __init__(self, path: Path) -> None:
        """Read the examples at `path`; raises InputError when they cannot be read or a row is malformed."""
        formats = (*AUTO, *(name for name in names("formats") if name not in AUTO))
        data = read_examples(path, ExamplesConfig(), formats)
        if data.faults:
            raise data.faults[0]
        self._texts = {
            split: [text for each in examples for text in texts_of(each)] for split, examples in data.splits.items()
        }

    def documents(self, split: Split) -> Iterator[Document]:
        """The split's texts, in the order of its examples."""
        for number, text in enumerate(self._texts[split]):
            yield Document(text, f"{split}:{number}", split)

    def texts(self, split: Split) -> Iterator[str]:
        """The same, without what surrounds them."""
        return iter(self._texts[split])

    def num_documents(self, split: Split) -> int:
        """How many texts the split holds."""
        return len(self._texts[split])

    def num_bytes(self, split: Split) -> int:
        """UTF-8 bytes of the split's texts."""
        return sum(len(text.encode()) for text in self._texts[split])


def open_texts(path: Path) -> Corpus | ExampleTexts:
    """The texts of a corpus, or of a folder of examples.

    Raises:
        InputError: it is neither.
    """
    if (path / "train").is_dir() or not (path / "train.jsonl").is_file():
        return Corpus(path)
    return ExampleTexts(path)


def texts_of(example: Example) -> Iterator[str]:
    """Everything that is written in an example, empty texts left out."""
    return (text for _, text in example.texts() if text)
