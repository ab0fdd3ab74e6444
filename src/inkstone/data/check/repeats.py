"""Rows of one split that repeat or contradict each other."""

from collections.abc import Iterator
from typing import NamedTuple

from inkstone.data.check.faults import CONFLICT, CONSTANT, DUPLICATE, DUPLICATE_ID, Found
from inkstone.data.check.findings import shown
from inkstone.data.check.views import View
from inkstone.data.examples.keys import digest
from inkstone.data.examples.records import Example, Question

_MANY = 10
"""Rows from which one value in all of them is no chance."""


class _Seen(NamedTuple):
    where: str
    answer: bytes
    excerpt: str


class Repeats:
    """Looks for them while the rows of a split come by."""

    def __init__(self) -> None:
        self._rows: dict[bytes, str] = {}
        self._questions: dict[bytes, _Seen] = {}
        self._ids: dict[str, str] = {}
        self._values: dict[str, set[bytes]] = {"prompt": set(), "answer": set()}
        self._num_rows = 0
        self._answer_name = ""

    def find(self, example: Example, view: View) -> Iterator[Found]:
        """What an example has in common with those before it."""
        where, answer = example.where, digest(view.answer.text)
        question = digest(view.question)
        self._count(view)
        if isinstance(example, Question) and example.id:
            if (first := self._ids.get(example.id)) is not None:
                yield Found(DUPLICATE_ID, f"{shown(example.id)} is the id of {first}, too")
            self._ids.setdefault(example.id, where)
        row = question + answer
        if (first := self._rows.get(row)) is not None:
            yield Found(DUPLICATE, f"the same as {first}")
            return
        self._rows[row] = where
        seen = self._questions.setdefault(question, _Seen(where, answer, shown(view.answer.text)))
        if seen.answer != answer:
            answers = f"{view.answer.name}: {shown(view.answer.text)}, not {seen.excerpt}"
            yield Found(CONFLICT, f"the same as {seen.where} with another {answers}")

    def find_constants(self) -> Iterator[Found]:
        """Prompts or answers that are the same in all rows."""
        if self._num_rows < _MANY:
            return
        for name, values in self._values.items():
            if len(values) == 1 and values != {digest("")}:
                called = self._answer_name if name == "answer" else name
                yield Found(CONSTANT, f"the {called} is the same in all {self._num_rows:,} rows")

    def _count(self, view: View) -> None:
        self._num_rows += 1
        self._answer_name = view.answer.name
        for name, value in (("prompt", view.prompt), ("answer", view.answer.text)):
            if len(self._values[name]) < 2:
                self._values[name].add(digest(value))
