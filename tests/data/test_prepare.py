import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.records import Document
from inkstone.core.registry import register
from inkstone.core.stage import execute
from inkstone.data.corpus import Corpus, CorpusWriter, read_documents
from inkstone.data.filters.base import Drop
from inkstone.data.filters.length import LengthFilter, LengthThresholds
from inkstone.data.stages import PrepareConfig, prepare
from tests.data.test_split import some_texts

Prepared = Callable[..., Corpus]


def dropped(corpus: Corpus) -> dict[tuple[str, str], int]:
    return {(entry["filter"], entry["reason"]): entry["documents"] for entry in corpus.card["dropped"]}


def test_the_card_accounts_for_every_document(prepared: Prepared) -> None:
    texts = [*some_texts(200), "Too short.", "No.", some_texts(1)[0] + " ", "12 34 56 78 90 -- 12 34 56 " * 3]
    corpus = prepared(texts, valid_fraction=0.1)
    card = corpus.card
    assert card["documents_in"] == 204
    assert card["documents"] == 200 == corpus.num_documents("train") + corpus.num_documents("valid")
    assert dropped(corpus) == {
        ("length", "too short"): 2,
        ("letters", "too few letters"): 1,
        ("deduplicate", "same text as an earlier document"): 1,
    }
    kept = [text for split in ("train", "valid") for text in corpus.texts(split)]  # type: ignore[arg-type]
    assert (
        card["bytes"]
        == sum(len(text.encode()) for text in kept)
        == corpus.num_bytes("train") + corpus.num_bytes("valid")
    )
    assert card["bytes_in"] == sum(len(text.encode()) for text in texts)
    assert sum(counts["documents"] for counts in card["languages"].values()) == 200
    assert card["sources"] == {"texts.jsonl": {"kept": 200, "dropped": 4}}
    examples = {example["id"]: example for entry in card["dropped"] for example in entry["examples"]}
    assert examples["texts.jsonl:201"]["text"] == "Too short."
    assert examples["texts.jsonl:203"]["detail"] == "same as texts.jsonl:1"
    markdown = (corpus.path / "card.md").read_text()
    assert "| length | too short | 2 |" in markdown
    assert "Too short." in markdown


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    documents = [
        Document(f"text {i} 雪", f"id {i}", "s", None if i % 2 else "zh", {"n": i, "s": ["é"]}) for i in range(25_000)
    ]
    with CorpusWriter(tmp_path / "corpus") as writer:
        for document in documents:
            writer.write(document, "train")
    assert list(read_documents(tmp_path / "corpus" / "train")) == documents
    assert list(read_documents(tmp_path / "corpus" / "valid")) == []


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with CorpusWriter(tmp_path / "corpus") as writer:
            writer.write(Document("text", "id", "source"), "train")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list((tmp_path / "corpus").iterdir()) == []


def test_workers_change_nothing(tmp_path: Path, prepared: Prepared) -> None:
    texts = [*some_texts(30_000), "Too short.", some_texts(1)[0]]
    one = prepared(texts, workers=1)
    two = tmp_path / "two"
    execute(prepare, PrepareConfig(workers=2), {"documents": tmp_path / "collected"}, two)
    for split in ("train", "valid"):
        assert list(Corpus(two).documents(split)) == list(one.documents(split))  # type: ignore[arg-type]
    assert Corpus(two).card == one.card


def test_everything_dropped_names_the_filter(prepared: Prepared) -> None:
    with pytest.raises(
        InputError, match=r"most \(3 of 3\) by the filter 'length': too short .*\n.*filters\.length=false"
    ):
        prepared(["a.", "b.", "c."])


def test_filters_can_be_changed_and_turned_off(prepared: Prepared) -> None:
    texts = [*some_texts(100), "Short."]
    assert dropped(prepared(texts)) == {("length", "too short"): 1}
    assert dropped(prepared(texts, filters={"length": False})) == {}
    assert dropped(prepared(texts, filters={"length": {"en": {"min_letters": 3}}})) == {}
    with pytest.raises(ConfigError, match="no filter is called 'lenght'"):
        prepared(texts, filters={"lenght": {}})
    with pytest.raises(ConfigError, match="unknown key"):
        prepared(texts, filters={"length": {"en": {"min_leters": 3}}})


def test_a_filter_of_ones_own(prepared: Prepared) -> None:
    class NoA(LengthFilter):
        def judge(self, text: str, limits: LengthThresholds) -> Drop | None:
            return Drop("an a", "1") if text.startswith("a") else None

    register("filters", "no_a")(NoA)
    corpus = prepared(some_texts(100), filters={"no_a": True}, valid_fraction=0.1)
    assert not any(text.startswith("a") for text in corpus.texts("train"))
    assert dropped(corpus)["no_a", "an a"] == sum(text.startswith("a") for text in some_texts(100))


def test_own_language_wins_over_the_guess(prepared: Prepared) -> None:
    corpus = prepared([{"text": text, "lang": "fr-CA"} for text in some_texts(100)])
    assert set(corpus.card["languages"]) == {"fr"}


def test_damaged_and_missing_documents_are_named(tmp_path: Path, prepared: Prepared) -> None:
    prepared(some_texts(3000))
    shard = tmp_path / "collected" / "documents" / "00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 2000] = bytes(2000)
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "00000.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"00000\.parquet: is damaged"):
        prepare.run(PrepareConfig(workers=1), {"documents": folder}, tmp_path / "other")
    (folder / "00000.parquet").unlink()
    with pytest.raises(InputError, match="holds no Parquet files"):
        prepare.run(PrepareConfig(), {"documents": folder}, tmp_path / "other")
    assert not (tmp_path / "other" / "train").exists()


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a corpus"):
        Corpus(tmp_path)


PROGRAM = """
import sys, time
from pathlib import Path
from inkstone.core.stage import execute
from inkstone.data.stages import PrepareConfig, prepare
from inkstone.data import prepare as module
place = module._place
def slow(*args):
    time.sleep(0.0005)
    place(*args)
module._place = slow if sys.argv[3] == "slow" else place
execute(prepare, PrepareConfig(workers=1), {"documents": Path(sys.argv[1])}, Path(sys.argv[2]))
"""


def contents(folder: Path) -> dict[str, Any]:
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("log.txt", "manifest.json", "stage.json")
    ]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_killed_run_leaves_nothing_half_written_and_starts_again(tmp_path: Path, prepared: Prepared) -> None:
    whole = contents(prepared(some_texts(3000)).path)
    out = tmp_path / "killed"
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "collected"), str(out)]
    process = subprocess.Popen([*arguments, "slow"], stderr=subprocess.DEVNULL)
    while not list(out.glob(".train*")):
        time.sleep(0.02)
        assert process.poll() is None
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "train").exists()
    assert not (out / "manifest.json").exists()
    subprocess.run([*arguments, "fast"], check=True, stderr=subprocess.DEVNULL)
    assert contents(out) == whole
    assert json.loads((out / "card.json").read_text())["documents"] == 3000
