"""A guess of the language from the script alone, for documents that do not name theirs.

This is the place of real language identification, which comes later: the guess tells Chinese from English from the
rest well enough to choose thresholds, and nothing more. Source code is known by its file suffix, when it is collected.
"""

import re

from inkstone.data.characters import profile

SAMPLE_CHARS = 5_000
UNKNOWN = "other"
_ENGLISH = re.compile(
    r"\b(?:the|and|of|to|in|is|that|it|was|for|with|as|you|he|she|his|her|not|be|on|at|by|this|are|or|i|my|we)\b",
    re.IGNORECASE,
)
_ALIASES = {
    "chinese": "zh",
    "zho": "zh",
    "chi": "zh",
    "cmn": "zh",
    "lzh": "zh",
    "yue": "zh",
    "english": "en",
    "eng": "en",
}


def guess_language(text: str) -> str:
    """`zh`, `en` or `other`."""
    sample = text[:SAMPLE_CHARS]
    counts = profile(sample)
    letters = counts.letters
    if not letters:
        return UNKNOWN
    # A Han character weighs as much as about four Latin letters: it stands for a syllable or a word.
    east_asian = 4 * (counts.han + counts.kana + counts.hangul)
    if east_asian > counts.latin + counts.other:
        return "zh" if counts.kana + counts.hangul < 0.1 * counts.han else UNKNOWN
    if counts.latin < 0.8 * letters:
        return UNKNOWN
    words = len(sample.split())
    return "en" if words < 20 or len(_ENGLISH.findall(sample)) >= 0.08 * words else UNKNOWN


def normal_language(name: str) -> str:
    """`zh` for `zh-CN`, `ZH`, `zho` or `Chinese`."""
    name = name.strip().lower()
    return _ALIASES.get(name) or re.split(r"[-_]", name)[0]
