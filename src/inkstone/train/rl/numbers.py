"""Finding the number that a text gives as its answer."""

import functools
import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction

_MOST = 1000
"""Digits of a number, so that reading it takes no time."""
_DIGITS = rf"(?<!\d)(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,{_MOST}}})(?!\d)"
_NUMBER = re.compile(rf"(?:(?<![A-Za-z0-9)\]}}])[-+])?{_DIGITS}(?:\.\d{{1,{_MOST}}})?(?:/\d{{1,{_MOST}}})?")
"""A sign belongs to a number where it does not stand after another one: `5-3` has 5 and 3."""
_LATEX_FRACTION = re.compile(rf"(-?)\\[dt]?frac\{{(-?\d{{1,{_MOST}}})\}}\{{(\d{{1,{_MOST}}})\}}")
_MINUS = str.maketrans({"−": "-", "–": "-", "⁄": "/"})
_BOXED = "\\boxed{"
_MARK = "####"


def answer_of(text: str) -> str:
    r"""What a text gives as its answer: in the last \boxed{…}, after the last ####, or else all of it."""
    if (boxed := _last_boxed(text)) is not None:
        return boxed
    return text.rpartition(_MARK)[2].strip().partition("\n")[0] if _MARK in text else text


@functools.lru_cache(maxsize=4096)
def last_number(text: str) -> Fraction | None:
    r"""The last number in a text, exactly; None where there is none.

    Read are integers, decimals and fractions, thousands separated by commas, full-width digits, and \frac{a}{b}.
    """
    found = None
    for number in _numbers(text):
        found = number
    return found


def _numbers(text: str) -> Iterator[Fraction]:
    text = unicodedata.normalize("NFKC", text).translate(_MINUS)
    text = _LATEX_FRACTION.sub(r" \1\2/\3", text)
    for match in _NUMBER.finditer(text):
        numerator, _, denominator = match.group().replace(",", "").partition("/")
        if denominator and not int(denominator):
            continue
        yield Fraction(numerator) / Fraction(denominator or 1)


def _last_boxed(text: str) -> str | None:
    r"""The content of the last \boxed{…} that is closed, braces inside of it balanced."""
    start = text.rfind(_BOXED)
    while start >= 0:
        depth = 1
        for end in range(start + len(_BOXED), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start + len(_BOXED) : end]
        start = text.rfind(_BOXED, 0, start)
    return None
