"""What the stage `examples` writes: rows without duplicates and leakage, and the card that counts them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inkstone.data.examples.columns import DATASET
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.gather import Gathered
from inkstone.data.examples.keys import digest, row_key
from inkstone.data.examples.splits import SPLITS
from inkstone.data.examples.stage_config import ExamplesStageConfig

MAX_LISTED = 100
"""Malformed rows that the card names."""


@dataclass
class Output:
    """The rows of each split; test first, then valid, then train, so that each is kept free of those before it."""

    format: Format[Any]
    config: ExamplesStageConfig
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    num_same_in_test: int = 0
    _asked: dict[bytes, str] = field(default_factory=dict)
    """What is asked → the first of the splits, in this order, that asks it."""
    _seen: set[bytes] = field(default_factory=set)

    def add(self, source: Gathered, split: str) -> None:
        """Add the examples of a source that belong to `split`, unless they are to be dropped."""
        for entry in source.entries:
            if entry.split != split:
                continue
            row = dict(self.format.to_row(entry.example))
            reason = self._reason_to_drop(split, digest(entry.example.input_key), digest(row_key(row)))
            if reason is not None:
                source.dropped[reason] += 1
                continue
            if name := entry.example.source or source.name:
                row[DATASET] = name
            self.rows.setdefault(split, []).append(row)
            source.kept[split] += 1

    def _reason_to_drop(self, split: str, asked: bytes, whole: bytes) -> str | None:
        is_known = whole in self._seen
        self._seen.add(whole)
        asked_in = self._asked.setdefault(asked, split)
        if split == "test":
            self.num_same_in_test += is_known
            return None
        if asked_in != split and self.config.drop_leakage:
            return f"asked in {asked_in} too, dropped from {split}"
        return f"duplicate, dropped from {split}" if is_known and self.config.drop_duplicates else None

    def card(self, gathered: Sequence[Gathered]) -> dict[str, Any]:
        """What was kept, what was dropped and why."""
        faults = [fault for source in gathered for fault in source.faults]
        dropped = sum((source.dropped for source in gathered), Counter[str]())
        return {
            "format": self.format.name,
            "splits": {split: len(self.rows[split]) for split in SPLITS if split in self.rows},
            "dropped": dict(dropped),
            "duplicates_kept_in_test": self.num_same_in_test,
            "sources": [source.card() for source in gathered],
            "malformed": [str(fault).replace("\n", " ") for fault in faults[:MAX_LISTED]],
            "settings": self.config.model_dump(mode="json", exclude_defaults=True),
        }
