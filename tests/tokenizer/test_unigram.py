"""SentencePiece models of every kind: ids and text as the `sentencepiece` library itself has them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inkstone.tokenizer import Tokenizer
from tests.tokenizer.conftest import CHINESE, ENGLISH

spm = pytest.importorskip("sentencepiece")

TEXTS = [
    ENGLISH, CHINESE, "", " ", "  two  spaces ", "a  b\t\tc\n\nd ", "砚台 inkstone 砚", "ﬁne ｆｕｌｌ １２３ ①",
    "☃☃ 🙂é é",
    "don't  stop", "ends with space ", " begins", "x" * 50, "ABC abc", "<0x41> <s> </s>",
    "already▁there▁", "한국어 텍스트", "　全角　",
]  # fmt: skip
WORDS = [
    "ink",
    " ",
    "  ",
    "\n",
    "砚",
    "台",
    "é",
    "e\u0301",
    "☃",
    "🙂",
    "stone",
    "The",
    "1",
    "２",
    "。",
    ",",
    "\t",
    "ﬁ",
    "<sep>",
    "x▁",
]


def train(folder: Path, **options: Any) -> Any:
    """A tiny model trained by sentencepiece on the test prose."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text((ENGLISH + CHINESE) * 20, encoding="utf-8")
    settings = {"vocab_size": 300, "character_coverage": 0.98, "hard_vocab_limit": False, "minloglevel": 2, **options}
    spm.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "tokenizer"), num_threads=1, **settings
    )
    return spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def random_texts(count: int) -> list[str]:
    source = random.Random(0)
    return ["".join(source.choices(WORDS, k=source.randint(1, 12))) for _ in range(count)]


MODELS: dict[str, dict[str, Any]] = {
    "unigram": {},
    "unigram of bytes": {"byte_fallback": True, "vocab_size": 560},
    "unigram, text as it is": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "unigram, no prefix": {"add_dummy_prefix": False},
    "unigram of symbols": {"user_defined_symbols": ["<sep>", "<cls>"]},
    "unigram, nfkc lower case": {"normalization_rule_name": "nfkc_cf"},
    "bpe": {"model_type": "bpe"},
    "bpe of bytes": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 560, "remove_extra_whitespaces": False,
                     "normalization_rule_name": "identity"},
    "bpe of symbols": {"model_type": "bpe", "user_defined_symbols": ["<sep>"]},
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    folder = tmp_path_factory.mktemp("spm")
    theirs = train(folder, **MODELS[request.param])
    return Tokenizer.load(folder), theirs


def is_plain(ids: Sequence[int], theirs: Any) -> bool:
    return theirs.unk_id() not in ids


def test_ids_are_those_of_sentencepiece(pair: tuple[Tokenizer, Any]) -> None:
    ours, theirs = pair
    for text in [*TEXTS, *random_texts(300)]:
        ids = theirs.encode(text)
        assert ours.encode_plain(text) == ids, text
        if is_plain(ids, theirs):
            assert ours.decode(ids) == theirs.decode(ids), text


def test_saved_as_tokenizer_json_it_is_the_same(pair: tuple[Tokenizer, Any], tmp_path: Path) -> None:
    ours, _ = pair
    ours.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert (tmp_path / "tokenizer.model").is_file()
    assert [again.encode(text) for text in TEXTS] == [ours.encode(text) for text in TEXTS]
    assert [again.encode_plain(text) for text in TEXTS] == [ours.encode_plain(text) for text in TEXTS]
    assert again.special == ours.special
