"""Words of any language: characters where they are written without spaces, runs of letters and digits elsewhere."""

import re
from collections.abc import Iterable
from itertools import pairwise

from inkstone.data.characters import profile

_IDEOGRAPH = (
    "[\u3005\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_WORD = re.compile(rf"{_IDEOGRAPH}|(?:(?!{_IDEOGRAPH})[^\W_])+")
_TOKEN = re.compile(rf"{_WORD.pattern}|[^\w\s]|_")
_SENTENCE_END = re.compile(r"[。！？；!?\n]+[”’」』）\"')]*\s*|\.+[”’\"')]*\s+")
_IDEOGRAPHIC_SHARE = 0.2


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation; each Han or kana character is one.

    Of English text they are those of Google's `rouge_score` without stemming.
    """
    return _WORD.findall(text.lower())


def token_offsets(text: str) -> list[tuple[int, int]]:
    """Where words and signs begin and end, in characters; white space belongs to none."""
    return [match.span() for match in _TOKEN.finditer(text)]


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with what follows it: joined, they are the text. A line break ends one, too."""
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(ends) if start < end]


def is_ideographic(texts: Iterable[str]) -> bool:
    """Whether texts are, by and large, in Han characters or kana, which have no spaces between words."""
    ideographs = letters = 0
    for text in texts:
        counts = profile(text)
        ideographs += counts.han + counts.kana
        letters += counts.letters
    return ideographs > _IDEOGRAPHIC_SHARE * letters
