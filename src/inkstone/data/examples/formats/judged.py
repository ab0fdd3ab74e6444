"""Answers that were judged one by one: the data of KTO."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import filled, kind, required
from inkstone.data.examples.formats.prompts import ALPACA, CONVERSATION, answer, conversation, joined, prompt
from inkstone.data.examples.formats.turns import check_order
from inkstone.data.examples.records import Judged, Row, TurnsOrText

_LABELS = ("label", "kto_tag")
_JUDGMENTS = {"true": True, "1": True, "false": False, "0": False}


class JudgedFormat(Format[Judged]):
    """`prompt` and `completion`, or a whole conversation, and a `label` that is true or false."""

    name: ClassVar[str] = "judged"
    example = Judged
    columns: ClassVar[tuple[str, ...]] = ("prompt", "completion", *_LABELS, *CONVERSATION, *ALPACA, "output", "system")
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("prompt", "completion", "label"),
        ("messages", "label"),
        ("instruction", "output", "kto_tag"),
    )

    def recognizes(self, columns: Collection[str]) -> bool:
        """Whether an answer and its label are there."""
        answers = ("completion", "output", *CONVERSATION)
        return any(name in columns for name in _LABELS) and any(name in columns for name in answers)

    def parse(self, row: Row) -> Judged:
        """Prompt and answer, both as text or both as messages."""
        asked, said = self._parts(row)
        asked, said = joined(asked, said)
        if not isinstance(asked, str):
            check_order(row, [*asked, *said], last="assistant")
        return Judged(prompt=asked, completion=said, desirable=_judgment(row), where=row.where, source=row.source)

    def _parts(self, row: Row) -> tuple[TurnsOrText, TurnsOrText]:
        if filled(row, ("prompt", "completion")) is None and filled(row, CONVERSATION) is not None:
            turns = conversation(row)
            check_order(row, turns, last="assistant")
            return turns[:-1], turns[-1:]
        asked = prompt(row)
        if not asked:
            raise InputError("has no prompt", where=row.where, remedy="give `prompt`, `messages` or `instruction`")
        names = ("completion", "output")
        return asked, answer(row, filled(row, names) or names[0], required(row, *names))

    def to_row(self, example: Judged) -> Mapping[str, Any]:
        """`{"prompt": …, "completion": …, "label": true}`."""
        return {"prompt": example.prompt, "completion": example.completion, "label": example.desirable}


def _judgment(row: Row) -> bool:
    label = required(row, *_LABELS)
    judgment = _JUDGMENTS.get(str(label).strip().lower())
    if judgment is None:
        cause = f"the label {label!r} is {kind(label)}, not true or false"
        raise InputError(cause, where=row.where, remedy="write true for a good answer and false for a bad one")
    return judgment
