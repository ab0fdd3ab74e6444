"""Drops code with lines that no one writes by hand: minified scripts, data in disguise."""

from typing import ClassVar

from inkstone.core.config import Config
from inkstone.data.filters.base import Drop, Filter


class LongLinesThresholds(Config):
    """Lengths in characters; None for no limit."""

    max_mean: float | None = None
    """Mean length of the lines that are not empty."""
    max_line: int | None = None
    """Length of the longest line."""


class LongLinesFilter(Filter[LongLinesThresholds]):
    """Long lines, in code only: in prose a line is often a whole paragraph."""

    thresholds = LongLinesThresholds
    defaults: ClassVar = {"code": {"max_mean": 100.0, "max_line": 5000}}

    def judge(self, text: str, limits: LongLinesThresholds) -> Drop | None:
        """Drop texts with too long lines."""
        if limits.max_mean is None and limits.max_line is None:
            return None
        lengths = [len(line) for line in text.split("\n") if line]
        longest, mean = max(lengths, default=0), sum(lengths) / max(len(lengths), 1)
        if limits.max_line is not None and longest > limits.max_line:
            return Drop("a very long line", f"{longest:,} characters, at most {limits.max_line:,}")
        if limits.max_mean is not None and mean > limits.max_mean:
            return Drop("long lines", f"{mean:.0f} characters on average, at most {limits.max_mean:.0f}")
        return None
