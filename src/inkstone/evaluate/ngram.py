"""A byte-level n-gram model with interpolated modified Kneser–Ney smoothing, for language models to beat.

The probability of byte c after context h (Chen and Goodman 1999, section 3):

    p(c | h) = max(N(hc) − D(N(hc)), 0) / N(h·) + γ(h) p(c | h'),   γ(h) = Σ_c D(N(hc)) / N(h·)

where h' is h without its first byte, D takes one of three values for counts 1, 2 and 3 or more, and below the highest
order N(hc) is the number of different bytes seen before hc. The lowest order is interpolated with 1/256; an unseen
context passes its whole weight on. N-grams are packed into unsigned 64-bit integers and kept sorted: training is a sort
per order, scoring a binary search.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inkstone.core.errors import ConfigError

MAX_ORDER = 8
"""Bytes that fit in one 64-bit integer."""
ALPHABET = 256
_SMALLEST_DISCOUNT = 0.05
_QUERY_CHUNK = 1 << 20

Keys = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Order:
    """The n-grams of one length, sorted, with running sums from which any context's totals are differences."""

    keys: Keys
    counts: npt.NDArray[np.int32]
    cumulative: npt.NDArray[np.int64]
    """(n + 1,) running sum of counts."""
    cumulative_discounts: Floats
    """(n + 1,) running sum of every n-gram's discount."""
    discounts: Floats
    """(4,) discount of counts 0, 1, 2 and 3 or more."""


class ByteNgram:
    """Probabilities of the next byte given up to ``order - 1`` bytes before it, within one document."""

    def __init__(self, orders: Sequence[_Order]) -> None:
        self._orders = orders
        self.order = len(orders)

    @classmethod
    def train(cls, documents: Iterable[bytes], order: int = MAX_ORDER) -> "ByteNgram":
        """Count the n-grams of `documents`; memory is about 20 bytes for each byte of ordinary text.

        A document begins after ``order - 1`` zero bytes, so that its first bytes have a context of their own.
        """
        if not 1 <= order <= MAX_ORDER:
            raise ConfigError(f"an n-gram order of {order} is not between 1 and {MAX_ORDER}", where="ngram_order")
        keys, counts = _count(_keys(documents, order))
        orders = [_order(keys, counts)]
        for length in range(order - 1, 0, -1):
            keys, counts = _count(keys & _mask(length))
            orders.append(_order(keys, counts))
        return cls(orders[::-1])

    def score(self, documents: Sequence[bytes], on_scored: Callable[[int], None] | None = None) -> list[Floats]:
        """Bits (−log2 probability) of each byte of each document."""
        bits: list[Floats] = []
        for chunk in _chunks(documents):
            scored = -np.log2(self._probabilities(_keys(chunk, self.order)))
            lengths = [len(document) for document in chunk]
            bits.extend(np.split(scored, np.cumsum(lengths)[:-1]))
            if on_scored is not None:
                on_scored(sum(lengths))
        return bits

    def probabilities(self, context: bytes) -> Floats:
        """The distribution over the byte after `context`, (256,); a short context begins a document."""
        padded = (bytes(self.order) + context)[-(self.order - 1) :] if self.order > 1 else b""
        prefix = np.uint64(int.from_bytes(padded, "big") << 8)
        return self._probabilities(prefix | np.arange(ALPHABET, dtype=np.uint64))

    def _probabilities(self, keys: Keys) -> Floats:
        """Probability of each key's last byte after its others."""
        probability = np.full(len(keys), 1 / ALPHABET)
        for length, order in enumerate(self._orders, start=1):
            if len(order.keys) == 0:
                continue
            # Sorted queries walk through memory in order, which makes the searches several times faster.
            queries, inverse = np.unique(keys & _mask(length), return_inverse=True)
            first = np.searchsorted(order.keys, queries & ~np.uint64(0xFF))
            last = np.searchsorted(order.keys, queries | np.uint64(0xFF), side="right")
            total = order.cumulative[last] - order.cumulative[first]
            backoff = order.cumulative_discounts[last] - order.cumulative_discounts[first]
            at = np.minimum(np.searchsorted(order.keys, queries), len(order.keys) - 1)
            count = np.where(order.keys[at] == queries, order.counts[at], 0)
            kept = count - order.discounts[np.minimum(count, 3)]
            seen = np.maximum(total, 1)
            weight = np.where(total > 0, backoff / seen, 1.0)
            probability = (kept / seen)[inverse] + weight[inverse] * probability
        return probability


def _keys(documents: Iterable[bytes], order: int) -> Keys:
    """The n-gram that ends at each byte of the documents, in order, packed with its last byte lowest."""
    parts = [part for document in documents for part in (bytes(order - 1), document)]
    if not parts:
        return np.zeros(0, np.uint64)
    stream = np.frombuffer(b"".join(parts), np.uint8)
    is_text = np.repeat(np.arange(len(parts)) % 2 == 1, [len(part) for part in parts])[order - 1 :]
    keys = np.zeros(len(is_text), np.uint64)
    for offset in range(order):
        keys <<= np.uint64(8)
        keys |= stream[offset : offset + len(keys)]
    return keys[is_text]


def _count(keys: Keys) -> tuple[Keys, npt.NDArray[np.int32]]:
    """Sort `keys` in place; the different ones, and how often each occurs."""
    keys.sort()
    is_first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    return keys[starts], np.diff(starts, append=len(keys)).astype(np.int32)


def _order(keys: Keys, counts: npt.NDArray[np.int32]) -> _Order:
    discounts = _discounts(counts)
    return _Order(
        keys,
        counts,
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        np.concatenate([[0.0], np.cumsum(discounts[np.minimum(counts, 3)])]),
        discounts,
    )


def _discounts(counts: npt.NDArray[np.int32]) -> Floats:
    """Chen and Goodman's estimates of the three discounts, kept positive so that no byte has probability zero."""
    n1, n2, n3, n4 = (np.count_nonzero(counts == count) for count in (1, 2, 3, 4))
    discounts = np.zeros(4)
    if min(n1, n2, n3) == 0:
        discounts[1:] = 0.5
        return discounts
    ratio = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * ratio * n2 / n1, 2 - 3 * ratio * n3 / n2, 3 - 4 * ratio * n4 / n3]
    discounts[1:] = [min(max(d, _SMALLEST_DISCOUNT), count) for count, d in enumerate(estimates, start=1)]
    return discounts


def _mask(length: int) -> np.uint64:
    return np.uint64(2 ** (8 * length) - 1)


def _chunks(documents: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Documents in groups of about a million bytes."""
    chunk: list[bytes] = []
    held = 0
    for document in documents:
        chunk.append(document)
        held += len(document)
        if held >= _QUERY_CHUNK:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
