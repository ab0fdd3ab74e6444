"""The source itself, or its beginning."""

from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

from inkstone.data.examples.records import Pair
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.words import sentences, token_offsets


class Copy:
    """The source as it is."""

    name: ClassVar[str] = "copy"
    kind: ClassVar[Kind] = "texts"
    title: ClassVar[str] = "copy of the source"
    needs_training: ClassVar[bool] = False

    def predict(self, train: Sequence[Pair], test: Sequence[Pair]) -> Sequence[str]:
        """It, for each pair."""
        return [example.source_text for example in test]


class Lead:
    """The first sentences of the source, as far as targets reach on average; at least a part of the first."""

    name: ClassVar[str] = "lead"
    kind: ClassVar[Kind] = "texts"
    title: ClassVar[str] = "beginning of the source, as long as targets are"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[Pair], test: Sequence[Pair]) -> Sequence[str]:
        """It, for each pair."""
        length = max(1, round(fmean(len(token_offsets(example.target_text)) for example in train)))
        return [_lead(example.source_text, length) for example in test]


def _lead(text: str, length: int) -> str:
    """Whole sentences of at most `length` words and signs together, or so many of the first sentence."""
    taken, used = "", 0
    for sentence in sentences(text):
        used += len(token_offsets(sentence))
        if used > length:
            break
        taken += sentence
    if taken.strip():
        return taken.strip()
    offsets = token_offsets(text)[:length]
    return text[offsets[0][0] : offsets[-1][1]] if offsets else ""
