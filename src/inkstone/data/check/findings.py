"""What was found, by kind of fault: all of it counted, the first of it kept."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from inkstone.data.check.faults import Fault, Found, Severity

KEPT = 1000
"""Places kept of each kind of fault."""


class Place(NamedTuple):
    """Where a fault is, and what it is there."""

    where: str
    what: str


@dataclass
class Finding:
    """All places of one kind of fault."""

    fault: Fault
    count: int = 0
    places: list[Place] = field(default_factory=list)
    """The first KEPT of them."""

    def add(self, where: str, what: str) -> None:
        """Count one more place."""
        self.count += 1
        if len(self.places) < KEPT:
            self.places.append(Place(where, what))

    def line(self) -> str:
        """All of it in one line."""
        more = f" and {self.count - 1:,} more" if self.count > 1 else ""
        return f"{self.fault.name}: {_sentence(self.places[0])}{more} ({self.fault.remedy})"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "fault": self.fault.name,
            "severity": self.fault.severity,
            "count": self.count,
            "remedy": self.fault.remedy,
            "places": [place._asdict() for place in self.places],
        }


class Findings:
    """Findings by kind, in the order in which they came up."""

    def __init__(self) -> None:
        self._by_fault: dict[Fault, Finding] = {}

    def add(self, found: Found, where: str) -> None:
        """Count a fault."""
        self._by_fault.setdefault(found.fault, Finding(found.fault)).add(where, found.what)

    def __iter__(self) -> Iterator[Finding]:
        """Errors first."""
        return iter((*self.of("error"), *self.of("warning")))

    def of(self, severity: Severity) -> list[Finding]:
        """The kinds of that severity."""
        return [finding for fault, finding in self._by_fault.items() if fault.severity == severity]

    def count(self, severity: Severity) -> int:
        """How many faults there are of that severity."""
        return sum(finding.count for finding in self.of(severity))

    def first(self, severity: Severity, number: int) -> list[str]:
        """The first places of each kind in turn, in words, `number` in all at most."""
        findings = self.of(severity)
        longest = max((len(finding.places) for finding in findings), default=0)
        ranked = [
            _sentence(finding.places[rank])
            for rank in range(longest)
            for finding in findings
            if rank < len(finding.places)
        ]
        return ranked[:number]


def _sentence(place: Place) -> str:
    return f"{place.where}: {place.what}" if place.where else place.what


def shown(text: str, limit: int = 40) -> str:
    """A text in quotes for a message: short, on one line, and writable whatever is in it."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}…"
