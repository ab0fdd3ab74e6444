"""Faults of single texts: what is broken, invisible, or means something to the model."""

import re
from collections.abc import Collection, Iterator

from inkstone.data.check.faults import (
    CONTROL,
    MOJIBAKE,
    REPLACEMENT,
    SPECIAL_TOKEN,
    Found,
)
from inkstone.data.check.findings import shown
from inkstone.data.cleaning import repair_mojibake
from inkstone.data.examples.records import Text

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2028\u2029\u2060\ufeff\ufffe\uffff]")
_AROUND = 12
"""Characters shown on both sides of a fault."""


class TextFaults:
    """Looks for faults in texts that a model with these special tokens will read."""

    def __init__(self, special_tokens: Collection[str] = ()) -> None:
        names = sorted(filter(None, special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, names))) if names else None

    def find(self, text: Text) -> Iterator[Found]:
        """The faults of a text, one of each kind."""
        name, value = text
        if self._special is not None and (match := self._special.search(value)):
            yield Found(SPECIAL_TOKEN, f"{name} has {match[0]}: {_around(value, match)}")
        if value.isascii() and value.isprintable():
            return
        if (at := value.find("\ufffd")) >= 0:
            yield Found(REPLACEMENT, f"{name} has U+FFFD: {_excerpt(value, at, at + 1)}")
        if match := _CONTROL.search(value):
            yield Found(CONTROL, f"{name} has U+{ord(match[0]):04X}: {_around(value, match)}")
        if (repaired := repair_mojibake(value)) != value:
            at = next((n for n, pair in enumerate(zip(value, repaired, strict=False)) if pair[0] != pair[1]), 0)
            yield Found(MOJIBAKE, f"{name}: {shown(value[at : at + 24])} is probably {shown(repaired[at : at + 12])}")


def _around(value: str, match: "re.Match[str]") -> str:
    return _excerpt(value, *match.span())


def _excerpt(value: str, start: int, end: int) -> str:
    return shown(value[max(0, start - _AROUND) : end + _AROUND], limit=80)
