"""How much two sequences have in common."""

from collections import Counter
from collections.abc import Hashable, Sequence


def f1(common: float, predicted: float, present: float) -> float:
    """Harmonic mean of `common / predicted` and `common / present`; 0 where nothing is in common."""
    return 2 * common / (predicted + present) if common else 0.0


def num_common(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Items of both, counted as often as both have them."""
    return (Counter(first) & Counter(second)).total()


def ngrams(items: Sequence[Hashable], order: int) -> list[tuple[Hashable, ...]]:
    """Every `order` items in a row."""
    return [tuple(items[start : start + order]) for start in range(len(items) - order + 1)]


def longest_common_subsequence(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Most items that both have in the same order, with anything between them.

    Bit-parallel (Hyyrö 2004, "Bit-parallel LCS-length computation revisited"): a row of the table is an integer.
    """
    places: dict[Hashable, int] = {}
    for index, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << index
    everything = (1 << len(first)) - 1
    unmatched = everything
    for item in second:
        met = unmatched & places.get(item, 0)
        unmatched = ((unmatched + met) | (unmatched - met)) & everything
    return len(first) - unmatched.bit_count()


def longest_common_run(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Most items that both have in a row."""
    longest, above = 0, [0] * (len(second) + 1)
    for item in first:
        row = [0] * (len(second) + 1)
        for column, other in enumerate(second, 1):
            if item == other:
                row[column] = above[column - 1] + 1
        longest, above = max(longest, *row), row
    return longest
