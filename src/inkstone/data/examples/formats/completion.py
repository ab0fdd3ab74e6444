"""Prompts and how they go on."""

from collections.abc import Mapping
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import kind, required, required_text
from inkstone.data.examples.records import Completion, Row


class CompletionFormat(Format[Completion]):
    """`prompt` (which may be empty) and `completion`."""

    name: ClassVar[str] = "completion"
    example = Completion
    columns: ClassVar[tuple[str, ...]] = ("prompt", "completion")
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (("prompt", "completion"),)

    def parse(self, row: Row) -> Completion:
        """Both texts as they are: what lies between them belongs to one of them."""
        prompt = required(row, "prompt")
        if not isinstance(prompt, str):
            raise InputError(f"`prompt` is {kind(prompt)}, not a text", where=row.where, remedy="write a string")
        return Completion(
            prompt=prompt, completion=required_text(row, "completion"), where=row.where, source=row.source
        )

    def to_row(self, example: Completion) -> Mapping[str, Any]:
        """`{"prompt": …, "completion": …}`."""
        return {"prompt": example.prompt, "completion": example.completion}
