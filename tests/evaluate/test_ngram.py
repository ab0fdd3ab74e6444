"""The vectorized n-gram model against one written with dictionaries, straight from the formula."""

import itertools
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from inkstone.core.errors import ConfigError
from inkstone.evaluate import ngram
from inkstone.evaluate.ngram import ByteNgram

TEXTS = [
    "砚台是磨墨的石器。墨条在砚上加水研磨，便成了墨汁。".encode(),
    b"An inkstone is where a stick of ink is ground until it can write. An inkstone is old.",
    Path(ngram.__file__).read_bytes()[:6000],
    b"",
    b"\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
]


class Reference:
    """Interpolated modified Kneser–Ney with dictionaries of byte strings."""

    def __init__(self, documents: list[bytes], order: int) -> None:
        self.order = order
        padded = [bytes(order - 1) + document for document in documents]
        top = Counter(text[i - order : i] for text in padded for i in range(order, len(text) + 1))
        self.counts: dict[int, Counter[bytes]] = {order: top}
        for length in range(order - 1, 0, -1):
            lefts = defaultdict(set)
            for gram in self.counts[length + 1]:
                lefts[gram[1:]].add(gram[0])
            self.counts[length] = Counter({gram: len(before) for gram, before in lefts.items()})
        self.discounts = {length: self._discounts(list(c.values())) for length, c in self.counts.items()}

    @staticmethod
    def _discounts(counts: list[int]) -> list[float]:
        n = [counts.count(k) for k in range(5)]
        if 0 in n[1:4]:
            return [0, 0.5, 0.5, 0.5]
        y = n[1] / (n[1] + 2 * n[2])
        values = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return [0, *(min(max(value, 0.05), k) for k, value in zip((1, 2, 3), values, strict=True))]

    def probability(self, context: bytes, byte: int, length: int | None = None) -> float:
        length = self.order if length is None else length
        if length == 0:
            return 1 / 256
        history = context[len(context) - (length - 1) :]
        counts, discounts = self.counts[length], self.discounts[length]
        following = {b: counts[history + bytes([b])] for b in range(256) if history + bytes([b]) in counts}
        lower = self.probability(context, byte, length - 1)
        total = sum(following.values())
        if total == 0:
            return lower
        gamma = sum(discounts[min(count, 3)] for count in following.values()) / total
        count = following.get(byte, 0)
        return max(count - discounts[min(count, 3)], 0) / total + gamma * lower


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_equals_the_formula_with_dictionaries(order: int) -> None:
    model, reference = ByteNgram.train(TEXTS, order), Reference(TEXTS, order)
    unseen = [b"A stone until then.", "墨汁研磨。".encode(), b"\xff\xfe\x00zzz", b"n"]
    for document, bits in zip(unseen, model.score(unseen), strict=True):
        padded = bytes(order - 1) + document
        expected = [
            -math.log2(reference.probability(padded[i : i + order - 1], padded[i + order - 1]))
            for i in range(len(document))
        ]
        np.testing.assert_allclose(bits, expected, rtol=1e-10)


@pytest.mark.parametrize("order", [1, 3, 5, 8])
def test_probabilities_sum_to_one_and_none_is_zero(order: int) -> None:
    model = ByteNgram.train(TEXTS, order)
    noise = random.Random(0)
    contexts = [b"", b"An in", b"inkstone is", "研磨".encode(), b"\xff" * 9, b"\x00" * 9, noise.randbytes(12), b"q"]
    for context in contexts:
        distribution = model.probabilities(context)
        assert distribution.shape == (256,)
        assert distribution.sum() == pytest.approx(1, abs=1e-12)
        assert distribution.min() > 0


def test_score_agrees_with_the_distributions() -> None:
    model = ByteNgram.train(TEXTS, 5)
    document = b"An inkstone of old."
    [bits] = model.score([document])
    for i, byte in enumerate(document):
        assert bits[i] == pytest.approx(-math.log2(model.probabilities(document[:i])[byte]))


def test_known_source_is_learned_to_its_entropy() -> None:
    """A Markov chain with 1.5 bits per symbol: the model comes close to it and cannot do better."""
    chain = random.Random(1)
    symbols = b"abcd"

    def sample(length: int) -> bytes:
        state, out = 0, bytearray()
        for _ in range(length):
            state = (state + chain.choices((0, 1, 2), (0.5, 0.25, 0.25))[0]) % 4
            out.append(symbols[state])
        return bytes(out)

    model = ByteNgram.train([sample(200_000)], 3)
    bits = model.score([sample(50_000)])[0].mean()
    assert 1.47 < bits < 1.53


def test_documents_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ByteNgram.train(TEXTS, 6)
    documents = [b"inkstone", b"", b"until it can write", b"x"]
    together = model.score(documents)
    alone = list(itertools.chain.from_iterable(model.score([document]) for document in documents))
    monkeypatch.setattr(ngram, "_QUERY_CHUNK", 5)
    for one, two, three in zip(together, alone, model.score(documents), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_no_training_text_gives_the_uniform_distribution() -> None:
    np.testing.assert_allclose(ByteNgram.train([], 4).score([b"ink"])[0], 8)


@pytest.mark.parametrize("order", [0, 9])
def test_impossible_order_is_refused(order: int) -> None:
    with pytest.raises(ConfigError, match="not between 1 and 8"):
        ByteNgram.train(TEXTS, order)
