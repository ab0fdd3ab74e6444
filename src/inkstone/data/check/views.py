"""Examples of every kind as the check sees them: texts, what is asked, what is answered."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import singledispatch
from typing import NamedTuple

from inkstone.data.examples.records import (
    Chat,
    Completion,
    Example,
    Judged,
    LabeledSpans,
    LabeledText,
    Pair,
    PlainText,
    Preference,
    Problem,
    Question,
    Turn,
)

_BETWEEN = "\x1e"


class Text(NamedTuple):
    """A text of an example."""

    name: str
    """Its column, or whose turn it is."""
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """An example, whatever its kind."""

    texts: tuple[Text, ...]
    prompt: str
    """What the model is given. When it stands in the training and in the evaluation data, it leaks."""
    answer: str
    """What it is to make of it."""
    question: str = ""
    """What two rows have in common that contradict each other when they have other answers; else the prompt."""
    answer_name: str = "answer"

    @property
    def asked(self) -> str:
        """`question`, or the prompt."""
        return self.question or self.prompt


@singledispatch
def view_of(example: Example) -> View:
    """The view of an example; of a kind from a plug-in, its text fields."""
    names = [field.name for field in fields(example) if field.name not in ("where", "source")]
    values = {name: value for name in names if isinstance(value := getattr(example, name), str)}
    return View(tuple(Text(*item) for item in values.items()), joined(values.values()), "")


@view_of.register
def _(example: PlainText) -> View:
    return View((Text("text", example.text),), example.text, "")


@view_of.register
def _(example: Chat) -> View:
    turns = example.messages
    last = max((n for n, turn in enumerate(turns) if turn["role"] == "assistant"), default=len(turns))
    tools = [] if example.tools is None else [_dumped(example.tools)]
    return View(_turn_texts(turns), joined([*tools, *map(_line, turns[:last])]), joined(map(_line, turns[last:])))


@view_of.register
def _(example: Completion) -> View:
    texts = (Text("prompt", example.prompt), Text("completion", example.completion))
    return View(texts, example.prompt, example.completion, answer_name="completion")


@view_of.register
def _(example: LabeledText) -> View:
    labels = (example.label,) if isinstance(example.label, str) else ()
    pair = () if example.pair is None else (Text("pair", example.pair),)
    texts = (Text("text", example.text), *pair, *(Text("label", label) for label in labels))
    label = joined(sorted(example.label)) if isinstance(example.label, tuple) else str(example.label)
    return View(texts, joined([example.text, example.pair or ""]), label, answer_name="label")


@view_of.register
def _(example: LabeledSpans) -> View:
    spans = _dumped(sorted(example.spans))
    return View((Text("text", example.text),), example.text, spans, answer_name="spans")


@view_of.register
def _(example: Question) -> View:
    texts = (Text("question", example.question), Text("context", example.context))
    answers = joined(sorted({answer.text for answer in example.answers}))
    return View(texts, joined([example.question, example.context]), answers)


@view_of.register
def _(example: Pair) -> View:
    texts = (Text("source", example.source_text), Text("target", example.target_text))
    return View(texts, example.source_text, example.target_text, answer_name="target")


@view_of.register
def _(example: Preference) -> View:
    prompt, chosen, rejected = map(conversation_text, (example.prompt, example.chosen, example.rejected))
    texts = (
        *_texts("prompt", example.prompt),
        *_texts("chosen", example.chosen),
        *_texts("rejected", example.rejected),
    )
    return View(texts, prompt, chosen, joined([prompt, *sorted([chosen, rejected])]), "choice")


@view_of.register
def _(example: Judged) -> View:
    prompt, completion = conversation_text(example.prompt), conversation_text(example.completion)
    texts = (*_texts("prompt", example.prompt), *_texts("completion", example.completion))
    return View(texts, prompt, str(example.desirable), joined([prompt, completion]), "judgment")


@view_of.register
def _(example: Problem) -> View:
    return View(_texts("prompt", example.prompt), conversation_text(example.prompt), example.answer or "")


def conversation_text(conversation: Sequence[Turn] | str) -> str:
    """Messages, or a text, as one text."""
    return conversation if isinstance(conversation, str) else joined(map(_line, conversation))


def joined(parts: Iterable[str]) -> str:
    """Parts with a sign between them that texts do not have."""
    return _BETWEEN.join(parts)


def _texts(name: str, conversation: Sequence[Turn] | str) -> tuple[Text, ...]:
    if isinstance(conversation, str):
        return (Text(name, conversation),)
    return tuple(text._replace(name=f"{name}, {text.name}") for text in _turn_texts(conversation))


def _turn_texts(turns: Sequence[Turn]) -> tuple[Text, ...]:
    return tuple(Text(f"message {n} ({turn['role']})", turn["content"]) for n, turn in enumerate(turns, 1))


def _line(turn: Turn) -> str:
    calls = turn.get("tool_calls")
    return f"{turn['role']}: {turn['content']}{_dumped(calls) if calls else ''}"


def _dumped(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
