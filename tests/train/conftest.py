"""A small corpus and tokenizer for training tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inkstone.core.files import write_json
from inkstone.core.records import Document
from inkstone.data.corpus import SPLITS, CorpusWriter, Split
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_characters
from tests.train.kill import Runner

_LINES = [
    "The stick of ink is ground on the stone until the water is black.",
    "He who learns but does not think is lost.",
    "学而不思则罔，思而不学则殆。",
    "三人行，必有我师焉。",
    "def add(a, b):\n    return a + b\n",
]


def texts(count: int) -> list[str]:
    """Documents of different lengths."""
    return [
        f"{number}: " + " ".join(_LINES[(number + k) % 5] for k in range(1 + number % 4)) for number in range(count)
    ]


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    counts = {split: {"documents": 0, "bytes": 0} for split in SPLITS}
    with CorpusWriter(folder) as writer:
        for number, text in enumerate(texts(120)):
            split: Split = "valid" if number % 10 == 0 else "train"
            writer.write(Document(text, str(number), "test"), split)
            counts[split]["documents"] += 1
            counts[split]["bytes"] += len(text.encode())
    write_json(folder / "card.json", {"splits": counts})
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train_characters(texts(120))


@pytest.fixture(scope="session")
def tokenizer_folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner
