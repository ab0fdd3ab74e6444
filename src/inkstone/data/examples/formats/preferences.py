"""Preferences: a prompt, an answer that was chosen and one that was rejected."""

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import filled, required
from inkstone.data.examples.formats.prompts import ALPACA, CONVERSATION, answer, joined, prompt
from inkstone.data.examples.formats.turns import check_order
from inkstone.data.examples.records import Preference, Row

_PROMPTS = ("prompt", *CONVERSATION, "instruction")


class PreferencesFormat(Format[Preference]):
    """`chosen` (or Alpaca's `output`) and `rejected`, as text or messages.

    The prompt is a text or messages too, or Alpaca's columns; without one, it is what both conversations begin with.
    """

    name: ClassVar[str] = "preferences"
    example = Preference
    columns: ClassVar[tuple[str, ...]] = ("chosen", "rejected", "prompt", *CONVERSATION, *ALPACA, "output", "system")
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("prompt", "chosen", "rejected"),
        ("conversations", "chosen", "rejected"),
        ("instruction", "output", "rejected"),
        ("chosen", "rejected"),
    )

    def parse(self, row: Row) -> Preference:
        """Prompt and answers, all as text or all as messages."""
        chosen = answer(row, filled(row, ("chosen", "output")) or "chosen", required(row, "chosen", "output"))
        rejected = answer(row, "rejected", required(row, "rejected"))
        if not isinstance(chosen, str) and not isinstance(rejected, str) and chosen[0]["role"] != "assistant":
            same = itertools.takewhile(lambda turns: turns[0] == turns[1], zip(chosen, rejected, strict=False))
            asked: Any = [turn for turn, _ in same]
            chosen, rejected = chosen[len(asked) :], rejected[len(asked) :]
        else:
            asked = prompt(row)
        if not asked:
            raise InputError("has no prompt", where=row.where, remedy=f"give one of {', '.join(_PROMPTS)}")
        if chosen == rejected or not chosen or not rejected:
            raise InputError("chosen and rejected are the same", where=row.where, remedy="remove the row")
        asked, chosen, rejected = joined(asked, chosen, rejected)
        for said in (chosen, rejected):
            if not isinstance(asked, str):
                check_order(row, [*asked, *said], last="assistant")
        return Preference(prompt=asked, chosen=chosen, rejected=rejected, where=row.where, source=row.source)

    def to_row(self, example: Preference) -> Mapping[str, Any]:
        """`{"prompt": …, "chosen": …, "rejected": …}`."""
        return {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
