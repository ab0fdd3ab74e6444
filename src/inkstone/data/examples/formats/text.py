"""Plain texts."""

from collections.abc import Mapping
from typing import Any, ClassVar

from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import required_text
from inkstone.data.examples.records import PlainText, Row


class TextFormat(Format[PlainText]):
    """`text`."""

    name: ClassVar[str] = "text"
    example = PlainText
    columns: ClassVar[tuple[str, ...]] = ("text",)
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (("text",),)

    def parse(self, row: Row) -> PlainText:
        """The text as it is."""
        return PlainText(text=required_text(row, "text"), where=row.where, source=row.source)

    def to_row(self, example: PlainText) -> Mapping[str, Any]:
        """`{"text": …}`."""
        return {"text": example.text}
