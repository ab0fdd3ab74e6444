"""The kinds of examples that models are taught from. Each knows the file and line it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Turn = Mapping[str, Any]
"""A message in OpenAI's form: `role`, `content` and, where a turn has them, `tool_calls` …"""


class Row(NamedTuple):
    """One record of a file, before it is known what it means."""

    values: Mapping[str, Any]
    where: str
    """`file.jsonl:12`, lines counted from 1, or `file.json[11]`, elements counted from 0: what errors name."""
    source: str = ""
    """The part of a mixture that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What all kinds have in common."""

    where: str = ""
    """`file.jsonl:12`."""
    source: str = ""
    """The part of a mixture that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainText(Example):
    """A text to be continued or restored."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat(Example):
    """A conversation; what the assistant says is learned."""

    messages: Sequence[Turn]
    tools: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion(Example):
    """A text and how it goes on."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledText(Example):
    """A text, or a pair of texts, with what it is."""

    text: str
    pair: str | None = None
    label: str | float | tuple[str, ...]
    """A class, a number (regression), or all classes that apply."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Example):
    """A text and what becomes of it, such as its translation or summary."""

    source_text: str
    target_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference(Example):
    """Two ways in which a conversation could go on, the first better than the second."""

    prompt: Sequence[Turn] | str
    """Messages, or plain text for a model without a chat template."""
    chosen: Sequence[Turn] | str
    rejected: Sequence[Turn] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Example):
    """One way in which a conversation went on, and whether that was good (KTO's data)."""

    prompt: Sequence[Turn] | str
    completion: Sequence[Turn] | str
    desirable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Example):
    """A prompt for reinforcement learning, with what a reward needs to judge the answer."""

    prompt: Sequence[Turn] | str
    answer: str | None = None
    """The reference, where there is one."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The other columns of its row."""
