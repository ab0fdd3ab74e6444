"""Training sequences with spans cut out of a text, to be written back: the denoising of encoder–decoders."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkstone.data.masking import PlainSequences, noise_of


class CorruptedText(NamedTuple):
    """What the encoder reads and what the decoder writes; both arrays are int64."""

    input_ids: NDArray[np.int64]
    """(S,), a sentinel in place of every span that was cut out, then the end token."""
    labels: NDArray[np.int64]
    """(T,), every sentinel followed by its span, or the whole text; then the end token."""


class SpanCorruption:
    """Cuts random spans out of a sequence (Raffel et al. 2019, arXiv:1910.10683, section 3.1.4).

    What is to be written back are the spans, or the whole text (Lewis et al. 2019, arXiv:1910.13461, section 2.2), from
    which a decoder learns to copy.

    Of a sequence of N tokens, `density · N` are cut out in spans of `mean_span_length` on average. How many tokens
    and spans depends on N alone, so all sequences of one length give batches of one shape.

    Args:
        sentinel_ids: tokens that stand for the first span, the second …
        eos_id: ends input and labels; None where the tokenizer has no such token.
        density: share of the tokens to cut out.
        mean_span_length: in tokens.
        whole_text: write the whole text back.
    """

    def __init__(
        self,
        sentinel_ids: Sequence[int],
        eos_id: int | None,
        density: float = 0.15,
        mean_span_length: float = 3.0,
        *,
        whole_text: bool = False,
    ) -> None:
        self._sentinels = np.asarray(sentinel_ids, dtype=np.int64)
        self._end = np.asarray([] if eos_id is None else [eos_id], dtype=np.int64)
        self._density, self._mean_span_length = density, mean_span_length
        self._whole_text = whole_text

    def corrupt(self, input_ids: NDArray[np.int64], random: np.random.Generator) -> CorruptedText:
        """Cut spans out of one sequence (N,)."""
        return self.cut(input_ids, self.random_spans(len(input_ids), random))

    def cut(self, input_ids: NDArray[np.int64], is_noise: NDArray[np.bool_]) -> CorruptedText:
        """Cut out the runs of `is_noise`, (N,), of a sequence (N,); spans as labels mirror the input."""
        source = self._with_sentinels(input_ids, is_noise)
        target = input_ids if self._whole_text else self._with_sentinels(input_ids, ~is_noise)
        return CorruptedText(np.concatenate((source, self._end)), np.concatenate((target, self._end)))

    def random_spans(self, length: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """(N,), true in the spans to cut out: text and spans take turns, text first, a span last."""
        num_noise, num_spans = count_noise(length, self._density, self._mean_span_length)
        noise = _random_lengths(num_noise, num_spans, random)
        text = _random_lengths(length - num_noise, num_spans, random)
        turns = np.stack((text, noise), axis=1).ravel()
        return np.repeat(np.arange(len(turns)) % 2 == 1, turns)

    def _with_sentinels(self, input_ids: NDArray[np.int64], cut: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The sequence with the first sentinel in place of the first run of `cut`, and so on."""
        begins = cut & ~np.concatenate(([False], cut[:-1]))
        values = np.where(begins, self._sentinels[begins.cumsum() - 1], input_ids)
        return values[begins | ~cut]


def count_noise(length: int, density: float, mean_span_length: float) -> tuple[int, int]:
    """Tokens to cut out of a sequence of `length` ≥ 2, and the number of spans that they make, at least one each."""
    num_noise = min(max(round(length * density), 1), length - 1)
    num_spans = min(max(round(num_noise / mean_span_length), 1), length - num_noise)
    return num_noise, num_spans


def _random_lengths(total: int, parts: int, random: np.random.Generator) -> NDArray[np.int64]:
    """`total` divided into so many parts of at least 1, every division equally likely."""
    borders = np.sort(random.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(borders, prepend=0, append=total)


class CorruptedTexts:
    """Sequences with spans cut out; which ones depends on the seed and the sequence's index alone."""

    def __init__(self, sequences: PlainSequences, corruption: SpanCorruption, seed: int) -> None:
        self.per_epoch = sequences.per_epoch
        self._sequences, self._corruption, self._seed = sequences, corruption, seed

    def batch(self, start: int, size: int) -> Sequence[CorruptedText]:
        """Sequences `start` to `start + size`."""
        return [
            self._corruption.corrupt(sequence.input_ids, noise_of(self._seed, start + index))
            for index, sequence in enumerate(self._sequences.batch(start, size))
        ]
