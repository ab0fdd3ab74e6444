import json

import pytest
from tokenizers import Regex, pre_tokenizers

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.pretokenize import MAX_CJK_RUN, WORDS, build_pre_tokenizer
from inkstone.tokenizer.train import train_bytes_bpe, train_characters
from tests.tokenizer.conftest import CHINESE, ENGLISH


def pieces(text: str) -> list[str]:
    """What `build_pre_tokenizer` separates, as text (its own pieces are in the printable alphabet of bytes)."""
    return [text[a:b] for _, (a, b) in build_pre_tokenizer().pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An inkstone. It's old", ["An", " inkstone", ".", " It", "'s", " old"]),
        (", isn’t it?", [",", " isn", "’t", " it", "?"]),
        ("'def' x", ["'def", "'", " x"]),
        ("砚台,笔。纸", ["砚台", ",", "笔", "。", "纸"]),
        ("1234567 8", ["123", "456", "7", " ", "8"]),
        ("x = 1\n        return y", ["x", " =", " ", "1", "\n       ", " return", " y"]),
        ("f(a):\n    b", ["f", "(a", "):\n", "   ", " b"]),
        ("a  b   ", ["a", " ", " b", "   "]),
        ("naïve cafe\u0301", ["naïve", " cafe\u0301"]),
        ("ink墨汁ink", ["ink", "墨汁", "ink"]),
    ],
)  # fmt: skip
def test_pieces(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


def test_cjk_runs_are_capped() -> None:
    found = pieces("墨" * 10_000 + "カタカナ" * 100)
    assert "".join(found) == "墨" * 10_000 + "カタカナ" * 100
    assert max(map(len, found)) == MAX_CJK_RUN <= 8


def test_word_pattern_loses_nothing() -> None:
    """Every character is in a match: the split has no gap, whatever the text."""
    split = pre_tokenizers.Split(Regex(WORDS), "removed")
    assert split.pre_tokenize_str("".join(map(chr, range(0x3000))) + CHINESE + ENGLISH) == []


def test_training_is_deterministic_and_orders_do_not_matter(texts: list[str]) -> None:
    first, second = train_bytes_bpe(texts, 800), train_bytes_bpe(texts[::-1], 800)
    assert json.loads(first.backend.to_str()) == json.loads(second.backend.to_str())


def test_tokens_stay_short_and_come_from_the_text(bpe: Tokenizer) -> None:
    tokens = [bpe.token_bytes(i) for i in range(5, bpe.vocab_size)]
    assert set(tokens) >= {bytes([b]) for b in range(256)}
    assert max(map(len, tokens)) <= 32
    assert len(set(tokens)) == len(tokens)
    assert b" return" in tokens
    assert "砚".encode() in tokens


def test_small_corpus_gives_a_small_vocabulary() -> None:
    assert train_bytes_bpe(["ab ab ab"], 5000).vocab_size < 5 + 256 + 10


def test_no_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(InputError, match=r"vocabulary of 200 has no room(.|\n)*set vocab_size to 261"):
        train_bytes_bpe(["text"], 200)


@pytest.mark.parametrize("texts", [[], [""]])
def test_no_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text to train a tokenizer on"):
        train_bytes_bpe(texts, 1000)
    with pytest.raises(InputError, match="no text to train a tokenizer on"):
        train_characters(texts)


def test_characters_are_one_token_each() -> None:
    tokenizer = train_characters([CHINESE, ENGLISH])
    known = sorted(set(CHINESE + ENGLISH))
    assert tokenizer.vocab_size == 6 + len(known)
    assert tokenizer.encode_plain("".join(known)) == list(range(6, tokenizer.vocab_size))
    text = ENGLISH + "\n\n" + CHINESE
    assert len(tokenizer.encode_plain(text)) == len(text)
    assert tokenizer.decode(tokenizer.encode_plain(text)) == text
    assert tokenizer.encode("a") == [0, *tokenizer.encode_plain("a")]


def test_unknown_character_becomes_one_unknown_token() -> None:
    tokenizer = train_characters(["ab"])
    assert tokenizer.unk_id == 5
    assert tokenizer.encode_plain("aéé🙂b") == [6, 5, 5, 5, 7]
