from collections import Counter

import numpy as np
import pytest

from inkstone.data.examples.encoded import TokenSequence
from inkstone.train.order import ShuffledExamples

EXAMPLES = [TokenSequence.of(list(range(length)), [True] * length) for length in (7, 3, 9, 2, 5, 4, 8, 6)]


def lengths(examples: ShuffledExamples[TokenSequence], start: int, size: int) -> list[int]:
    return [example.length for example in examples.batch(start, size)]


def test_every_epoch_has_every_example_once_in_another_order() -> None:
    examples = ShuffledExamples(EXAMPLES, seed=3)
    epochs = [lengths(examples, 8 * number, 8) for number in range(4)]
    assert all(sorted(epoch) == list(range(2, 10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_that_of_the_seed_wherever_a_run_begins() -> None:
    whole = lengths(ShuffledExamples(EXAMPLES, seed=3), 0, 40)
    later = ShuffledExamples(EXAMPLES, seed=3)
    assert [lengths(later, start, 5) for start in (35, 20, 0)] == [whole[35:40], whole[20:25], whole[:5]]
    assert lengths(ShuffledExamples(EXAMPLES, seed=4), 0, 40) != whole


def test_short_examples_come_first_in_the_first_epoch_only() -> None:
    examples = ShuffledExamples(EXAMPLES, seed=0, short_first=True)
    assert lengths(examples, 0, 8) == [2, 3, 4, 5, 6, 7, 8, 9]
    second = lengths(examples, 8, 8)
    assert second == lengths(ShuffledExamples(EXAMPLES, seed=0), 8, 8)
    assert second != sorted(second)


def test_weights_are_kept_exactly_or_on_average() -> None:
    weights = [2, 2, 0.5, 0.5, 0.5, 0.5, 0, 1]
    examples = ShuffledExamples(EXAMPLES, seed=1, weights=weights)
    assert examples.per_epoch == 7
    counts = Counter[int]()
    for number in range(300):
        epoch = Counter(lengths(examples, 7 * number, 7))
        assert (epoch[7], epoch[3], epoch[8], epoch[6]) == (2, 2, 0, 1)
        assert sum(epoch[length] for length in (9, 2, 5, 4)) == 2
        counts += epoch
    shares = np.asarray([counts[length] for length in (9, 2, 5, 4)]) / 300
    assert shares == pytest.approx(0.5, abs=0.1)
