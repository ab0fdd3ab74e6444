"""A linear model that reads a few words around each one: what taggers were before neural networks."""

import random
import zlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from inkstone.data.examples.records import LabeledSpans, Span
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.words import token_offsets

_OUTSIDE = "O"
_NUM_WEIGHTS = 1 << 18
_EPOCHS = 5
_WINDOW = 2

Offsets = Sequence[tuple[int, int]]
Features = NDArray[np.int64]
"""(T, F): of each word the rows of the weights that its features select."""


class LinearTagger:
    """Words (or characters) with BIO tags, by the averaged perceptron of Collins 2002.

    "Discriminative training methods for hidden Markov models" (EMNLP): the tags of a text are those with the highest
    sum of weights, of the words around each and of each pair of tags in a row.
    """

    name: ClassVar[str] = "linear_tagger"
    kind: ClassVar[Kind] = "spans"
    title: ClassVar[str] = "averaged perceptron on a window of words"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[LabeledSpans], test: Sequence[LabeledSpans]) -> Sequence[tuple[Span, ...]]:
        """Spans that the tags spell."""
        offsets = [token_offsets(example.text) for example in train]
        tagged = [_tags(example, places) for example, places in zip(train, offsets, strict=True)]
        tagset = sorted({tag for tags in tagged for tag in tags} | {_OUTSIDE})
        number = {tag: index for index, tag in enumerate(tagset)}
        perceptron = _Perceptron(len(tagset))
        perceptron.learn(
            [
                (_features(example.text, places), np.array([number[tag] for tag in tags]))
                for example, places, tags in zip(train, offsets, tagged, strict=True)
                if tags
            ]
        )
        return [tuple(_spans(example.text, perceptron, tagset)) for example in test]


class _Perceptron:
    def __init__(self, num_tags: int) -> None:
        self.emissions = np.zeros((_NUM_WEIGHTS, num_tags), dtype=np.float32)
        self.transitions = np.zeros((num_tags, num_tags), dtype=np.float32)

    def learn(self, texts: Sequence[tuple[Features, NDArray[np.int64]]]) -> None:
        """Pass over the texts some times; the weights are then their averages over all moments."""
        late = (np.zeros_like(self.emissions), np.zeros_like(self.transitions))
        order, moment = list(range(len(texts))), 0
        drawn = random.Random(0)
        for _ in range(_EPOCHS):
            drawn.shuffle(order)
            for index in order:
                features, truth = texts[index]
                guess = self.tags(features)
                moment += 1
                if (guess != truth).any():
                    self._move(features, truth, 1, moment, late)
                    self._move(features, guess, -1, moment, late)
        if moment:
            self.emissions -= late[0] / moment
            self.transitions -= late[1] / moment

    def _move(
        self, features: Features, tags: NDArray[np.int64], step: int, moment: int, late: Sequence[NDArray[np.float32]]
    ) -> None:
        """Add `step` to the weights of a tagging; `late` gathers what the averages must leave out."""
        emitted, followed = (features, tags[:, None]), (tags[:-1], tags[1:])
        for weights, amount in ((self.emissions, step), (late[0], step * moment)):
            np.add.at(weights, emitted, amount)
        for weights, amount in ((self.transitions, step), (late[1], step * moment)):
            np.add.at(weights, followed, amount)

    def tags(self, features: Features) -> NDArray[np.int64]:
        """The best sequence of tags, (T,), by Viterbi's algorithm."""
        scores = self.emissions[features].sum(axis=1)  # (T, tags)
        before = np.zeros(scores.shape, dtype=np.int64)
        best = scores[0]
        for place in range(1, len(scores)):
            reached = best[:, None] + self.transitions
            before[place] = reached.argmax(axis=0)
            best = reached.max(axis=0) + scores[place]
        path = [int(best.argmax())]
        for place in range(len(scores) - 1, 0, -1):
            path.append(int(before[place, path[-1]]))
        return np.array(path[::-1])


def read_tags(tags: Sequence[str], offsets: Offsets) -> Iterator[Span]:
    """BIO tags of words → spans; an `I-` that continues nothing of its type begins a span."""
    start, label = 0, ""
    for number, tag in enumerate((*tags, _OUTSIDE)):
        if label and tag != f"I-{label}":
            yield Span(start, offsets[number - 1][1], label)
            label = ""
        if tag != _OUTSIDE and not label:
            start, label = offsets[number][0], tag[2:]


def _spans(text: str, perceptron: _Perceptron, tagset: Sequence[str]) -> Iterator[Span]:
    offsets = token_offsets(text)
    if offsets:
        yield from read_tags([tagset[tag] for tag in perceptron.tags(_features(text, offsets))], offsets)


def _tags(example: LabeledSpans, offsets: Offsets) -> list[str]:
    tags = [_OUTSIDE] * len(offsets)
    for span in example.spans:
        inside = [number for number, (start, end) in enumerate(offsets) if start < span.end and end > span.start]
        for number in inside:
            tags[number] = f"{'B' if number == inside[0] else 'I'}-{span.label}"
    return tags


def _features(text: str, offsets: Offsets) -> Features:
    """Of each word: itself and its neighbors, alone and in twos and threes, its beginning, its end and its shape."""
    padding = [""] * _WINDOW
    padded = [*padding, *(text[start:end] for start, end in offsets), *padding]
    rows = []
    for number in range(_WINDOW, len(padded) - _WINDOW):
        around, word = padded[number - _WINDOW : number + _WINDOW + 1], padded[number]
        features = [
            f"{size}:{first}:{'|'.join(around[first : first + size])}"
            for size in (1, 2, 3)
            for first in range(len(around) - size + 1)
        ]
        features += [f"prefix:{word[:3]}", f"suffix:{word[-3:]}", f"shape:{_shape(word)}"]
        rows.append([zlib.crc32(feature.encode("utf-8", "surrogatepass")) % _NUM_WEIGHTS for feature in features])
    return np.array(rows, dtype=np.int64)


def _shape(word: str) -> str:
    kinds = ["0" if each.isdigit() else "A" if each.isupper() else "a" if each.islower() else each for each in word[:4]]
    return "".join(kinds)
