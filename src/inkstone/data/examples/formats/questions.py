"""Questions whose answers are parts of a context: SQuAD's layout, nested or flat."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import checked_text, kind, required_text
from inkstone.data.examples.formats.places import check_place, only_place
from inkstone.data.examples.records import NOWHERE, Answer, Question, Row


class QuestionsFormat(Format[Question]):
    """`context`, `question` and `answers`, each with its place; or articles with `paragraphs` with `qas`.

    An `answer` without a place must be in the context exactly once; the place -1 says that it is put in other words.
    No answers: the question cannot be answered.
    """

    name: ClassVar[str] = "questions"
    example = Question
    columns: ClassVar[tuple[str, ...]] = (
        *("id", "context", "question", "answers", "answer", "answer_start", "is_impossible"),
        *("paragraphs", "qas", "title"),
    )
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("context", "question", "answers"),
        ("paragraphs",),
        ("context", "qas"),
        ("context", "question", "answer"),
    )

    def unfold(self, row: Row) -> Iterator[Row]:
        """A row for each question of an article or paragraph."""
        if "paragraphs" not in row.values and "qas" not in row.values:
            yield row
            return
        paragraphs = row.values.get("paragraphs", [row.values])
        for paragraph in _objects(row, "paragraphs", paragraphs):
            for number, question in enumerate(_objects(row, "qas", paragraph.get("qas")), start=1):
                name = question.get("id") or f"question {number}"
                article = {"title": row.values.get("title"), "context": paragraph.get("context")}
                values = {"id": f"{row.where} {name}", **article, **question}
                yield Row(values, f"{row.where} {name}", row.source)

    def parse(self, row: Row) -> Question:
        """The question; every answer must stand where it is said to."""
        context = required_text(row, "context")
        return Question(
            id=str(row.values.get("id") or row.where),
            question=required_text(row, "question"),
            context=context,
            answers=tuple(_answers(row, context)),
            where=row.where,
            source=row.source,
        )

    def to_row(self, example: Question) -> Mapping[str, Any]:
        """A row of Hugging Face's `squad`: `answers` holds `text` and `answer_start`, one of each per answer."""
        answers = {"text": [a.text for a in example.answers], "answer_start": [a.start for a in example.answers]}
        return {"id": example.id, "context": example.context, "question": example.question, "answers": answers}


def _objects(row: Row, name: str, value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        return value
    raise InputError(f"`{name}` is {kind(value)}, not a list of objects", where=row.where, remedy="see SQuAD's layout")


def _answers(row: Row, context: str) -> list[Answer]:
    """The answers, those that stand in the context first."""
    if row.values.get("is_impossible"):
        return []
    answers = [_answer(row, context, text, start) for text, start in _listed(row)]
    placed = [answer for answer in answers if answer.start >= 0]
    if answers and not placed:
        remedy = "give one that does, or remove the row"
        raise InputError("no answer stands in the context", where=row.where, remedy=remedy)
    return placed + [answer for answer in answers if answer.start < 0]


def _answer(row: Row, context: str, text: Any, start: Any) -> Answer:
    text = checked_text(row, "answers", text)
    if start is None:
        start = only_place(row, "the answer", text, context)
    if not isinstance(start, int):
        raise InputError(f"`answer_start` is {kind(start)}", where=row.where, remedy="write a whole number")
    if start != NOWHERE:
        check_place(row, "the answer", text, context, start)
    return Answer(text, start)


def _listed(row: Row) -> list[tuple[Any, Any]]:
    """Texts and starts, from a list of both, from two lists, or from one answer."""
    given = row.values.get("answers")
    if given is None and row.values.get("answer") is not None:
        given = [{"text": row.values["answer"], "answer_start": row.values.get("answer_start")}]
    if isinstance(given, Mapping):
        texts, starts = given.get("text"), given.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            cause = "`answers` does not hold as many `text` as `answer_start`"
            raise InputError(cause, where=row.where, remedy="write one of each per answer")
        return list(zip(texts, starts, strict=True))
    return [(answer.get("text"), answer.get("answer_start")) for answer in _objects(row, "answers", given)]
