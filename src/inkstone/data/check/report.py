"""What a data check says about examples."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from inkstone.core.errors import InputError
from inkstone.data.check.balance import Balance
from inkstone.data.check.encodings import Fitted
from inkstone.data.check.findings import Findings
from inkstone.data.check.histogram import LengthSummary
from inkstone.data.examples.encoded import Encoded
from inkstone.data.examples.records import Example

T = TypeVar("T", bound=Encoded)
_NAMED = 3
"""Faults that an error message names."""


@dataclass
class CheckedSplit(Generic[T]):
    """A split: its encodings, and what was counted."""

    num_examples: int = 0
    encoded: list[T] = field(default_factory=list)
    """All encodings, in the order of the examples; each fits into the allowed length."""
    origins: list[Example] = field(default_factory=list)
    """The example of each encoding."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each encoding before it was cut."""
    num_encoded_examples: int = 0
    num_cut: int = 0
    num_answers: int = 0
    """Stretches that the model learns to write."""
    num_ended: int = 0
    """Those that end with a stop token."""
    num_tokens: int = 0
    num_trained_tokens: int = 0
    balance: Balance = field(default_factory=Balance)

    @property
    def num_dropped(self) -> int:
        """Examples without an encoding: errors, with which no training begins, and what truncation left nothing of."""
        return self.num_examples - self.num_encoded_examples

    def length_summary(self) -> LengthSummary | None:
        """How long the encodings are before anything is cut; None where there are none."""
        return LengthSummary.of(self.lengths) if self.lengths else None

    def add(self, example: Example, fitted: Sequence[Fitted[T]] | None) -> None:
        """Take in an example and its encodings, None where it is only looked at."""
        self.num_examples += 1
        if fitted is None:
            self.balance.add(example)
            return
        if fitted:
            self.num_encoded_examples += 1
            self.balance.add(example, [each.encoding for each in fitted])
        for part in fitted:
            self.encoded.append(part.encoding)
            self.origins.append(example)
            self.lengths.append(part.length)
            self.num_cut += part.was_cut
            self.num_answers += part.num_answers
            self.num_ended += part.num_ended
            self.num_tokens += part.num_tokens
            self.num_trained_tokens += part.num_trained_tokens

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        lengths = self.length_summary()
        return {
            "examples": self.num_examples,
            "encodings": len(self.encoded),
            "cut": self.num_cut,
            "dropped": self.num_dropped,
            "answers": self.num_answers,
            "answers_with_stop_token": self.num_ended,
            "tokens": self.num_tokens,
            "trained_tokens": self.num_trained_tokens,
            "lengths": lengths.to_json() if lengths else None,
            "labels": self.balance.to_json(),
        }


@dataclass
class CheckReport(Generic[T]):
    """Findings and counts of all splits."""

    format: str
    """Name of the examples' format."""
    max_length: int
    """Tokens that an example may have."""
    findings: Findings = field(default_factory=Findings)
    splits: dict[str, CheckedSplit[T]] = field(default_factory=dict)

    @property
    def num_errors(self) -> int:
        """Faults that must be repaired before training."""
        return self.findings.count("error")

    def encoded(self, split: str) -> list[T]:
        """The encodings of a split; none where there is no such split."""
        return self.splits[split].encoded if split in self.splits else []

    def first(self, split: str, number: int) -> list[tuple[T, str]]:
        """The first encodings of a split, and where their examples are from."""
        if split not in self.splits:
            return []
        origins = (example.where for example in self.splits[split].origins)
        return list(itertools.islice(zip(self.splits[split].encoded, origins, strict=True), number))

    def sources(self, split: str) -> list[str]:
        """The part of a mixture that each encoding of a split belongs to."""
        return [example.source for example in self.splits[split].origins] if split in self.splits else []

    def warnings(self) -> list[str]:
        """One line for each kind of fault that training may begin with."""
        return [finding.line() for finding in self.findings.of("warning")]

    def refusal(self, where: object, command: str) -> InputError | None:
        """Why training cannot begin, or None when it can; `command` is the one that lists everything."""
        if not self.num_errors:
            return None
        first = self.findings.first("error", _NAMED)
        rest = self.num_errors - len(first)
        named = "; ".join(first) + (f"; and {rest:,} more" if rest else "")
        faults = "1 error" if self.num_errors == 1 else f"{self.num_errors:,} errors"
        remedies = {finding.fault.name: finding.fault.remedy for finding in self.findings.of("error")}
        remedy = next(iter(remedies.values())) if len(remedies) == 1 else "repair or remove these rows"
        return InputError(f"{faults}: {named}", where=str(where), remedy=f"{remedy}; see all: {command}")

    def counts(self) -> dict[str, int]:
        """What a stage says of its examples: those of the training split, and what became of all."""
        return {
            "examples": self.splits["train"].num_examples,
            "cut": sum(split.num_cut for split in self.splits.values()),
            "dropped": sum(split.num_dropped for split in self.splits.values()),
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": self.format,
            "max_length": self.max_length,
            "errors": self.num_errors,
            "warnings": self.findings.count("warning"),
            "findings": [finding.to_json() for finding in self.findings],
            "splits": {name: split.to_json() for name, split in self.splits.items()},
        }
