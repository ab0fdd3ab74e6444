"""Drops texts that repeat themselves: menus, spam, broken extraction.

After "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (Rae et al. 2021, table A1): share of
the text in duplicate lines and in duplicate n-grams; here over words in spaced scripts and characters in Chinese.
"""

import zlib
from collections import Counter
from typing import ClassVar

from inkstone.core.config import Config
from inkstone.data.filters.base import Drop, Filter

SAMPLE_CHARS = 50_000
"""Long texts are judged by their beginning, middle and end."""


class RepetitionThresholds(Config):
    """Shares of the sample's characters."""

    min_chars: int = 300
    """Shorter texts are not judged: refrains and formulas are no defect."""
    compresses_to: float = 0.36
    """Texts are looked at more closely when zlib's fastest level makes them smaller than this share."""
    max_duplicate_lines: float = 0.5
    """In lines that occurred before."""
    max_duplicate_ngrams: float = 0.6
    """In n-grams that occurred before."""
    ngram: int = 8
    """Units in an n-gram."""
    units: str = "words"
    """`words` or `characters`."""
    max_single_character: float = 0.35
    """In the commonest character, white space not counted."""


class RepetitionFilter(Filter[RepetitionThresholds]):
    """Repetition of lines, n-grams and characters. A cheap compression test spares the counting to most texts."""

    thresholds = RepetitionThresholds
    defaults: ClassVar = {
        "zh": {"ngram": 12, "units": "characters", "min_chars": 150, "max_duplicate_ngrams": 0.7},
        "code": {"compresses_to": 0.2, "max_duplicate_lines": 0.8, "max_duplicate_ngrams": 0.9},
    }

    def judge(self, text: str, limits: RepetitionThresholds) -> Drop | None:
        """Drop texts of which too much has been said before."""
        if len(text) < limits.min_chars:
            return None
        sample = _sample(text)
        data = sample.encode("utf-8", "surrogatepass")
        if len(zlib.compress(data, 1)) > limits.compresses_to * len(data):
            return None
        if drop := _single_character(sample, limits):
            return drop
        lines = [line.strip() for line in sample.split("\n") if len(line.strip()) > 2]
        share = _duplicate_share(lines)
        if len(lines) > 5 and share > limits.max_duplicate_lines:
            return Drop(
                "repeated lines", f"{share:.0%} in lines that occurred before, at most {limits.max_duplicate_lines:.0%}"
            )
        share = _duplicate_ngrams(sample, limits)
        if share > limits.max_duplicate_ngrams:
            return Drop(
                "repeated phrases",
                f"{share:.0%} in repeated {limits.ngram}-grams, at most {limits.max_duplicate_ngrams:.0%}",
            )
        return None


def _sample(text: str) -> str:
    if len(text) <= SAMPLE_CHARS:
        return text
    third = SAMPLE_CHARS // 3
    middle = len(text) // 2
    return text[:third] + "\n" + text[middle : middle + third] + "\n" + text[-third:]


def _single_character(sample: str, limits: RepetitionThresholds) -> Drop | None:
    counts = Counter("".join(sample.split()))
    if not counts:
        return None
    character, count = counts.most_common(1)[0]
    share = count / counts.total()
    if share > limits.max_single_character:
        return Drop(
            "one character repeated", f"{share:.0%} is {character!r}, at most {limits.max_single_character:.0%}"
        )
    return None


def _duplicate_share(units: list[str]) -> float:
    """Share of the characters that are in units which occurred before."""
    total = sum(map(len, units))
    return 1 - sum(map(len, set(units))) / total if total else 0.0


def _duplicate_ngrams(sample: str, limits: RepetitionThresholds) -> float:
    """Share of the units that lie in an n-gram which occurred before."""
    units: list[str] | str = sample.split() if limits.units == "words" else "".join(sample.split())
    n = limits.ngram
    seen: set[str] = set()
    covered = end = 0
    for start in range(len(units) - n + 1):
        gram = " ".join(units[start : start + n]) if isinstance(units, list) else units[start : start + n]
        if gram in seen:
            covered += start + n - max(start, end)
            end = start + n
        else:
            seen.add(gram)
    return covered / len(units) if units else 0.0
