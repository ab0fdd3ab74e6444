"""Prompts for reinforcement learning, with what a reward needs to judge the answer."""

from collections.abc import Mapping
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import checked_text, filled
from inkstone.data.examples.formats.prompts import prompt
from inkstone.data.examples.formats.turns import check_order
from inkstone.data.examples.records import Problem, Row

_PROMPTS = ("prompt", "question", "messages", "conversations", "instruction")


class ProblemsFormat(Format[Problem]):
    """`prompt`, `question` or `messages`, and the `answer` where there is one; all other columns are facts."""

    name: ClassVar[str] = "problems"
    example = Problem
    columns: ClassVar[tuple[str, ...]] = (*_PROMPTS, "input", "history", "system", "answer")
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("prompt",),
        ("question",),
        ("messages",),
        ("conversations",),
        ("instruction",),
    )

    def parse(self, row: Row) -> Problem:
        """The prompt, which must leave the last word to the model."""
        name = filled(row, _PROMPTS)
        if name is None:
            raise InputError("has no prompt", where=row.where, remedy=f"give one of {', '.join(_PROMPTS)}")
        asked = checked_text(row, name, row.values[name]) if name == "question" else prompt(row)
        assert asked is not None
        if not isinstance(asked, str):
            check_order(row, asked, last="user")
        used = {name, "answer"}
        if name in ("messages", "conversations", "instruction"):
            used |= {"system", "input", "history"}
        return Problem(
            prompt=asked,
            answer=_answer(row),
            facts={key: value for key, value in row.values.items() if key not in used and value is not None},
            where=row.where,
            source=row.source,
        )

    def to_row(self, example: Problem) -> Mapping[str, Any]:
        """`{"prompt": …, "answer": …}` and the facts."""
        answered = {} if example.answer is None else {"answer": example.answer}
        return {"prompt": example.prompt, **answered, **example.facts}


def _answer(row: Row) -> str | None:
    answer = row.values.get("answer")
    if answer is None:
        return None
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return str(answer)
    return checked_text(row, "answer", answer)
