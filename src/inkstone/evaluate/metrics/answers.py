"""Exact match and F1 of answers found in a text.

English and other spaced languages as SQuAD's script has it (Rajpurkar et al. 2016, arXiv:1606.05250): case, punctuation
and articles do not matter, F1 is over words. Answers with Han characters as the script of CMRC 2018 has it (Cui et al.
2019, arXiv:1810.07366): each Han character is a unit, and F1 is over the longest run of units in common.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import ClassVar

from inkstone.evaluate.metrics.base import Kind, Mean
from inkstone.evaluate.metrics.overlap import f1, longest_common_run, num_common

_HAN = re.compile("[\u4e00-\u9fa5]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CMRC_SIGNS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_UNIT = re.compile("[\u4e00-\u9fa5]|(?:(?![\u4e00-\u9fa5])\\w)+|[^\\w\\s]")
"""A Han character, a word, or a sign that counts: the words stand for those of NLTK, which the script uses."""


class _BestAnswer(Mean):
    """The best score over all reference answers; a question without any wants an empty answer."""

    def score(self, reference: Sequence[str], prediction: str) -> float:
        """Of one question."""
        return max((self.compare(answer, prediction) for answer in reference or ("",)), default=0.0)

    def compare(self, answer: str, prediction: str) -> float:
        """Of one reference answer."""
        raise NotImplementedError


class AnswerExactMatch(_BestAnswer):
    """Share of questions whose answer is exactly right."""

    name: ClassVar[str] = "answer_em"
    kind: ClassVar[Kind] = "answers"

    def compare(self, answer: str, prediction: str) -> float:
        """1 or 0."""
        plain = _cmrc_plain if _HAN.search(answer) else _squad_plain
        return float(plain(answer) == plain(prediction))


class AnswerF1(_BestAnswer):
    """Mean F1 of the units of the answer."""

    name: ClassVar[str] = "answer_f1"
    kind: ClassVar[Kind] = "answers"

    def compare(self, answer: str, prediction: str) -> float:
        """From 0 to 1."""
        if _HAN.search(answer):
            return _unit_f1(
                _CMRC_UNIT.findall(_cmrc_plain(answer)), _CMRC_UNIT.findall(_cmrc_plain(prediction)), longest_common_run
            )
        truth, guess = _squad_plain(answer).split(), _squad_plain(prediction).split()
        if not truth or not guess:
            return float(truth == guess)
        return _unit_f1(truth, guess, num_common)


def _unit_f1(truth: list[str], guess: list[str], in_common: Callable[[list[str], list[str]], int]) -> float:
    return f1(in_common(truth, guess), len(guess), len(truth))


def _squad_plain(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _cmrc_plain(text: str) -> str:
    return text.lower().strip().translate(_CMRC_SIGNS)
