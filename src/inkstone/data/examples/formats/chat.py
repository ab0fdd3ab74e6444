"""Conversations: OpenAI's `messages`, ShareGPT's `conversations`, and Alpaca's columns."""

from collections.abc import Mapping
from typing import Any, ClassVar

from inkstone.data.examples.formats.base import Format
from inkstone.data.examples.formats.fields import filled, required_text
from inkstone.data.examples.formats.prompts import ALPACA, CONVERSATION, conversation
from inkstone.data.examples.formats.turns import as_tools, assistant_turn, check_order
from inkstone.data.examples.records import Chat, Row


class ChatFormat(Format[Chat]):
    """`messages`, `conversations`, or `instruction` and `output`; `system` and `tools` where a row has them."""

    name: ClassVar[str] = "chat"
    example = Chat
    columns: ClassVar[tuple[str, ...]] = (*CONVERSATION, *ALPACA, "output", "system", "tools")
    wants: ClassVar[tuple[tuple[str, ...], ...]] = (("messages",), ("conversations",), ("instruction", "output"))

    def parse(self, row: Row) -> Chat:
        """The conversation, which must end with the assistant's answer."""
        messages = conversation(row)
        if filled(row, CONVERSATION) is None:
            messages.append(assistant_turn(required_text(row, "output")))
        check_order(row, messages, last="assistant")
        tools = as_tools(row, row.values.get("tools"))
        return Chat(messages=messages, tools=tools, where=row.where, source=row.source)

    def to_row(self, example: Chat) -> Mapping[str, Any]:
        """`{"messages": […]}`, with `tools` where there are some."""
        row = {"messages": list(example.messages)}
        return row if example.tools is None else {**row, "tools": list(example.tools)}
