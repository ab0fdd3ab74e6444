"""Messages, from OpenAI's and ShareGPT's forms, as templates expect them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from inkstone.core.config import suggestion
from inkstone.core.errors import InputError
from inkstone.data.examples.formats.fields import kind
from inkstone.data.examples.records import Row, Turn

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "function_response"), "tool"),
}
_FOLLOWS = {
    "nothing": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
    "a call": ("tool",),
    "tool": ("tool", "assistant"),
}
"""Who may speak next."""


def as_turns(row: Row, name: str, value: Any) -> list[Turn]:
    """The messages in the column `name`: one or a list, each with `role` and `content`, or with `from` and `value`.

    Raises:
        InputError: one of them is malformed.
    """
    listed = [value] if isinstance(value, Mapping) else value
    if not isinstance(listed, list | tuple) or not listed:
        what = "an empty list" if value == [] else kind(value)
        raise InputError(
            f"`{name}` is {what}, not messages",
            where=row.where,
            remedy='write [{"role": "user", "content": "…"}, …]',
        )
    return [_turn(row, f"`{name}`, message {number}", turn) for number, turn in enumerate(listed, start=1)]


def user_turn(text: str) -> Turn:
    """What the user says."""
    return {"role": "user", "content": text}


def assistant_turn(text: str) -> Turn:
    """What the assistant says."""
    return {"role": "assistant", "content": text}


def _turn(row: Row, place: str, turn: Any) -> Turn:
    if not isinstance(turn, Mapping):
        remedy = 'write {"role": "user", "content": "…"}'
        raise InputError(f"{place} is {kind(turn)}, not an object", where=row.where, remedy=remedy)
    given = {key: value for key, value in turn.items() if value is not None}
    said_by = given.pop("role", None) or given.pop("from", None)
    if said_by is None:
        raise InputError(f"{place} has no `role`", where=row.where, remedy="say who speaks: user, assistant …")
    role = _ROLES.get(str(said_by).lower())
    if role is None:
        raise InputError(
            f"{place} has the unknown role {said_by!r}", where=row.where, remedy=suggestion(str(said_by), _ROLES)
        )
    content = _content(row, place, given.pop("content", given.pop("value", None)))
    if said_by == "function_call":
        return {"role": role, "content": "", "tool_calls": _calls(row, place, content)}
    if calls := given.pop("tool_calls", None):
        given["tool_calls"] = _calls(row, place, calls)
    if not content.strip() and role != "tool" and "tool_calls" not in given:
        raise InputError(f"{place} ({role}) is empty", where=row.where, remedy="complete or remove the row")
    return {"role": role, "content": content, **given}


def _content(row: Row, place: str, content: Any) -> str:
    """Text as it is, and the texts of a list of parts joined."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        return "".join(part["text"] for part in content)
    raise InputError(f"{place}: its content is {kind(content)}, not a text", where=row.where, remedy="write a string")


def _calls(row: Row, place: str, calls: Any) -> list[Mapping[str, Any]]:
    """Calls of functions in OpenAI's form, their arguments as an object."""
    calls = _from_json(row, place, calls)
    return [_call(row, place, call) for call in (calls if isinstance(calls, list) else [calls])]


def _call(row: Row, place: str, call: Any) -> Mapping[str, Any]:
    call = _from_json(row, place, call)
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InputError(
            f"{place} calls no function by name",
            where=row.where,
            remedy='write {"name": "…", "arguments": {…}}',
        )
    arguments = _from_json(row, place, function.get("arguments") or {})
    called = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **called} if call.get("id") else called


def as_tools(row: Row, tools: Any) -> list[Mapping[str, Any]] | None:
    """What the model may call, as JSON schemas in OpenAI's form; None where there is nothing.

    Raises:
        InputError: malformed.
    """
    if not tools:
        return None
    listed = _from_json(row, "`tools`", tools)
    if not isinstance(listed, list) or not all(isinstance(tool, Mapping) for tool in listed):
        raise InputError(
            "`tools` is not a list of functions", where=row.where, remedy='write [{"name": "…", "parameters": {…}}]'
        )
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in listed] or None


def _from_json(row: Row, place: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise InputError(f"{place} is malformed JSON: {error}", where=row.where, remedy="repair it") from None


def check_order(row: Row, turns: Sequence[Turn], *, last: Literal["assistant", "user"]) -> None:
    """Check that user and assistant take turns, tools answer calls, and the conversation ends where it should.

    Raises:
        InputError: they do not; names the message.
    """
    before = "nothing"
    for number, turn in enumerate(turns, start=1):
        role = str(turn["role"])
        if role not in _FOLLOWS[before]:
            after = "begins the conversation" if before == "nothing" else f"follows {before}"
            raise InputError(
                f"message {number} ({role}) {after}, expected {' or '.join(_FOLLOWS[before])}",
                where=row.where,
                remedy="let user and assistant take turns, after at most one system message",
            )
        before = "a call" if turn.get("tool_calls") else role
    ends = ("assistant", "a call") if last == "assistant" else ("user", "tool")
    if before not in ends:
        raise InputError(
            f"the conversation ends with {before}, expected {last}",
            where=row.where,
            remedy="add the answer" if last == "assistant" else "leave out the answer",
        )
