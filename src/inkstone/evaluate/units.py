"""The units that the bootstrap resamples: documents, or blocks of documents when there are few."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inkstone.core.records import Document
from inkstone.evaluate.confidence import Interval, bootstrap_ratio
from inkstone.evaluate.likelihood import DocumentScore
from inkstone.tokenizer import Tokenizer

Floats = npt.NDArray[np.float64]

FEW_DOCUMENTS = 30
"""Below this many documents, blocks are resampled instead."""
NUM_BLOCKS = 200
SMALLEST_BLOCK = 64
"""Tokens. Neighboring tokens are not independent: shorter blocks would make the interval too narrow."""


@dataclass(frozen=True, slots=True)
class Units:
    """Sums over each unit, all (units,)."""

    nats: Floats
    tokens: Floats
    bytes: Floats
    ngram_bits: Floats
    document: npt.NDArray[np.int64]
    """Index of the document that the unit is a part of."""
    block_tokens: int | None
    """Tokens of one block, None when units are whole documents."""

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Units":
        """The units of some documents; `chosen` is (documents,)."""
        keep = chosen[self.document]
        return Units(
            self.nats[keep], self.tokens[keep], self.bytes[keep], self.ngram_bits[keep], self.document[keep],
            self.block_tokens,
        )  # fmt: skip

    def loss(self, seed: int) -> Interval:
        """Nats per token."""
        return bootstrap_ratio(self.nats, self.tokens, seed=seed)

    def bits_per_byte(self, seed: int) -> Interval:
        """The model's."""
        return bootstrap_ratio(self.nats / np.log(2), self.bytes, seed=seed)

    def ngram_bits_per_byte(self, seed: int) -> Interval:
        """The n-gram model's, on the same bytes."""
        return bootstrap_ratio(self.ngram_bits, self.bytes, seed=seed)

    def advantage_over_ngram(self, seed: int) -> Interval:
        """Bits per byte that the model saves over the n-gram model, from paired resamples."""
        return bootstrap_ratio(self.ngram_bits - self.nats / np.log(2), self.bytes, seed=seed)


def build_units(
    documents: Sequence[Document],
    token_ids: Sequence[Sequence[int]],
    scores: Sequence[DocumentScore],
    ngram_bits: Sequence[Floats],
    tokenizer: Tokenizer,
) -> Units:
    """Sum likelihoods over documents, or over blocks of equally many tokens when documents are few.

    Args:
        documents: what was scored.
        token_ids: their tokens, without special ones.
        scores: the model's, per token.
        ngram_bits: the n-gram model's, per byte.
        tokenizer: tells how many bytes each token covers.
    """
    num_tokens = sum(map(len, token_ids))
    block = None if len(documents) >= FEW_DOCUMENTS else max(SMALLEST_BLOCK, num_tokens // NUM_BLOCKS)
    widths = np.array([len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]) if block else None
    rows: list[tuple[float, float, float, float, int]] = []
    for index, (document, ids, score, bits) in enumerate(zip(documents, token_ids, scores, ngram_bits, strict=True)):
        num_bytes = len(document.text.encode())
        if block is None or widths is None:
            rows.append((score.nll.sum(), len(ids), num_bytes, bits.sum(), index))
            continue
        starts = np.arange(0, len(ids), block)
        edges = _byte_edges(widths[np.asarray(ids, dtype=np.int64)], starts, num_bytes)
        cumulative_bits = np.concatenate([[0.0], np.cumsum(bits)])
        for start, low, high in zip(starts, edges, edges[1:], strict=False):
            nll = score.nll[start : start + block]
            rows.append((nll.sum(), len(nll), high - low, cumulative_bits[high] - cumulative_bits[low], index))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Units(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4].astype(np.int64), block)


def _byte_edges(widths: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], num_bytes: int) -> npt.NDArray[np.int64]:
    """Where blocks begin and end in the document's bytes; exact for byte-level tokens, in proportion for others."""
    ends = np.concatenate([[0], np.cumsum(widths)])
    scale = num_bytes / ends[-1] if ends[-1] else 0.0
    return np.append(np.rint(ends[starts] * scale), num_bytes).astype(np.int64)
