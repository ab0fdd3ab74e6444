"""Names that were seen in training, wherever they stand."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from typing import ClassVar

from inkstone.data.examples.records import LabeledSpans, Span
from inkstone.evaluate.baselines.majority import most_frequent
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.words import token_offsets


class Dictionary:
    """Strings that are named in most of their places in training, with their most frequent type; the longest first."""

    name: ClassVar[str] = "dictionary"
    kind: ClassVar[Kind] = "spans"
    title: ClassVar[str] = "strings named in training, most frequent type"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[LabeledSpans], test: Sequence[LabeledSpans]) -> Sequence[tuple[Span, ...]]:
        """Spans from left to right that do not overlap."""
        types: dict[str, list[str]] = defaultdict(list)
        for example in train:
            for span in example.spans:
                types[example.text[span.start : span.end]].append(span.label)
        lengths = sorted({len(surface) for surface in types}, reverse=True)
        seen = Counter(
            example.text[start:end] for example in train for start, end in _places(example.text, types, lengths)
        )
        known = {surface: most_frequent(found) for surface, found in types.items() if 2 * len(found) >= seen[surface]}
        return [tuple(_named(example.text, known, lengths)) for example in test]


def _named(text: str, known: dict[str, str], lengths: Sequence[int]) -> Iterator[Span]:
    free = 0
    for start, end in _places(text, known, lengths):
        if start >= free:
            yield Span(start, end, known[text[start:end]])
            free = end


def _places(text: str, surfaces: Container[str], lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where any of `surfaces` stands in a text, begins and ends with a word and not within one; the longest first."""
    offsets = token_offsets(text)
    ends = {end for _, end in offsets}
    for start, _ in offsets:
        for length in lengths:
            if start + length in ends and text[start : start + length] in surfaces:
                yield start, start + length
