"""Texts with what is named in them: tags of tokens, lists of spans, or CLUENER's places."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import filled, first_of, kind, required, required_text
from inkstone.data.examples.formats.places import check_place
from inkstone.data.examples.formats.tags import text_and_spans
from inkstone.data.examples.records import LabeledSpans, Row, Span

_TAGS = ("tags", "ner_tags", "labels")
_SPANS = ("spans", "entities", "label")


class SpansFormat(Format[LabeledSpans]):
    """`tokens` and `tags` (BIO, BIOES …); or `text` and `spans`, each `{start, end, label}`, the end exclusive.

    CLUENER's `label`, `{name: {surface: [[start, last], …]}}`, is read too.
    """

    name: ClassVar[str] = "spans"
    example = LabeledSpans
    columns: ClassVar[tuple[str, ...]] = ("tokens", *_TAGS, "text", *_SPANS)
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (("tokens", "tags"), ("text", "spans"))

    def recognizes(self, columns: Collection[str]) -> bool:
        """Whether tags or spans are there."""
        tagged = "tokens" in columns and first_of(columns, *_TAGS) is not None
        return tagged or ("text" in columns and first_of(columns, *_SPANS) is not None)

    def parse(self, row: Row) -> LabeledSpans:
        """The text, and its spans in their order."""
        if row.values.get("tokens") is not None:
            name = filled(row, _TAGS) or _TAGS[0]
            text, spans = text_and_spans(row, required(row, "tokens"), name, required(row, *_TAGS))
        else:
            text = required_text(row, "text")
            name = filled(row, _SPANS) or _SPANS[0]
            spans = sorted(_spans(row, text, name, required(row, *_SPANS)))
        for first, second in itertools.pairwise(spans):
            if second.start < first.end:
                raise InputError(
                    f"the spans {_quoted(text, first)} and {_quoted(text, second)} overlap",
                    where=row.where,
                    remedy="keep one of them",
                )
        return LabeledSpans(text=text, spans=tuple(spans), where=row.where, source=row.source)

    def to_row(self, example: LabeledSpans) -> Mapping[str, Any]:
        """`{"text": …, "spans": [{"start": …, "end": …, "label": …}]}`."""
        return {"text": example.text, "spans": [span._asdict() for span in example.spans]}


def _quoted(text: str, span: Span) -> str:
    return f"{text[span.start : span.end]!r} ({span.label})"


def _spans(row: Row, text: str, name: str, value: Any) -> Iterator[Span]:
    if isinstance(value, Mapping):
        yield from _by_surface(row, text, name, value)
        return
    if not isinstance(value, list):
        raise _malformed(row, f"`{name}` is {kind(value)}, not a list of spans")
    for given in value:
        span = _span(row, given)
        if not 0 <= span.start < span.end <= len(text):
            cause = f"the span {span.start} to {span.end} ({span.label}) is not in the text of {len(text)} characters"
            raise _malformed(row, cause)
        surface = given.get("text") if isinstance(given, Mapping) else None
        if isinstance(surface, str) and text[span.start : span.end] != surface:
            check_place(row, "the span", surface, text, span.start)
            raise _malformed(row, f"the span {surface!r} does not end at character {span.end}")
        yield span


def _span(row: Row, given: Any) -> Span:
    """A span from `{start, end, label}` or `[start, end, label]`."""
    parts = given
    if isinstance(given, Mapping):
        parts = [given.get("start"), given.get("end"), given.get("label", given.get("type"))]
    if isinstance(parts, list | tuple) and len(parts) == 3:
        start, end, label = parts
        if isinstance(start, int) and isinstance(end, int) and isinstance(label, str) and label:
            return Span(start, end, label)
    raise _malformed(row, f"{given!r} is not a span")


def _by_surface(row: Row, text: str, name: str, value: Mapping[str, Any]) -> Iterator[Span]:
    """CLUENER's spans, whose ends are inclusive."""
    try:
        given = [
            (s, start, last, label) for label, found in value.items() for s, p in found.items() for start, last in p
        ]
    except (AttributeError, TypeError, ValueError):
        given = [(None, None, None, "")]
    for surface, start, last, label in given:
        if not isinstance(surface, str) or not isinstance(start, int):
            raise _malformed(row, f"`{name}` does not hold places such as {{name: {{surface: [[start, last]]}}}}")
        check_place(row, "the span", surface, text, start)
        if last != start + len(surface) - 1:
            raise _malformed(row, f"the span {surface!r} does not end at character {last}")
        yield Span(start, last + 1, label)


def _malformed(row: Row, cause: str) -> InputError:
    return InputError(cause, where=row.where, remedy='write {"start": 0, "end": 3, "label": "name"}, the end exclusive')
