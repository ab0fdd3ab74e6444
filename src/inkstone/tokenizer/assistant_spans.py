"""Where in a rendered conversation the assistant speaks, told from renderings of its beginnings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inkstone.core.errors import InputError
from inkstone.tokenizer.bounded import Beginning
from inkstone.tokenizer.special import END_OF_TURN

if TYPE_CHECKING:
    from inkstone.tokenizer.tokenizer import Tokenizer

Turn = Mapping[str, Any]
"""A message in OpenAI's form."""
Tools = Sequence[Mapping[str, Any]]

_MARKED = re.compile(r"{%[-+]?\s*generation\s*[-+]?%}")
_TEACHING_KEYS = ("weight", "train")
"""Keys of a message that say whether it is learned; no template sees them."""


@dataclass(frozen=True, slots=True)
class TaughtText:
    """A rendered conversation, or its beginning, and what of it is learned."""

    text: str
    spans: list[tuple[int, int]]
    """Characters of `text`, in order: what the assistant says, up to and with the token that ends its turn."""


def learned_turns(messages: Sequence[Turn]) -> list[bool]:
    """Whether each message is learned: what the assistant says, but for turns with `weight: 0` or `train: false`.

    Raises:
        InputError: a weight is neither 0 nor 1.
    """
    return [message.get("role") == "assistant" and _is_wanted(message) for message in messages]


def taught_texts(
    tokenizer: "Tokenizer", messages: Sequence[Turn], learned: Sequence[bool], tools: Tools | None = None
) -> list[TaughtText]:
    """The texts that teach the learned turns, each as the model will have to write it.

    Where the template marks the assistant's words with ``{% generation %}``, these are learned. Otherwise a turn is
    what the rendering that it ends has after the rendering of what comes before it, with its generation prompt: after
    just that text the model will be asked. As a rule one text holds all turns. A template that writes earlier turns
    otherwise than the last one, such as Qwen3's that leaves out their thinking, needs several: each then ends with
    the turns that it teaches as they are written when they are the last.

    Args:
        tokenizer: with a chat template.
        messages: the conversation; what comes after the last learned turn is left out.
        learned: which messages, each of them the assistant's, are learned.
        tools: what the assistant may call, as JSON schemas.

    Returns:
        In the order of their turns; none where nothing is learned.

    Raises:
        InputError: the template refuses the conversation, or renders an answer not as a continuation of its prompt.
    """
    turns = [{key: value for key, value in message.items() if key not in _TEACHING_KEYS} for message in messages]
    indices = [index for index, wanted in enumerate(learned) if wanted]
    if not indices:
        return []
    if _MARKED.search(tokenizer.template_for(tools)):
        return [_marked(tokenizer, turns[: indices[-1] + 1], learned, tools)]
    return _nested(_derived(tokenizer, turns, indices, tools))


def _is_wanted(message: Turn) -> bool:
    for key in _TEACHING_KEYS:
        value = message.get(key, 1)
        if value not in (0, 1):  # also False and True
            raise InputError(
                f"a message has {key} {value!r}", remedy="1 (or true) teaches the message, 0 (or false) only shows it"
            )
        if not value:
            return False
    return True


def _marked(tokenizer: "Tokenizer", turns: Sequence[Turn], learned: Sequence[bool], tools: Tools | None) -> TaughtText:
    """What lies in the template's own marks."""
    (chat,) = tokenizer.render_beginnings(turns, [Beginning(len(turns), False)], tools=tools)
    spans = [span for span in chat.generation_spans if span[0] < span[1]]
    of_assistant = [wanted for turn, wanted in zip(turns, learned, strict=False) if turn.get("role") == "assistant"]
    if all(of_assistant):
        return TaughtText(chat.text, spans)
    if len(spans) != len(of_assistant):
        raise InputError(
            f"the chat template marks {len(spans)} spans for {len(of_assistant)} turns of the assistant, so that it is "
            "unknown which are not to be learned",
            remedy="put one {% generation %} block around each whole turn",
        )
    return TaughtText(chat.text, [span for span, wanted in zip(spans, of_assistant, strict=True) if wanted])


def _derived(
    tokenizer: "Tokenizer", turns: Sequence[Turn], indices: Sequence[int], tools: Tools | None
) -> list[TaughtText]:
    """Each learned turn with what comes before it."""
    beginnings = [part for index in indices for part in (Beginning(index, True), Beginning(index + 1, False))]
    try:
        chats = tokenizer.render_beginnings(turns, beginnings, tools=tools)
    except InputError as error:
        if indices[0] > 0:
            raise
        raise InputError(
            f"the assistant speaks first, and the chat template has no prompt for that ({error.cause})",
            remedy='begin with another turn, or give the first "train": false',
        ) from None
    special = tuple(tokenizer.special_tokens)
    stops = [token for token in (tokenizer.special.eos, *END_OF_TURN) if token in special]
    taught = []
    for index, prompt, whole in zip(indices, chats[::2], chats[1::2], strict=True):
        if not whole.text.startswith(prompt.text):
            asked, taught_so = (
                _around_difference(prompt.text, whole.text),
                _around_difference(whole.text, prompt.text),
            )
            raise InputError(
                f"the chat template does not render messages[{index}] as a continuation of its prompt: "
                f"it asks after {asked!r}, but the answer would be learned after {taught_so!r}",
                remedy="use a template with {% generation %} around what the assistant says, or leave out what it "
                "renders in two ways (such as a system message)",
            )
        start = len(prompt.text)
        taught.append(TaughtText(whole.text, [(start, _end_of_turn(whole.text, start, special, stops))]))
    return taught


def _end_of_turn(text: str, start: int, special: tuple[str, ...], stops: Sequence[str]) -> int:
    """Where the answer from `start` to the end of `text` stops: generation ends with the first of `stops`."""
    end = at = len(text.rstrip())
    if not text.endswith(special, start, end):
        return len(text)  # without a token of its own, white space ends the turn
    while (stop := next((stop for stop in stops if text.endswith(stop, start, at)), None)) is not None:
        end, at = at, len(text[: at - len(stop)].rstrip())
    return end


def _nested(taught: Sequence[TaughtText]) -> list[TaughtText]:
    """The same turns in as few texts as possible: those that a later text begins with are learned there."""
    texts: list[TaughtText] = []
    for each in reversed(taught):
        (span,) = each.spans
        if texts and texts[-1].text.startswith(each.text[: span[1]]):
            texts[-1].spans.insert(0, span)
        else:
            texts.append(each)
    return texts[::-1]


def _around_difference(text: str, other: str, length: int = 40) -> str:
    """A part of `text` around the first character that `other` has not."""
    at = next((n for n, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), len(other))
    return text[max(0, at - length // 2) : at + length // 2]
