"""Rows of the evaluation splits that the model is trained on."""

import re
import unicodedata
from collections.abc import Iterator

from inkstone.data.check.faults import LEAK, NEAR_LEAK, Found
from inkstone.data.check.views import View
from inkstone.data.examples.keys import digest

_WIDE = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff"
_PUNCTUATION = re.compile(r"""(?<=[^0-9\s])[.,:]|[.,:](?![0-9])|[!?;…、。「」『』《》〈〉—–·・"“”„«»]""")
_APOSTROPHE = re.compile("['’‘`]")
_SPACE_AT_WIDE = re.compile(f"(?<=[{_WIDE}]) | (?=[{_WIDE}])")


def near_key(text: str) -> str:
    """The text without what people overlook: case, width, white space, and the punctuation of sentences.

    Signs of formulas and of numbers stay: 3 - 5 is not 35.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _PUNCTUATION.sub(" ", _APOSTROPHE.sub("", text))
    return _SPACE_AT_WIDE.sub("", " ".join(text.split()))


class TrainingPrompts:
    """What is asked in the training split."""

    def __init__(self) -> None:
        self._exact: dict[bytes, str] = {}
        self._near: dict[bytes, str] = {}

    def add(self, view: View, where: str) -> None:
        """Take note of a row of the training split."""
        self._exact.setdefault(digest(view.prompt), where)
        self._near.setdefault(digest(near_key(view.prompt)), where)

    def find(self, view: View) -> Iterator[Found]:
        """Whether a row of another split is among them."""
        if (where := self._exact.get(digest(view.prompt))) is not None:
            yield Found(LEAK, f"the same as {where}")
        elif (key := near_key(view.prompt)) and (where := self._near.get(digest(key))) is not None:
            yield Found(NEAR_LEAK, f"almost the same as {where}")
