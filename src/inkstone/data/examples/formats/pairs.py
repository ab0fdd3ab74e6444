"""Pairs of texts: a source and what becomes of it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import required_text
from inkstone.data.examples.records import Pair, Row

NAMES = (
    ("source", "target"),
    ("src", "tgt"),
    ("document", "summary"),
    ("dialogue", "summary"),
    ("article", "highlights"),
    ("text", "summary"),
    ("content", "title"),
    ("abstract", "title"),
)
"""Columns that are known by name. Languages are not: which one is the source must be said."""


class PairsFormat(Format[Pair]):
    """`source` and `target`, or one of the usual pairs of names."""

    name: ClassVar[str] = "pairs"
    example = Pair
    columns: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys(name for pair in NAMES for name in pair))
    wants: ClassVar[tuple[tuple[str, ...], ...]] = NAMES

    def parse(self, row: Row) -> Pair:
        """Both texts as they are."""
        source, target = next((pair for pair in NAMES if set(pair) <= row.values.keys()), NAMES[0])
        return Pair(
            source_text=required_text(row, source),
            target_text=required_text(row, target),
            where=row.where,
            source=row.source,
        )

    def to_row(self, example: Pair) -> Mapping[str, Any]:
        """`{"source": …, "target": …}`."""
        return {"source": example.source_text, "target": example.target_text}
