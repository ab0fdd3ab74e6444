"""The columns in which conversations, prompts and answers come: messages, ShareGPT, Alpaca, or plain text."""

from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.examples.formats.fields import checked_text, filled, kind, optional_text, required_text
from inkstone.data.examples.formats.turns import as_turns, assistant_turn, user_turn
from inkstone.data.examples.records import Row, Turn, TurnsOrText

CONVERSATION = ("messages", "conversations")
ALPACA = ("instruction", "input", "history")


def conversation(row: Row) -> list[Turn]:
    """The messages of a row: its `messages` or `conversations`, or what Alpaca's columns ask; `system` comes first.

    Raises:
        InputError: malformed, or there is neither.
    """
    if (name := filled(row, CONVERSATION)) is not None:
        turns = as_turns(row, name, row.values[name])
    else:
        turns = [*_history(row), user_turn(_instruction(row))]
    system = optional_text(row, "system")
    if system is None or turns[0]["role"] == "system":
        return turns
    return [{"role": "system", "content": system}, *turns]


def prompt(row: Row) -> TurnsOrText | None:
    """What is to be answered: messages, or the plain text of `prompt`; None where there is nothing.

    Raises:
        InputError: malformed.
    """
    given = row.values.get("prompt")
    if isinstance(given, str):
        return checked_text(row, "prompt", given)
    if given is not None:
        return as_turns(row, "prompt", given)
    if filled(row, (*CONVERSATION, "instruction")) is not None:
        return conversation(row)
    return None


def answer(row: Row, name: str, value: Any) -> TurnsOrText:
    """The messages or the plain text in the column `name`.

    Raises:
        InputError: malformed.
    """
    return checked_text(row, name, value) if isinstance(value, str) else as_turns(row, name, value)


def joined(prompt: TurnsOrText, *answers: TurnsOrText) -> tuple[TurnsOrText, ...]:
    """Prompt and answers alike: all plain text, or all messages where one of them is."""
    if all(isinstance(part, str) for part in (prompt, *answers)):
        return (prompt, *answers)
    as_messages = [[user_turn(prompt)] if isinstance(prompt, str) else prompt]
    as_messages += [[assistant_turn(part)] if isinstance(part, str) else part for part in answers]
    return tuple(as_messages)


def _instruction(row: Row) -> str:
    """Instruction and input, each on lines of its own."""
    instruction, given = required_text(row, "instruction"), optional_text(row, "input")
    return instruction if given is None else f"{instruction}\n{given}"


def _history(row: Row) -> list[Turn]:
    turns: list[Turn] = []
    for pair in row.values.get("history") or ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(
                f"`history` holds {kind(pair)}, not a pair of texts",
                where=row.where,
                remedy='write [["question", "answer"], …]',
            )
        said, answered = (checked_text(row, "history", text) for text in pair)
        turns += [user_turn(said), assistant_turn(answered)]
    return turns
