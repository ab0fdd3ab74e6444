"""The kinds of examples that models are taught from. Each knows the file and line it came from, and what it says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Turn = Mapping[str, Any]
"""A message in OpenAI's form: `role`, `content` and, where a turn has them, `tool_calls` …"""
TurnsOrText = Sequence[Turn] | str
"""Messages, or plain text for a model without a chat template."""


class Text(NamedTuple):
    """A text of an example."""

    name: str
    """Its column, or whose turn it is."""
    text: str


def conversation_text(conversation: TurnsOrText) -> str:
    """Messages, or a text, as one text."""
    return conversation if isinstance(conversation, str) else "\n".join(map(_line, conversation))


def turn_text(turn: Turn) -> str:
    """What a message says, with its calls of tools."""
    calls = turn.get("tool_calls")
    called = json.dumps(calls, sort_keys=True, ensure_ascii=False, default=str) if calls else ""
    return f"{turn['content']}{called}"


def _line(turn: Turn) -> str:
    return f"{turn['role']}: {turn_text(turn)}"


def _first_question(conversation: TurnsOrText) -> str:
    if isinstance(conversation, str):
        return conversation
    return next((str(turn["content"]) for turn in conversation if turn["role"] == "user"), "")


def _texts(name: str, conversation: TurnsOrText) -> list[Text]:
    """A plain text, or those of all messages; `name` is its column, empty where it is all of the row."""
    if isinstance(conversation, str):
        return [Text(name, conversation)]
    prefix = f"{name}, " if name else ""
    return [
        Text(f"{prefix}message {number} ({turn['role']})", turn["content"])
        for number, turn in enumerate(conversation, start=1)
        if isinstance(turn.get("content"), str)
    ]


class Row(NamedTuple):
    """One record of a file, before it is known what it means."""

    values: Mapping[str, Any]
    where: str
    """`file.jsonl:12`, lines counted from 1, or `file.json[11]`, elements counted from 0: what errors name."""
    source: str = ""
    """The part of a mixture that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What all kinds have in common. A plug-in's own kind says at least what its `texts` are."""

    where: str = ""
    """`file.jsonl:12`."""
    source: str = ""
    """The part of a mixture that it belongs to."""

    def texts(self) -> list[Text]:
        """Everything that is written in it."""
        return []

    @property
    def group_key(self) -> str:
        """What examples on one side of a split have in common: a prompt, a conversation's first question, a context."""
        return "\n".join(text for _, text in self.texts())

    @property
    def input_key(self) -> str:
        """What is given to a model, without what is to be learned: the same in train and test is leakage."""
        return self.group_key


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainText(Example):
    """A text to be continued or restored."""

    text: str

    def texts(self) -> list[Text]:
        """By column."""
        return [Text("text", self.text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat(Example):
    """A conversation; what the assistant says is learned."""

    messages: Sequence[Turn]
    tools: Sequence[Mapping[str, Any]] | None = None

    def texts(self) -> list[Text]:
        """By message."""
        return _texts("", self.messages)

    @property
    def group_key(self) -> str:
        """The first question."""
        return _first_question(self.messages)

    @property
    def input_key(self) -> str:
        """All but what the assistant says."""
        return conversation_text([turn for turn in self.messages if turn["role"] != "assistant"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion(Example):
    """A text and how it goes on."""

    prompt: str
    completion: str

    def texts(self) -> list[Text]:
        """By column."""
        return [Text("prompt", self.prompt), Text("completion", self.completion)]

    @property
    def group_key(self) -> str:
        """The prompt; without one, the completion."""
        return self.prompt or self.completion


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledText(Example):
    """A text, or a pair of texts, with what it is."""

    text: str
    pair: str | None = None
    label: str | float | tuple[str, ...]
    """A class, a number (regression), or all classes that apply."""

    def texts(self) -> list[Text]:
        """By column."""
        return [Text("text", self.text), *([] if self.pair is None else [Text("pair", self.pair)])]


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledSpans(Example):
    """A text with what is named in it; spans do not overlap."""

    text: str
    spans: tuple[Span, ...]

    def texts(self) -> list[Text]:
        """By column."""
        return [Text("text", self.text)]


NOWHERE = -1
"""`Answer.start` of an answer that somebody gave in words of their own (as some of CMRC's)."""


class Answer(NamedTuple):
    """An answer as it stands in a context, from character `start` on."""

    text: str
    start: int
    """NOWHERE where it does not stand there: good for evaluating only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Example):
    """A question whose answer is a part of a context; without `answers` it cannot be answered from it.

    The first of the answers stands in the context.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]

    def texts(self) -> list[Text]:
        """By column."""
        return [Text("context", self.context), Text("question", self.question)]

    @property
    def group_key(self) -> str:
        """The context."""
        return self.context

    @property
    def input_key(self) -> str:
        """The context and the question."""
        return f"{self.context}\n{self.question}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Example):
    """A text and what becomes of it, such as its translation or summary."""

    source_text: str
    target_text: str

    def texts(self) -> list[Text]:
        """By column."""
        return [Text("source", self.source_text), Text("target", self.target_text)]

    @property
    def group_key(self) -> str:
        """The source."""
        return self.source_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted(Example):
    """What examples with a prompt to answer have in common."""

    prompt: TurnsOrText

    @property
    def group_key(self) -> str:
        """The prompt; of messages the first question."""
        return _first_question(self.prompt)

    @property
    def input_key(self) -> str:
        """The prompt."""
        return conversation_text(self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference(Prompted):
    """Two ways in which a conversation could go on, the first better than the second."""

    chosen: TurnsOrText
    rejected: TurnsOrText

    def texts(self) -> list[Text]:
        """By column or message."""
        return [*_texts("prompt", self.prompt), *_texts("chosen", self.chosen), *_texts("rejected", self.rejected)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Prompted):
    """One way in which a conversation went on, and whether that was good (KTO's data)."""

    completion: TurnsOrText
    desirable: bool

    def texts(self) -> list[Text]:
        """By column or message."""
        return [*_texts("prompt", self.prompt), *_texts("completion", self.completion)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Prompted):
    """A prompt for reinforcement learning, with what a reward needs to judge the answer."""

    answer: str | None = None
    """The reference, where there is one."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The other columns of its row."""

    def texts(self) -> list[Text]:
        """By column or message."""
        return [*_texts("prompt", self.prompt), *([] if self.answer is None else [Text("answer", self.answer)])]
