"""Training sequences with some tokens hidden, for masked language modeling."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inkstone.data.packing import PackedSequence
from inkstone.nn.layers.loss import IGNORED
from inkstone.tokenizer import Tokenizer

_MASKED, _RANDOM = 0.8, 0.1
"""Of the chosen tokens: shares that the mask token replaces, and that any token replaces; the others stay."""

_NOISE = 1
"""Sets these streams apart from the one that orders the sequences."""


class PlainSequences(Protocol):
    """Endless sequences of text, such as `PackedSequences`."""

    per_epoch: int

    def batch(self, start: int, size: int) -> Sequence[PackedSequence]:
        """Sequences `start` to `start + size`."""
        ...


class MaskedSequence(NamedTuple):
    """A text with some tokens hidden; every array is int64."""

    input_ids: NDArray[np.int64]
    """(T,), after masking."""
    positions: NDArray[np.int64]
    """(M,), where the hidden tokens stand, in order; 0 where fewer than M are hidden."""
    labels: NDArray[np.int64]
    """(M,), the hidden tokens themselves; IGNORED where fewer than M are hidden."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def num_targets(self) -> int:
        """Hidden tokens."""
        return int((self.labels != IGNORED).sum())


def noise_of(seed: int, index: int) -> np.random.Generator:
    """The random stream of one example: another for each, the same whenever it comes up."""
    return np.random.default_rng((seed, index, _NOISE))


class Masker:
    """Hides tokens as Devlin et al. 2018 (arXiv:1810.04805), section 3.1 and appendix A.1.

    A share of the tokens is chosen; of these, 80 % become the mask token, 10 % a random token, 10 % stay what they
    are. Special tokens are never chosen.

    Args:
        tokenizer: has a mask token.
        density: share of a sequence's tokens to hide.
        whole_words: hide all tokens of a word, or of a Chinese character, or none.
    """

    def __init__(self, tokenizer: Tokenizer, density: float = 0.15, *, whole_words: bool = False) -> None:
        assert tokenizer.special.mask is not None
        self._mask_id = tokenizer.special_tokens[tokenizer.special.mask]
        self._density = density
        self._is_special = np.zeros(tokenizer.vocab_size, dtype=bool)
        self._is_special[list(tokenizer.special_tokens.values())] = True
        self._plain_ids = np.flatnonzero(~self._is_special)
        self._words = WordBorders(tokenizer) if whole_words else None

    def mask(self, input_ids: NDArray[np.int64], random: np.random.Generator) -> MaskedSequence:
        """Hide tokens of one sequence (T,)."""
        budget = max(1, round(self._density * len(input_ids)))
        chosen = np.sort(self._choose(input_ids, budget, random))
        draws = random.random(len(chosen))
        replaced = np.where(draws < _MASKED, self._mask_id, random.choice(self._plain_ids, len(chosen)))
        masked = input_ids.copy()
        masked[chosen] = np.where(draws < _MASKED + _RANDOM, replaced, input_ids[chosen])
        positions, labels = np.zeros(budget, dtype=np.int64), np.full(budget, IGNORED)
        positions[: len(chosen)] = chosen
        labels[: len(chosen)] = input_ids[chosen]
        return MaskedSequence(masked, positions, labels)

    def _choose(self, input_ids: NDArray[np.int64], budget: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Positions to hide: words in random order, each as long as it fits into what is left of the budget."""
        candidates = np.flatnonzero(~self._is_special[input_ids])
        if self._words is None:
            return random.permutation(candidates)[:budget]
        borders = np.flatnonzero(self._words.begins(input_ids)[candidates])
        words = np.split(candidates, borders[borders > 0])
        chosen: list[int] = []
        for index in random.permutation(len(words)):
            if len(chosen) + len(words[index]) <= budget:
                chosen += words[index].tolist()
            if len(chosen) == budget:
                break
        return np.asarray(chosen, dtype=np.int64)


class WordBorders:
    """Which tokens begin a word, told from the tokens alone.

    A token goes on with the word before it where letters or digits meet, or where it begins inside a character or
    with WordPiece's `##`. Han, kana and other signs that are written without spaces are words of their own, so a
    token of several stays together and a character of several tokens too.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        size = tokenizer.vocab_size
        self._continues = np.zeros(size, dtype=bool)
        self._first_spaced = np.zeros(size, dtype=bool)
        self._last_spaced = np.zeros(size, dtype=bool)
        special = set(tokenizer.special_tokens.values())
        for token_id in set(tokenizer.backend.get_vocab().values()) - special:
            data = tokenizer.token_bytes(token_id)
            text = data.removeprefix(b"##").decode(errors="replace")
            self._continues[token_id] = data.startswith(b"##") or data[:1] in _INSIDE_CHARACTER
            self._first_spaced[token_id] = _is_spaced_letter(text[:1])
            self._last_spaced[token_id] = _is_spaced_letter(text[-1:])

    def begins(self, input_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(T,) ids → (T,), true at the first token of each word."""
        goes_on = self._continues[input_ids]
        goes_on[1:] |= self._first_spaced[input_ids[1:]] & self._last_spaced[input_ids[:-1]]
        return ~goes_on


_INSIDE_CHARACTER = [bytes([byte]) for byte in range(0x80, 0xC0)]
"""Bytes with which no character of UTF-8 begins."""


def _is_spaced_letter(character: str) -> bool:
    """Whether it is a letter or digit of a script that puts spaces between words."""
    if not character.isalnum():
        return False
    return not unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO"))


class MaskedSequences:
    """Sequences with tokens hidden; what is hidden depends on the seed and the sequence's index alone.

    Args:
        sequences: the texts.
        masker: hides.
        first_id: put before every sequence, where the tokenizer begins a text with one.
        seed: of the choice.
    """

    def __init__(self, sequences: PlainSequences, masker: Masker, first_id: int | None, seed: int) -> None:
        self.per_epoch = sequences.per_epoch
        self._sequences, self._masker, self._seed = sequences, masker, seed
        self._before = np.asarray([] if first_id is None else [first_id], dtype=np.int64)

    def batch(self, start: int, size: int) -> Sequence[MaskedSequence]:
        """Sequences `start` to `start + size`."""
        plain = self._sequences.batch(start, size)
        return [
            self._masker.mask(np.concatenate((self._before, sequence.input_ids)), noise_of(self._seed, start + index))
            for index, sequence in enumerate(plain)
        ]
