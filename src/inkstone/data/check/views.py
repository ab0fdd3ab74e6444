"""Examples of every kind as the check compares them: texts, what is asked, what is answered."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from inkstone.data.examples.keys import input_key
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


class Text(NamedTuple):
    """A text of an example."""

    name: str
    """Its column, or whose turn it is."""
    text: str


class View(NamedTuple):
    """An example, whatever its kind."""

    texts: tuple[Text, ...]
    prompt: str
    """What the model is given (`input_key`). When it is in the training and in the evaluation data, it leaks."""
    question: str
    """What rows have in common that contradict each other if their answers differ: as a rule the prompt."""
    answer: str
    answer_name: str


def view_of(example: Example) -> View:
    """The view of an example."""
    prompt = input_key(example)
    question = prompt
    match example:
        case PlainText():
            texts, answer, name = [Text("text", example.text)], "", "text"
        case Chat():
            said = [turn for turn in example.messages if turn["role"] == "assistant"]
            texts, answer, name = _turns("", example.messages), "\n".join(map(_said, said)), "answer"
        case Completion():
            texts = [Text("prompt", example.prompt), Text("completion", example.completion)]
            answer, name = example.completion, "completion"
        case LabeledText():
            pair = [] if example.pair is None else [Text("pair", example.pair)]
            texts, name = [Text("text", example.text), *pair], "label"
            answer = ", ".join(sorted(example.label)) if isinstance(example.label, tuple) else str(example.label)
        case LabeledSpans():
            named = [f"{example.text[start:end]} ({label})" for start, end, label in example.spans]
            texts, answer, name = [Text("text", example.text)], ", ".join(named), "spans"
        case Question():
            texts = [Text("question", example.question), Text("context", example.context)]
            answer, name = ", ".join(sorted({answer.text for answer in example.answers})), "answer"
        case Pair():
            texts = [Text("source", example.source_text), Text("target", example.target_text)]
            answer, name = example.target_text, "target"
        case Preference():
            sides = [conversation_text(side) for side in (example.chosen, example.rejected)]
            texts = _texts("prompt", example.prompt)
            texts += _texts("chosen", example.chosen) + _texts("rejected", example.rejected)
            question, answer, name = "\n".join([prompt, *sorted(sides)]), sides[0], "choice"
        case Judged():
            texts = _texts("prompt", example.prompt) + _texts("completion", example.completion)
            question = "\n".join([prompt, conversation_text(example.completion)])
            answer, name = "desirable" if example.desirable else "undesirable", "judgment"
        case Problem():
            texts, answer, name = _texts("prompt", example.prompt), example.answer or "", "answer"
        case _:
            raise TypeError(type(example))
    return View(tuple(texts), prompt, question, answer, name)


def conversation_text(conversation: Sequence[Turn] | str) -> str:
    """Messages, or a text, as one text."""
    return conversation if isinstance(conversation, str) else "\n".join(map(_line, conversation))


def _texts(name: str, conversation: Sequence[Turn] | str) -> list[Text]:
    return [Text(name, conversation)] if isinstance(conversation, str) else _turns(f"{name}, ", conversation)


def _turns(prefix: str, turns: Sequence[Turn]) -> list[Text]:
    return [Text(f"{prefix}message {n} ({turn['role']})", turn["content"]) for n, turn in enumerate(turns, 1)]


def _line(turn: Turn) -> str:
    return f"{turn['role']}: {_said(turn)}"


def _said(turn: Turn) -> str:
    calls = turn.get("tool_calls")
    called = json.dumps(calls, sort_keys=True, ensure_ascii=False, default=str) if calls else ""
    return f"{turn['content']}{called}"
