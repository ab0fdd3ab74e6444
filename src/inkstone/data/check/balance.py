"""How often each label occurs."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from inkstone.data.check.faults import (
    IMBALANCE,
    LABEL_SPELLING,
    ONE_LABEL,
    SINGLE_EXAMPLE,
    UNSEEN_LABEL,
    Found,
)
from inkstone.data.check.findings import shown
from inkstone.data.examples.classes import class_names
from inkstone.data.examples.encoded import LabeledSequence
from inkstone.data.examples.records import Example, Judged, LabeledSpans, LabeledText, Question

FAR_OUT_OF_BALANCE = 50
"""Times that the commonest label is as frequent as the rarest."""


@singledispatch
def labels_of(example: Example) -> Iterator[str]:
    """The labels of an example: none of most kinds."""
    yield from ()


@labels_of.register
def _(example: LabeledText) -> Iterator[str]:
    yield from class_names(example.label)


@labels_of.register
def _(example: LabeledSpans) -> Iterator[str]:
    yield from (span.label for span in example.spans)


@labels_of.register
def _(example: Judged) -> Iterator[str]:
    yield "desirable" if example.desirable else "undesirable"


@labels_of.register
def _(example: Question) -> Iterator[str]:
    yield "answered" if example.answers else "unanswerable"


@dataclass
class Numbers:
    """Labels that are numbers, summed up as they come."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    lowest: float = math.inf
    highest: float = -math.inf

    def add(self, value: float) -> None:
        """Take note of one."""
        self.count += 1
        self.total += value
        self.squares += value * value
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)

    def to_json(self) -> dict[str, float]:
        """As JSON values."""
        mean = self.total / self.count
        deviation = math.sqrt(max(self.squares / self.count - mean * mean, 0.0))
        return {"lowest": self.lowest, "mean": mean, "highest": self.highest, "standard_deviation": deviation}


@dataclass
class Balance:
    """Labels of a split."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    """Where each label was met first."""
    numbers: Numbers = field(default_factory=Numbers)
    kind: type[Example] = Example
    has_lists: bool = False
    """Whether texts have lists of labels."""

    def add(self, example: Example, encodings: Sequence[object] = ()) -> None:
        """Take note of an example; what it became tells whether its label is a number or the name of a class."""
        self.kind = type(example)
        if isinstance(example, LabeledText):
            target = encodings[0].target if encodings and isinstance(encodings[0], LabeledSequence) else example.label
            if isinstance(target, float):
                self.numbers.add(target)
                return
            self.has_lists |= isinstance(example.label, tuple)
        for label in labels_of(example):
            self.counts[label] = self.counts.get(label, 0) + 1
            self.first.setdefault(label, example.where)

    def to_json(self) -> dict[str, Any]:
        """Label → count, the commonest first; of numbers, their spread."""
        if self.numbers.count:
            return self.numbers.to_json()
        return dict(sorted(self.counts.items(), key=lambda item: -item[1]))

    def find(self) -> Iterator[tuple[Found, str]]:
        """What is wrong with these labels of a training split, and where."""
        if self.kind is Question:
            return
        yield from self._one_label()
        yield from self._spellings()
        common = {label: count for label, count in self.counts.items() if count > 1}
        for label in self.counts.keys() - common.keys() if self.kind is not Judged else ():
            yield Found(SINGLE_EXAMPLE, f"only this row has {shown(label)}"), self.first[label]
        if not common:
            return
        most, least = max(common, key=common.__getitem__), min(common, key=common.__getitem__)
        if common[most] >= FAR_OUT_OF_BALANCE * common[least]:
            counts = f"{shown(most)} {common[most]:,} times, {shown(least)} {common[least]:,} times"
            yield Found(IMBALANCE, counts), "train"

    def find_unseen(self, train: "Balance") -> Iterator[tuple[Found, str]]:
        """Labels of an evaluation split that the training split does not have."""
        if self.kind in (LabeledText, LabeledSpans):
            for label in self.counts.keys() - train.counts.keys():
                yield Found(UNSEEN_LABEL, f"{shown(label)} is in no row of train"), self.first[label]

    def _one_label(self) -> Iterator[tuple[Found, str]]:
        if self.numbers.count > 1 and self.numbers.lowest == self.numbers.highest:
            yield Found(ONE_LABEL, f"the label is {self.numbers.lowest:g} in all {self.numbers.count:,} rows"), "train"
        if self.kind is LabeledText and len(self.counts) == 1 and not self.has_lists:
            ((label, count),) = self.counts.items()
            yield Found(ONE_LABEL, f"the label is {shown(label)} in all {count:,} rows"), "train"
        if self.kind is Judged and len(self.counts) == 1:
            ((label, count),) = self.counts.items()
            yield Found(IMBALANCE, f"all {count:,} rows are {label}"), "train"

    def _spellings(self) -> Iterator[tuple[Found, str]]:
        written: dict[str, str] = {}
        for label in self.counts:
            other = written.setdefault(_spoken(label), label)
            if other != label:
                yield Found(LABEL_SPELLING, f"{shown(label)} and {shown(other)}"), self.first[label]


def _spoken(label: str) -> str:
    return (
        "".join(character for character in unicodedata.normalize("NFKC", label).casefold() if character.isalnum())
        or label
    )
