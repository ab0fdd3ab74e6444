"""ROUGE (Lin 2004, "ROUGE: a package for automatic evaluation of summaries"), for Chinese too.

F1 of n-grams, or of the longest common subsequence, of words; Han characters and kana are words of their own. Of
English text it equals Google's `rouge_score` without stemming.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from inkstone.evaluate.metrics.base import Kind, Mean
from inkstone.evaluate.metrics.overlap import f1, longest_common_subsequence, ngrams, num_common
from inkstone.evaluate.words import words


class _Rouge(Mean):
    """Mean over texts."""

    def score(self, reference: str, prediction: str) -> float:
        """From 0 to 1."""
        return self.compare(words(reference), words(prediction))

    def compare(self, reference: list[str], prediction: list[str]) -> float:
        """F1 of two lists of words."""
        raise NotImplementedError

    def signature(self, references: Sequence[Any]) -> str | None:
        """How words are found."""
        return "words, Han characters and kana; lower case, no stemming; mean F1"


class Rouge1(_Rouge):
    """Words in common."""

    name: ClassVar[str] = "rouge1"
    kind: ClassVar[Kind] = "texts"
    order: ClassVar[int] = 1

    def compare(self, reference: list[str], prediction: list[str]) -> float:
        """F1 of n-grams."""
        truth, guess = ngrams(reference, self.order), ngrams(prediction, self.order)
        return f1(num_common(truth, guess), len(guess), len(truth))


class Rouge2(Rouge1):
    """Pairs of words in common."""

    name: ClassVar[str] = "rouge2"
    kind: ClassVar[Kind] = "texts"
    order: ClassVar[int] = 2


class RougeL(_Rouge):
    """The longest common subsequence of words."""

    name: ClassVar[str] = "rougeL"
    kind: ClassVar[Kind] = "texts"

    def compare(self, reference: list[str], prediction: list[str]) -> float:
        """F1 of the longest common subsequence."""
        return f1(longest_common_subsequence(reference, prediction), len(prediction), len(reference))
