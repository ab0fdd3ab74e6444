"""Chat templates: conversations rendered to the text a model was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inkstone.core.errors import InputError
from inkstone.core.records import Message
from inkstone.tokenizer.bounded import Beginning, render_bounded

CHATML = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template of tokenizers trained here (OpenAI's ChatML), after the token that begins every document."""

ChatMessage = Message | Mapping[str, Any]
"""A `Message`, or a mapping in OpenAI's form: ``role``, ``content`` and, where a turn has them, ``tool_calls`` …"""

_CONTINUED = "<INKSTONE:CONTINUED> "
_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names under which messages carry a model's reasoning; templates read the first, those of gpt-oss the second."""


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A conversation as text."""

    text: str
    generation_spans: list[tuple[int, int]]
    """Where the assistant's words are (characters of `text`): what lies in the template's ``{% generation %}``."""


@dataclass(frozen=True, slots=True)
class EncodedChat:
    """A conversation as ids; special tokens are those that the template wrote, and none is added."""

    text: str
    ids: list[int]
    offsets: list[tuple[int, int]]
    """Characters of `text` that each id stands for."""
    assistant_mask: list[int]
    """1 for the tokens in the template's ``{% generation %}`` blocks; all 0 when it has none."""


def render_chat(
    template: str,
    messages: Sequence[ChatMessage],
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    **variables: Any,
) -> RenderedChat:
    """Render a conversation with a Hugging Face chat template, in a sandbox that is bounded in time and memory.

    Args:
        template: Jinja source.
        messages: the conversation; what a message has as None is left out.
        add_generation_prompt: end with what begins an assistant's turn.
        continue_final_message: end where the last message's content ends, so that a model goes on writing it.
        tools: what the model may call: JSON schemas in OpenAI's form.
        documents: texts to answer from, each with ``title`` and ``text``.
        **variables: further names the template may use, such as ``bos_token``.

    Raises:
        InputError: the template is malformed, refuses this conversation or does not end in time.
    """
    turns = [_as_mapping(message) for message in messages]
    if not turns:
        raise InputError("a conversation without messages", remedy="give at least one")
    if continue_final_message:
        _mark_end(turns, add_generation_prompt)
    whole = [Beginning(len(turns), add_generation_prompt)]
    (chat,) = render_beginnings(template, turns, whole, tools=tools, documents=documents, **variables)
    return RenderedChat(_cut_at_mark(chat.text), chat.generation_spans) if continue_final_message else chat


def render_beginnings(
    template: str,
    messages: Sequence[ChatMessage],
    beginnings: Sequence[Beginning],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    **variables: Any,
) -> list[RenderedChat]:
    """Render several beginnings of a conversation, each by itself; arguments and errors as of `render_chat`."""
    values = {
        **variables,
        "messages": [_as_mapping(message) for message in messages],
        "tools": None if tools is None else list(tools),
        "documents": None if documents is None else list(documents),
    }
    return [RenderedChat(text, spans) for text, spans in render_bounded(template, values, beginnings)]


def choose_template(default: str | None, named: Mapping[str, str], name: str | None, *, with_tools: bool) -> str:
    """The template of that name; without one, ``tool_use`` for a chat with tools where there is such, else the default.

    Raises:
        InputError: there is none of that name, or none at all.
    """
    if name is None and with_tools and "tool_use" in named:
        return named["tool_use"]
    if name is not None and name in named:
        return named[name]
    if name not in (None, "default"):
        known = ", ".join(sorted(named)) or "none"
        raise InputError(f"no chat template is named {name!r}", remedy=f"known names: {known}")
    if default is None:
        raise InputError("this tokenizer has no chat template", remedy="add a chat_template.jinja to its folder")
    return default


def mask_of_spans(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """1 for every token that shares a character with a span."""
    mask = [0] * len(offsets)
    ordered = sorted(spans)
    at = 0
    for n, (start, end) in enumerate(offsets):
        while at < len(ordered) and ordered[at][1] <= start:
            at += 1
        if at < len(ordered) and start < end and ordered[at][0] < end:
            mask[n] = 1
    return mask


def _as_mapping(message: ChatMessage) -> dict[str, Any]:
    if isinstance(message, Message):
        return {"role": message.role, "content": message.content}
    if not isinstance(message, Mapping):
        raise InputError(
            f"a message is a mapping with role and content, not {type(message).__name__}",
            remedy='write {"role": "user", "content": "…"}',
        )
    turn = {key: value for key, value in message.items() if value is not None}
    reasoning = next((turn[name] for name in _REASONING if name in turn), None)
    return turn if reasoning is None else {"thinking": reasoning, **turn, "reasoning_content": reasoning}


def _mark_end(turns: list[dict[str, Any]], add_generation_prompt: bool) -> None:
    """Put a mark where the last message's text ends."""
    if add_generation_prompt:
        raise InputError(
            "continue_final_message and add_generation_prompt exclude each other",
            remedy="continue the last message, or begin a new one",
        )
    content = turns[-1].get("content")
    if isinstance(content, str):
        turns[-1]["content"] = content + _CONTINUED
        return
    blocks = [dict(block) for block in content] if isinstance(content, Sequence) else []
    last = next((block for block in reversed(blocks) if "text" in block), None)
    if last is None:
        raise InputError("the last message has no text to continue", remedy="give it a content")
    last["text"] += _CONTINUED
    turns[-1]["content"] = blocks


def _cut_at_mark(text: str) -> str:
    """What comes before the mark; a template that trimmed the message has trimmed the mark's space too."""
    at = text.rfind(_CONTINUED.strip())
    if at < 0:
        raise InputError(
            "the chat template leaves out the end of the message to continue",
            remedy="leave out continue_final_message, or use another template",
        )
    return text[:at] if text.startswith(_CONTINUED, at) else text[:at].rstrip()
