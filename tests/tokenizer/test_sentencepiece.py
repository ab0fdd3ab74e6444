"""Llama 2's tokenizer.model against llama2.c's export of the same vocabulary and a naive SentencePiece encoder."""

import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.sentencepiece import read_sentencepiece
from tests.tokenizer.conftest import CHINESE, ENGLISH

TEXTS = [
    "Hello world", ENGLISH, CHINESE, "", " ", "  two  spaces ", "🙂é\u0301 قلم 한국어\n\n\t",
    "def f(x):\n    return 123",
]  # fmt: skip


def read_llama2c(path: Path) -> list[tuple[bytes, float]]:
    """llama2.c's tokenizer.bin: longest length, then score, length and bytes of each token."""
    data, at, tokens = path.read_bytes(), 4, []
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        tokens.append((data[at + 8 : at + 8 + length], score))
        at += 8 + length
    return tokens


def naive_encode(text: str, scores: dict[str, float], ids: dict[str, int]) -> list[int]:
    """SentencePiece BPE by its definition: merge the pair that makes the piece of the highest score, leftmost first."""
    symbols = list(("▁" + text).replace(" ", "▁")) if text else []
    while True:
        pairs = [(scores.get(a + b), n) for n, (a, b) in enumerate(itertools.pairwise(symbols))]
        known = [(-score, n) for score, n in pairs if score is not None]
        if not known:
            break
        _, n = min(known)
        symbols[n : n + 2] = [symbols[n] + symbols[n + 1]]
    out = []
    for symbol in symbols:
        out += [ids[symbol]] if symbol in ids else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return out


@pytest.fixture(scope="module")
def folder(shared_data: Callable[[str], Path]) -> Path:
    return shared_data("weights/llama2_tokenizer")


def test_pieces_and_scores_are_those_of_llama2c(folder: Path) -> None:
    model, exported = read_sentencepiece(folder / "tokenizer.model"), read_llama2c(folder / "tokenizer.bin")
    assert len(model.pieces) == len(exported) == 32000
    for (piece, score, _), (raw, other) in list(zip(model.pieces, exported, strict=True))[259:]:
        assert piece.replace("▁", " ").encode() == raw
        assert score == other


def test_ids_are_those_of_the_naive_encoder(folder: Path) -> None:
    pieces = read_sentencepiece(folder / "tokenizer.model").pieces
    ids = {piece: n for n, (piece, _, _) in enumerate(pieces)}
    scores = {piece: score for piece, score, kind in pieces if kind == 1}
    ours = Tokenizer.load(folder)
    for text in TEXTS:
        assert ours.encode_plain(text) == naive_encode(text, scores, ids)
        assert ours.decode(ours.encode(text)) == text
    assert ours.encode("Hello world") == [1, 15043, 3186]
    assert (ours.bos_id, ours.eos_id, ours.unk_id, ours.vocab_size) == (1, 2, 0, 32000)


def test_saved_as_tokenizer_json_it_is_the_same(folder: Path, tmp_path: Path) -> None:
    ours = Tokenizer.load(folder / "tokenizer.model")
    ours.save(tmp_path)
    transformers = pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for text in TEXTS:
        assert theirs(text).input_ids == Tokenizer.load(tmp_path).encode(text) == ours.encode(text)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\xff\xff"])
def test_damaged_model_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.model: (.|\n)*remedy"):
        Tokenizer.load(tmp_path)
