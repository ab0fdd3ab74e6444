from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from inkstone.data.masking import MaskedSequences, Masker, WordBorders
from inkstone.data.packing import PackedSequence
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.extend import extend_tokenizer
from tests.tiny_models import tiny_tokenizer

FIRST_PLAIN = 5
"""The special tokens are 0 to 4 and, at the end, the mask token."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return extend_tokenizer(tiny_tokenizer(), ["<|mask|>"], mask="<|mask|>")


def ids(count: int, tokenizer: Tokenizer, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(FIRST_PLAIN, tokenizer.vocab_size - 1, count)


class Plain:
    """Sequences of one segment."""

    per_epoch = 10

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def batch(self, start: int, size: int) -> list[PackedSequence]:
        rows = [ids(40, self.tokenizer, index) for index in range(start, start + size)]
        return [PackedSequence(row, row, np.arange(40), np.zeros(40, dtype=np.int64)) for row in rows]


def test_shares_are_those_of_the_paper(tokenizer: Tokenizer) -> None:
    text = ids(200_000, tokenizer)
    masked = Masker(tokenizer).mask(text, np.random.default_rng(1))
    assert len(masked.positions) == 30_000
    assert len(set(masked.positions.tolist())) == 30_000
    assert (np.diff(masked.positions) > 0).all()
    assert (masked.labels == text[masked.positions]).all()
    untouched = np.ones(len(text), dtype=bool)
    untouched[masked.positions] = False
    assert (masked.input_ids[untouched] == text[untouched]).all()
    now = masked.input_ids[masked.positions]
    mask_id = tokenizer.special_tokens["<|mask|>"]
    # Standard errors of the shares: 0.0023, 0.0017 and 0.0017; one random token in 315 is the one that was there.
    assert (now == mask_id).mean() == pytest.approx(0.8, abs=0.01)
    changed = (now != mask_id) & (now != masked.labels)
    assert changed.mean() == pytest.approx(0.1, abs=0.01)
    assert (now == masked.labels).mean() == pytest.approx(0.1, abs=0.01)
    replacements = np.bincount(now[changed], minlength=tokenizer.vocab_size)
    assert replacements[:FIRST_PLAIN].sum() == 0
    assert (replacements[FIRST_PLAIN:mask_id] > 0).mean() > 0.99
    tenths = np.histogram(masked.positions, bins=10, range=(0, len(text)))[0]
    assert tenths == pytest.approx(3000, abs=250)


def test_special_tokens_are_never_hidden_and_what_is_missing_carries_no_loss(tokenizer: Tokenizer) -> None:
    text = np.array([0, 1, 0, 7, 1, 0, 8, 1, 0, 1] * 2)
    masked = Masker(tokenizer, density=0.5).mask(text, np.random.default_rng(0))
    assert masked.positions.tolist() == [3, 6, 13, 16, 0, 0, 0, 0, 0, 0]
    assert masked.labels.tolist() == [7, 8, 7, 8] + [-100] * 6


def words_of(text: str, tokenizer: Tokenizer) -> list[str]:
    token_ids = np.asarray(tokenizer.encode_plain(text))
    begins = WordBorders(tokenizer).begins(token_ids)
    words = np.split(token_ids, np.flatnonzero(begins)[1:])
    return [tokenizer.decode(word.tolist()) for word in words]


def test_words_and_chinese_characters_stay_whole(tokenizer: Tokenizer) -> None:
    words = [word.strip() for word in words_of("unwritten brushes, 2nd", tokenizer)]
    assert [word for word in words if word] == ["unwritten", "brushes", ",", "2nd"]
    assert words_of("鼎盛ab时", tokenizer) == ["鼎", "盛", "ab", "时"]


def test_whole_words_are_hidden_or_none_of_their_tokens(tokenizer: Tokenizer) -> None:
    text = np.asarray(tokenizer.encode_plain("unwritten brushes grind 鼎盛时期 forgotten hieroglyphs, quickly " * 4))
    borders = WordBorders(tokenizer).begins(text).cumsum()
    masker = Masker(tokenizer, density=0.3, whole_words=True)
    hidden = 0
    for seed in range(20):
        masked = masker.mask(text, np.random.default_rng(seed))
        positions = masked.positions[masked.labels != -100]
        hidden += len(positions)
        for word in set(borders[positions]):
            assert set(np.flatnonzero(borders == word)) <= set(positions)
    budget = round(0.3 * len(text))
    assert 0.9 * budget * 20 < hidden <= budget * 20


def test_wordpiece_continuations_belong_to_the_word() -> None:
    import tokenizers
    from tokenizers import models

    vocab = {"[MASK]": 0, "un": 1, "##writ": 2, "##ten": 3, "墨": 4, "砚": 5, "ink": 6}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[MASK]"))
    backend.add_special_tokens(["[MASK]"])
    begins = WordBorders(Tokenizer.from_tokenizers(backend)).begins(np.array([1, 2, 3, 4, 5]))
    assert begins.tolist() == [True, False, False, True, True]


def test_what_is_hidden_depends_on_seed_and_index_alone(tokenizer: Tokenizer) -> None:
    masker, plain = Masker(tokenizer), Plain(tokenizer)
    sequences = MaskedSequences(plain, masker, 0, seed=3)
    whole = sequences.batch(0, 8)
    again = [*MaskedSequences(plain, masker, 0, seed=3).batch(5, 3)]
    for one, other in zip(whole[5:], again, strict=True):
        assert all((mine == theirs).all() for mine, theirs in zip(one, other, strict=True))
    assert all(sequence.input_ids[0] == 0 for sequence in whole)
    assert all(sequence.input_ids.shape == (41,) for sequence in whole)
    other = MaskedSequences(plain, masker, 0, seed=4).batch(0, 8)
    assert any((one.positions != two.positions).any() for one, two in zip(whole, other, strict=True))
    assert len({tuple(sequence.positions) for sequence in whole}) == 8


def test_an_extended_tokenizer_keeps_its_ids() -> None:
    before = tiny_tokenizer()
    after = extend_tokenizer(before, ["<|mask|>", "<|pad|>"], mask="<|mask|>")
    assert after.special == replace(before.special, mask="<|mask|>")
    assert after.special_tokens["<|mask|>"] == before.vocab_size
    assert after.vocab_size == before.vocab_size + 1
    assert "<|mask|>" not in before.special_tokens
    text = "The stone is wet <|mask|>; 磨墨"
    assert after.encode_plain(text) == before.encode_plain(text)
