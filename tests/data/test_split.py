import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import ConfigError, InkstoneError, InputError
from inkstone.core.records import Document
from inkstone.core.stage import execute
from inkstone.data.corpus import Corpus
from inkstone.data.stages import PrepareConfig, prepare

Prepared = Callable[..., Corpus]


def some_texts(count: int, seed: int = 0) -> list[str]:
    source = random.Random(seed)
    return [" ".join("".join(source.choices("abcdefgh", k=5)) for _ in range(12)) for _ in range(count)]


def ids(corpus: Corpus, split: Any) -> set[str]:
    return {document.id for document in corpus.documents(split)}


def test_the_fraction_is_held_out_and_nothing_is_in_both(prepared: Prepared) -> None:
    corpus = prepared(some_texts(2000), valid_fraction=0.1)
    train, valid = set(corpus.texts("train")), set(corpus.texts("valid"))
    assert 140 < len(valid) < 260
    assert not train & valid
    assert train | valid == set(some_texts(2000))


def test_adding_data_never_moves_a_document(prepared: Prepared) -> None:
    before = set(prepared(some_texts(300), valid_fraction=0.1).texts("valid"))
    more = [*some_texts(500, seed=1), *some_texts(300)]
    after = prepared(more, valid_fraction=0.1)
    assert before <= set(after.texts("valid"))
    assert not before & set(after.texts("train"))


def test_copies_fall_on_the_same_side(prepared: Prepared) -> None:
    corpus = prepared(
        [*some_texts(300), *(f"{text} \n" for text in some_texts(300))], deduplicate=False, valid_fraction=0.2
    )
    assert corpus.num_documents("train") + corpus.num_documents("valid") == 600
    assert not set(corpus.texts("train")) & set(corpus.texts("valid"))


def test_split_by_id_is_sha1_modulo(prepared: Prepared) -> None:
    rows = [{"id": f"book-{i}", "text": text} for i, text in enumerate(some_texts(300))]
    corpus = prepared(rows, split_by="id", valid_fraction=0.05)
    expected = {row["id"] for row in rows if int(hashlib.sha1(row["id"].encode()).hexdigest(), 16) % 20 == 0}
    assert ids(corpus, "valid") == expected


def test_split_by_a_column_keeps_books_together(prepared: Prepared) -> None:
    rows = [{"text": text, "book": f"book {i % 40}"} for i, text in enumerate(some_texts(400))]
    corpus = prepared(rows, split_by="meta.book", valid_fraction=0.2)
    books = [{document.meta["book"] for document in corpus.documents(split)} for split in ("train", "valid")]
    assert books[1]
    assert not books[0] & books[1]


def test_valid_ids_are_held_out_in_any_case(prepared: Prepared) -> None:
    rows = [{"id": f"{i}", "text": text} for i, text in enumerate(some_texts(50))]
    assert ids(prepared(rows, valid_fraction=0, valid_ids=["7", "11"]), "valid") == {"7", "11"}


def tail(
    tmp_path: Path, collected: Callable[..., list[Document]], *paths: Path, collect: dict[str, Any], **settings: Any
) -> Corpus:
    collected(*paths, **collect)
    execute(prepare, PrepareConfig(**settings), {"documents": tmp_path / "collected"}, tmp_path / "corpus")
    return Corpus(tmp_path / "corpus")


def test_tail_of_one_file_is_exactly_its_end(tmp_path: Path, collected: Callable[..., list[Document]]) -> None:
    text = "\n".join(some_texts(500))
    (tmp_path / "a.txt").write_text(text)
    corpus = tail(tmp_path, collected, tmp_path / "a.txt", collect={}, valid_tail=0.1)
    border = len(text) * 9 // 10
    assert list(corpus.texts("train")) == [text[:border]]
    assert list(corpus.texts("valid")) == [text[border:]]


def test_tail_of_each_file_when_it_is_in_parts(tmp_path: Path, collected: Callable[..., list[Document]]) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n".join(some_texts(500, seed=ord(name[0]))))
    files = (tmp_path / "a.txt", tmp_path / "b.txt")
    corpus = tail(tmp_path, collected, *files, collect={"max_document_chars": 1000}, valid_tail=0.1)
    for path in files:
        text = path.read_text()
        held = "".join(document.text for document in corpus.documents("valid") if document.source == path.name)
        assert abs(len(held) - len(text) / 10) < 1100
        assert "".join(text.split()).endswith("".join(held.split()))


def test_tail_of_texts_only(tmp_path: Path, collected: Callable[..., list[Document]]) -> None:
    (tmp_path / "a.txt").write_text("\n".join(some_texts(100)))
    (tmp_path / "b.csv").write_text("text\n" + "\n".join(some_texts(400, seed=2)))
    files = (tmp_path / "a.txt", tmp_path / "b.csv")
    settings = {"valid_tail": 0.1, "valid_tail_for": "texts", "valid_fraction": 0.2}
    corpus = tail(tmp_path, collected, *files, collect={}, **settings)
    valid = list(corpus.documents("valid"))
    assert [document.id for document in valid if document.source == "a.txt"] == ["a.txt#tail"]
    rows = [int(document.id.removeprefix("b.csv:")) for document in valid if document.source == "b.csv"]
    assert 50 < len(rows) < 110
    assert min(rows) < 100


def test_an_empty_side_is_an_error_that_says_what_to_do(prepared: Prepared) -> None:
    with pytest.raises(InputError, match=r"all 2 documents fell to train, none to valid\n.*valid_tail=0\.1"):
        prepared(some_texts(2), valid_fraction=0.0001)
    assert prepared(some_texts(2), valid_fraction=0).num_documents("valid") == 0


def test_unknown_key_of_the_split(prepared: Prepared) -> None:
    with pytest.raises(ConfigError, match="cannot split by 'hash'"):
        prepared(some_texts(2), split_by="hash")
    with pytest.raises(InkstoneError, match="valid_fraction"):
        prepared(some_texts(2), valid_fraction=1.5)
