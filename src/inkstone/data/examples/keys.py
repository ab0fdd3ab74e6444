"""What makes examples the same: what they ask, what they belong to, and all of what they say."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

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


def input_key(example: Example) -> str:
    """What is given to a model, without what is to be learned: the same in train and test is leakage."""
    match example:
        case Chat():
            return _said(turn for turn in example.messages if turn["role"] != "assistant")
        case Preference() | Judged() | Problem():
            return example.prompt if isinstance(example.prompt, str) else _said(example.prompt)
        case Question():
            return f"{example.context}\n{example.question}"
    return group_key(example)


def group_key(example: Example) -> str:
    """What examples on one side of a split have in common: a prompt, a conversation's first question, a context."""
    match example:
        case PlainText() | LabeledSpans():
            return example.text
        case LabeledText():
            return example.text if example.pair is None else f"{example.text}\n{example.pair}"
        case Completion():
            return example.prompt or example.completion
        case Pair():
            return example.source_text
        case Question():
            return example.context
        case Chat():
            return _first_question(example.messages)
        case Preference() | Judged() | Problem():
            return example.prompt if isinstance(example.prompt, str) else _first_question(example.prompt)
    raise TypeError(type(example))


def row_key(row: Mapping[str, Any]) -> str:
    """All of a row: the same twice is a duplicate."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, default=str)


def _first_question(turns: Sequence[Turn]) -> str:
    return next((str(turn["content"]) for turn in turns if turn["role"] == "user"), "")


def _said(turns: Any) -> str:
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
