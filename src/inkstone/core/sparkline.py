"""A curve in one line of text."""

from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"
_CLIPPED = 0.2


class Series:
    """Values of any number in bounded space: when there are too many, neighbors become their mean.

    Args:
        most: values kept; an even number.
    """

    def __init__(self, most: int = 256) -> None:
        self.means: list[float] = []
        """Each of `span` values in turn."""
        self.span = 1
        self._most = most
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        """Append a value."""
        self._sum += value
        self._count += 1
        if self._count < self.span:
            return
        self.means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self.means) == self._most:
            pairs = zip(self.means[::2], self.means[1::2], strict=True)
            self.means = [(first + second) / 2 for first, second in pairs]
            self.span *= 2


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` bars; neighbors share one where there are more values.

    The highest fifth has the highest bar, so that the steep beginning of a loss does not flatten the rest.
    """
    count = min(width, len(values))
    if count == 0:
        return ""
    ends = [index * len(values) // count for index in range(count + 1)]
    shown = [sum(values[start:end]) / (end - start) for start, end in pairwise(ends)]
    in_order = sorted(shown)
    low, high = in_order[0], in_order[round((count - 1) * (1 - _CLIPPED))]
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round(min(max(value - low, 0.0) * scale, len(_BARS) - 1))] for value in shown)
