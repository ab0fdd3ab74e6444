"""What a text is made of: counts of characters by class, fast for one line and for a whole book."""

import unicodedata
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

CLASSES = "lhkgodwps"
"""Latin letters, Han, kana, Hangul, other letters and marks, digits, white space, punctuation, symbols and the rest."""
SHORT = 600
"""Up to this length, counting over a translated string beats numpy."""


class Profile(NamedTuple):
    """Numbers of characters by class."""

    total: int
    latin: int
    han: int
    kana: int
    hangul: int
    other: int
    digits: int
    space: int
    punctuation: int
    symbols: int

    @property
    def letters(self) -> int:
        """Letters of any script."""
        return self.latin + self.han + self.kana + self.hangul + self.other

    @property
    def visible(self) -> int:
        """Characters that are not white space."""
        return self.total - self.space


@lru_cache(maxsize=2)
def profile(text: str) -> Profile:
    """Count the characters of `text` by class."""
    if text.isascii() and len(text) > SHORT:
        counts = _ascii_counts(text)
    elif len(text) <= SHORT:
        classes = text.translate(_classes())
        counts = [classes.count(letter) for letter in CLASSES[:-1]]
    else:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        found = np.bincount(_class_array()[np.minimum(codes, len(_classes()) - 1)], minlength=len(CLASSES))
        counts = [int(count) for count in found[:-1]]
    return Profile._make([len(text), *counts, len(text) - sum(counts)])


def _ascii_counts(text: str) -> list[int]:
    data = text.encode("ascii")
    return [len(data) - len(data.translate(None, members)) if members else 0 for members in _ascii_members()]


@cache
def _ascii_members() -> list[bytes]:
    return [bytes(code for code in range(128) if _class(code) == letter) for letter in CLASSES[:-1]]


def _class(code: int) -> str:
    if (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0x20000 <= code <= 0x3FFFF
        or 0xF900 <= code <= 0xFAFF
        or code in (0x3005, 0x3007)
    ):
        return "h"
    if 0x3041 <= code <= 0x30FF or 0x31F0 <= code <= 0x31FF or 0xFF66 <= code <= 0xFF9F:
        return "k"
    if 0xAC00 <= code <= 0xD7A3 or 0x1100 <= code <= 0x11FF or 0x3131 <= code <= 0x318E:
        return "g"
    character = chr(code)
    category = unicodedata.category(character)
    if category[0] in "LM":
        return (
            "l"
            if code < 0x250 or 0x1E00 <= code <= 0x1EFF or 0xFF21 <= code <= 0xFF5A or 0x300 <= code <= 0x36F
            else "o"
        )
    if category == "Nd":
        return "d"
    if character.isspace():
        return "w"
    return "p" if category[0] == "P" else "s"


@cache
def _classes() -> str:
    """The class of every code point up to the variation selectors of Han characters, as a string for `str.translate`.

    All above are symbols, as the last one.
    """
    blocks = [_class(code) for code in range(0x20000)]
    return "".join(blocks) + "h" * 0x20000 + "s" * (0xE0100 - 0x40000) + "o" * (0xE01F0 - 0xE0100) + "s"


@cache
def _class_array() -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    lookup = np.zeros(128, np.uint8)
    for number, letter in enumerate(CLASSES):
        lookup[ord(letter)] = number
    return lookup[np.frombuffer(_classes().encode("ascii"), np.uint8)]
