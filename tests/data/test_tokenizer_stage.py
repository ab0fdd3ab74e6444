import json
from pathlib import Path
from typing import Literal

import pytest

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.files import write_json
from inkstone.core.records import Document
from inkstone.core.stage import execute
from inkstone.data.corpus import CorpusWriter
from inkstone.data.tokenizer_stage import TokenizerConfig, tokenizer
from inkstone.tokenizer import Tokenizer

ENGLISH = "An inkstone is where a stick of ink is ground until it can write. "
CHINESE = "砚台是磨墨的石器，墨条在砚上加水研磨。"


def write_corpus(folder: Path, train: list[Document], valid: list[Document]) -> Path:
    with CorpusWriter(folder) as writer:
        for document in train:
            writer.write(document, "train")
        for document in valid:
            writer.write(document, "valid")
    splits = {
        name: {"documents": len(docs), "bytes": sum(len(d.text.encode()) for d in docs)}
        for name, docs in (("train", train), ("valid", valid))
    }
    write_json(folder / "card.json", {"splits": splits})
    write_json(folder / "manifest.json", {})
    return folder


def documents(prefix: str, count: int) -> list[Document]:
    english = [Document(f"{ENGLISH}{n} {prefix}\n" * 20, f"{prefix}-en-{n}", "en.txt", "en") for n in range(count)]
    chinese = [Document(f"{CHINESE}第{n}章\n" * 20, f"{prefix}-zh-{n}", "zh.txt", "zh") for n in range(count)]
    return english + chinese


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", documents("train", 20), documents("valid", 3))


def run(config: TokenizerConfig, corpus: Path, out: Path) -> dict[str, object]:
    out.mkdir()
    return tokenizer.run(config, {"corpus": corpus}, out)


def test_report_and_summary_agree_with_the_tokenizer(corpus: Path, tmp_path: Path) -> None:
    summary = run(TokenizerConfig(vocab_size=500), corpus, tmp_path / "out")
    made = Tokenizer.load(tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    for language in ("en", "zh"):
        texts = [d.text for d in documents("valid", 3) if d.lang == language]
        ratio = sum(len(t.encode()) for t in texts) / sum(len(made.encode_plain(t)) for t in texts)
        assert report["by_language"][language]["bytes_per_token"] == pytest.approx(ratio, abs=1e-4)
        assert summary[f"bytes_per_token_{language}"] == report["by_language"][language]["bytes_per_token"]
    used = {i for d in documents("valid", 3) for i in made.encode_plain(d.text)}
    assert report["vocabulary_used"]["tokens"] == len(used)
    assert report["vocabulary_used"]["of"] == made.vocab_size - 5
    assert report["round_trip"] == {"documents": 6, "mismatches": 0, "listed": []}
    assert summary["round_trip_mismatches"] == 0
    longest = report["longest_tokens"][0]
    assert longest["bytes"] == max(len(made.token_bytes(i)) for i in range(5, made.vocab_size))


def test_characters_cover_both_splits(corpus: Path, tmp_path: Path) -> None:
    summary = run(TokenizerConfig(kind="characters"), corpus, tmp_path / "out")
    known = {c for d in documents("train", 20) + documents("valid", 3) for c in d.text}
    assert summary["vocab_size"] == 6 + len(known)
    assert summary["round_trip_mismatches"] == 0


def test_existing_tokenizer_is_taken_and_its_mismatches_are_listed(corpus: Path, tmp_path: Path) -> None:
    poor = write_corpus(tmp_path / "poor", [Document(ENGLISH, "1", "x")], [])
    run(TokenizerConfig(kind="characters"), poor, tmp_path / "first")
    config = TokenizerConfig(kind="existing", path=tmp_path / "first")
    summary = run(config, corpus, tmp_path / "second")
    report = json.loads((tmp_path / "second/report.json").read_text(encoding="utf-8"))
    assert summary["round_trip_mismatches"] == 6  # no digits, no Chinese
    assert report["unknown_tokens"] > 0
    assert {entry["id"] for entry in report["round_trip"]["listed"]} == {d.id for d in documents("valid", 3)}
    entry = next(e for e in report["round_trip"]["listed"] if e["id"] == "valid-zh-0")
    assert (entry["character"], entry["text"][:3]) == (0, "砚台是")
    assert Tokenizer.load(tmp_path / "second").encode(ENGLISH) == Tokenizer.load(tmp_path / "first").encode(ENGLISH)


def test_max_train_bytes_bounds_what_is_learned_from(corpus: Path, tmp_path: Path) -> None:
    everything = run(TokenizerConfig(vocab_size=400), corpus, tmp_path / "all")
    little = run(TokenizerConfig(vocab_size=400, max_train_bytes=200), corpus, tmp_path / "little")
    assert everything["bytes_per_token"] > little["bytes_per_token"]  # type: ignore[operator]


def test_the_same_twice(corpus: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(TokenizerConfig(vocab_size=400, max_train_bytes=20_000, balance_languages=True), corpus, tmp_path / name)
    for name in ("tokenizer.json", "report.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TokenizerConfig(kind="characters", vocab_size=300), "vocab_size: a tokenizer of kind 'characters'"),
        (TokenizerConfig(kind="existing"), "path: given with kind 'existing'"),
        (TokenizerConfig(path=Path("x")), "path: given with kind 'existing'"),
    ],
)
def test_contradictions_are_refused(config: TokenizerConfig, message: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run(config, corpus, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_empty_corpus_is_one_clear_error(tmp_path: Path) -> None:
    empty = write_corpus(tmp_path / "corpus", [], [])
    with pytest.raises(InputError, match="no text to train a tokenizer on"):
        run(TokenizerConfig(), empty, tmp_path / "out")


def test_as_a_stage(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents("train", 5), [])
    (corpus / "manifest.json").unlink()
    result = execute(tokenizer, TokenizerConfig(vocab_size=300), {"corpus": corpus}, tmp_path / "out")
    assert not result.skipped
    assert execute(tokenizer, TokenizerConfig(vocab_size=300), {"corpus": corpus}, tmp_path / "out").skipped


@pytest.mark.parametrize(("kind", "special"), [("wordpiece", "[MASK]"), ("unigram", "</s>")])
def test_other_subwords(corpus: Path, tmp_path: Path, kind: Literal["wordpiece", "unigram"], special: str) -> None:
    summary = run(TokenizerConfig(kind=kind, vocab_size=150), corpus, tmp_path / "out")
    made = Tokenizer.load(tmp_path / "out")
    assert special in made.special_tokens
    assert summary["vocab_size"] == made.vocab_size <= 150
