"""In which order examples are learned from."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from inkstone.data.examples.encoded import Encoded
from inkstone.train.method import Lesson

T = TypeVar("T", bound=Encoded)


class ShuffledExamples(Generic[T]):
    """Endless examples, every epoch in another order; the order depends on nothing but the seed.

    Args:
        examples: of the training split.
        seed: of the order.
        weights: how often each example is drawn in an epoch, on average; 1 by default. The fraction is drawn anew for
            every epoch.
        short_first: the first epoch goes from short to long (a curriculum).
    """

    def __init__(
        self, examples: Sequence[T], seed: int, *, weights: Sequence[float] | None = None, short_first: bool = False
    ) -> None:
        self._examples = examples
        self._seed = seed
        self._weights = np.ones(len(examples)) if weights is None else np.asarray(weights, dtype=np.float64)
        self._short_first = short_first
        self.per_epoch = max(1, round(float(self._weights.sum())))
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def batch(self, start: int, size: int) -> Sequence[T]:
        """Examples `start` to `start + size`, counted over all epochs."""
        return [self._example(index) for index in range(start, start + size)]

    def _example(self, index: int) -> T:
        number, index = divmod(index, self.per_epoch)
        if self._epoch is None or self._epoch[0] != number:
            self._epoch = (number, self._order(number))
        return self._examples[self._epoch[1][index]]

    def _order(self, number: int) -> NDArray[np.int64]:
        """Indices of the examples of an epoch."""
        random = np.random.default_rng((self._seed, number))
        # Systematic sampling: each example ⌊weight⌋ or ⌈weight⌉ times, `per_epoch` in all.
        ends = np.cumsum(self._weights) * (self.per_epoch / self._weights.sum())
        drawn = np.searchsorted(ends, np.arange(self.per_epoch) + random.random(), side="right")
        order = random.permutation(np.minimum(drawn, len(self._examples) - 1))
        if self._short_first and number == 0:
            lengths = np.asarray([self._examples[index].length for index in order])
            order = order[np.argsort(lengths, kind="stable")]
        return order


def shuffled(lesson: Lesson, examples: Sequence[T]) -> ShuffledExamples[T]:
    """The endless examples of a lesson, as its settings want them."""
    config = lesson.config
    return ShuffledExamples(examples, config.seed, weights=lesson.weights, short_first=config.curriculum)
