"""Which documents are held out for validation.

By default the hash of the text decides, so adding data never moves a document and copies of one text are on the same
side. Other keys keep books or collections together; `valid_tail` holds out the end of each file instead.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

from inkstone.core.records import Document
from inkstone.data.corpus import Split, open_shard, shard_paths


@dataclass(frozen=True)
class SplitRule:
    """The settings of the split."""

    valid_fraction: float
    split_by: str
    """`text`, `id`, `source` or `meta.<name>`."""
    valid_ids: frozenset[str]
    valid_tail: float
    valid_tail_for: Literal["all", "texts"]


class Splitter:
    """Assigns documents, in their order, to train and valid."""

    def __init__(self, rule: SplitRule, lengths: Mapping[str, int]) -> None:
        """`lengths` are the characters of each source, needed for `valid_tail` only; see `source_lengths`."""
        self.rule = rule
        self.lengths = lengths
        self.fraction = as_fraction(rule.valid_fraction)
        self._source = ""
        self._position = 0

    def assign(self, document: Document, key: bytes, raw_chars: int) -> Iterator[tuple[Document, Split]]:
        """The split of `document`; two parts when the border of `valid_tail` runs through it.

        `key` is the hash of its text (see `text_key`), `raw_chars` its length before cleaning, which the border is
        measured in. Must be told of every document of a source, in order: see `skip`.
        """
        tail = self._position_of(document, raw_chars)
        whole = part_of(document)
        if whole in self.rule.valid_ids or document.id in self.rule.valid_ids:
            yield document, "valid"
        elif tail is None:
            yield document, "valid" if self._held_out(document, whole, key) else "train"
        else:
            yield from _cut_at(document, tail)

    def skip(self, document: Document, raw_chars: int) -> None:
        """Count a document that was dropped."""
        self._position_of(document, raw_chars)

    def _position_of(self, document: Document, raw_chars: int) -> Fraction | None:
        """Share of the document that lies before the border of its source's tail; None when no tail is held out."""
        rule = self.rule
        if not rule.valid_tail:
            return None
        if document.source != self._source:
            self._source, self._position = document.source, 0
        start = self._position
        self._position += raw_chars
        if rule.valid_tail_for == "texts" and not is_running_text(document):
            return None
        total = self.lengths.get(document.source, 0)
        border = total * (1 - as_fraction(rule.valid_tail))
        share = min(max((border - start) / max(raw_chars, 1), Fraction(0)), Fraction(1))
        if 0 < share < 1 and raw_chars < total * rule.valid_tail:
            return Fraction(1)  # a small document is not worth cutting
        return share

    def _held_out(self, document: Document, whole: str, text_hash: bytes) -> bool:
        if not self.fraction:
            return False
        key: bytes | str = text_hash
        if self.rule.split_by == "id":
            key = whole
        elif self.rule.split_by == "source":
            key = document.source
        elif self.rule.split_by.startswith("meta."):
            key = str(document.meta.get(self.rule.split_by.removeprefix("meta."), text_hash.hex()))
        return is_held_out(key, self.fraction)


@cache
def as_fraction(share: float) -> Fraction:
    """The share as it was meant: 0.05 is 1/20."""
    return Fraction(share).limit_denominator(10_000)


def is_held_out(key: bytes | str, fraction: Fraction) -> bool:
    """Whether what has this key is held out: of n/20, where SHA-1 of the key, as a number, is below n modulo 20."""
    data = key.encode() if isinstance(key, str) else key
    number = int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest())
    return number % fraction.denominator < fraction.numerator


def part_of(document: Document) -> str:
    """The id of the whole document that this one was cut from; its own id when it was not."""
    return str(document.meta.get("part_of", document.id)) if document.meta else document.id


def is_running_text(document: Document) -> bool:
    """Whether the document is a file's running text, or a part of it, rather than a record."""
    return part_of(document) == document.source


def _cut_at(document: Document, share: Fraction) -> Iterator[tuple[Document, Split]]:
    end = int(len(document.text) * share)
    if end >= len(document.text):
        yield document, "train"
    elif end == 0:
        yield document, "valid"
    else:
        yield replace(document, text=document.text[:end]), "train"
        yield replace(document, text=document.text[end:], id=f"{document.id}#tail"), "valid"


def source_lengths(folder: Path) -> dict[str, int]:
    """Characters of each source, read from the documents' shards column by column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths: dict[str, int] = {}
    for path in shard_paths(folder):
        with open_shard(path) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, columns=["source", "text"])
                counted = pa.table({"source": table["source"], "chars": pc.utf8_length(table["text"])})
                for row in counted.group_by("source").aggregate([("chars", "sum")]).to_pylist():
                    lengths[row["source"]] = lengths.get(row["source"], 0) + row["chars_sum"]
    return lengths
