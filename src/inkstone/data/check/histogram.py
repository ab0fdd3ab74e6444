"""How long examples are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

_PERCENTILES = (50, 90, 95, 99)


class Bin(NamedTuple):
    """Lengths from `low` to `high`, both included."""

    low: int
    high: int
    number: int


@dataclass(frozen=True)
class LengthSummary:
    """Lengths of the examples of a split, in tokens, before anything is cut."""

    shortest: int
    mean: float
    longest: int
    percentiles: dict[int, int]
    """Percent → the length that so many examples do not exceed."""
    bins: tuple[Bin, ...]
    """Two to each doubling of the length."""

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "LengthSummary":
        """The summary of one length or more."""
        values = np.asarray(lengths)
        quantiles = np.percentile(values, _PERCENTILES, method="inverted_cdf")
        return cls(
            int(values.min()),
            round(float(values.mean()), 1),
            int(values.max()),
            dict(zip(_PERCENTILES, map(int, quantiles), strict=True)),
            _bins(values),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "shortest": self.shortest,
            "mean": self.mean,
            "longest": self.longest,
            **{f"p{percent}": length for percent, length in self.percentiles.items()},
            "histogram": [list(each) for each in self.bins],
        }


def _bins(lengths: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> tuple[Bin, ...]:
    """Counts between the bounds 0, 1, 2, 3, 4, 6, 8, 12, 16, 24 …, from the shortest to the longest."""
    bounds = [0, 1, 2, 3]
    while bounds[-1] <= lengths.max():
        bounds.append(2 * bounds[-2])
    numbers = np.bincount(np.searchsorted(bounds, lengths, side="right") - 1, minlength=len(bounds) - 1)
    bins = [Bin(low, high - 1, int(number)) for (low, high), number in zip(pairwise(bounds), numbers, strict=True)]
    used = [n for n, each in enumerate(bins) if each.number]
    return tuple(bins[used[0] : used[-1] + 1])
