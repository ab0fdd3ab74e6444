"""How often a text is exactly the one that was wanted."""

from typing import ClassVar

from inkstone.evaluate.metrics.base import Kind, Mean


class ExactMatch(Mean):
    """Share of texts that equal their reference, but for white space at the ends."""

    name: ClassVar[str] = "exact_match"
    kind: ClassVar[Kind] = "texts"

    def score(self, reference: str, prediction: str) -> float:
        """1 or 0."""
        return float(reference.strip() == prediction.strip())
