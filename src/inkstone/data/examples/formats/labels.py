"""Texts, or pairs of texts, with a class, several classes, or a number."""

import math
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import filled, first_of, kind, required, required_text
from inkstone.data.examples.records import LabeledText, Row

_TEXTS = ("text", "sentence", "sentence1", "text_a", "premise", "review", "content")
_PAIRS = ("pair", "text_pair", "sentence2", "text_b", "hypothesis")
_LABELS = ("label", "labels", "score", "stars")


class LabelsFormat(Format[LabeledText]):
    """`text`, `pair` where there are two, and `label`: a class, a list of classes, or a number.

    Whole numbers in a file are classes (as in most data sets); what asks for numbers reads them as such.
    """

    name: ClassVar[str] = "labels"
    example = LabeledText
    columns: ClassVar[tuple[str, ...]] = (*_TEXTS, *_PAIRS, *_LABELS)
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "label"), ("text", "pair", "label"))

    def recognizes(self, columns: Collection[str]) -> bool:
        """Whether a text and a label are there."""
        return first_of(columns, *_TEXTS) is not None and first_of(columns, *_LABELS) is not None

    def parse(self, row: Row) -> LabeledText:
        """The text as it is, and the label."""
        pair = required_text(row, *_PAIRS) if filled(row, _PAIRS) else None
        return LabeledText(
            text=required_text(row, *_TEXTS),
            pair=pair,
            label=_label(row, required(row, *_LABELS)),
            where=row.where,
            source=row.source,
        )

    def to_row(self, example: LabeledText) -> Mapping[str, Any]:
        """`{"text": …, "label": …}`, with `pair` where there is one."""
        paired = {} if example.pair is None else {"pair": example.pair}
        label = list(example.label) if isinstance(example.label, tuple) else example.label
        return {"text": example.text, **paired, "label": label}


def _label(row: Row, label: Any) -> str | float | tuple[str, ...]:
    if isinstance(label, list):
        return tuple(_class(row, item) for item in label)
    if isinstance(label, float):
        if not math.isfinite(label):
            raise InputError(f"the label is {label}", where=row.where, remedy="write a finite number")
        return label
    return _class(row, label)


def _class(row: Row, label: Any) -> str:
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, int):
        return str(label)
    if isinstance(label, str) and label.strip():
        return label.strip()
    cause = "the label is empty" if isinstance(label, str) else f"the label is {kind(label)}"
    raise InputError(cause, where=row.where, remedy="write a class, a list of classes, or a number")
