"""WordPiece and Unigram learned here, and read by `transformers`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train_subwords import train_unigram, train_word_pieces
from tests.tokenizer.conftest import CHINESE, ENGLISH

TEXTS = [ENGLISH, CHINESE, "", "an  inkstone ☃", "a [CLS] </s> b"]


def test_word_pieces() -> None:
    tokenizer = train_word_pieces([ENGLISH, CHINESE], 400)
    assert tokenizer.special_tokens == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.mask_id) == (0, 1, 4)
    assert 5 < tokenizer.vocab_size <= 400
    pair = tokenizer.encode_with_offsets("ink", "砚台")
    assert pair.ids == [2, *tokenizer.encode_plain("ink"), 3, *tokenizer.encode_plain("砚台"), 3]
    assert pair.token_type_ids == [0] * (len(pair) - 3) + [1] * 3
    assert tokenizer.decode(tokenizer.encode("An inkstone is old")) == "An inkstone is old"
    assert tokenizer.encode("☃") == [2, 1, 3]
    lower = train_word_pieces([ENGLISH], 400, lower_case=True)
    assert lower.encode("AN INKSTONE") == lower.encode("an inkstone")


def test_unigram() -> None:
    tokenizer = train_unigram([ENGLISH, CHINESE] * 5, 300)
    assert tokenizer.special_tokens == {"<pad>": 0, "</s>": 1, "<unk>": 2}
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.bos_id) == (0, 1, 2, None)
    assert 100 < tokenizer.vocab_size <= 300
    for text in ("An inkstone is old", "砚台是磨墨的石器"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("ink")[-1] == 1
    assert 1 not in tokenizer.encode_plain("</s>")


@pytest.mark.parametrize("train", [train_word_pieces, train_unigram])
def test_transformers_reads_it(train: Callable[..., Tokenizer], tmp_path: Path) -> None:
    ours = train([ENGLISH, CHINESE] * 3, 300)
    ours.save(tmp_path)
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(str(tmp_path))
    again = Tokenizer.load(tmp_path)
    assert again.special == ours.special
    for text in TEXTS:
        ids = ours.encode(text)
        assert theirs(text).input_ids == again.encode(text) == ids
        assert theirs.decode(ids, skip_special_tokens=True) == again.decode(ids) == ours.decode(ids)


@pytest.mark.parametrize("train", [train_word_pieces, train_unigram])
def test_what_cannot_be_learned_is_refused(train: Callable[..., Tokenizer]) -> None:
    with pytest.raises(InputError, match="no text to train a tokenizer on"):
        train([""], 300)
    with pytest.raises(InputError, match="vocabulary of 3 has no room"):
        train([ENGLISH], 3)
