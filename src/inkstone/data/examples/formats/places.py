"""Whether a text stands where it is said to."""

from inkstone.core.errors import InputError
from inkstone.data.examples.records import Row

LONGEST_SHOWN = 40
"""Characters of a text in a message."""


def check_place(row: Row, what: str, text: str, context: str, start: int) -> None:
    """Check that `text` begins at character `start` of `context`.

    Raises:
        InputError: it does not; names where it stands, if that is in one place only.
    """
    if start >= 0 and context.startswith(text, start):
        return
    found = context[max(start, 0) : max(start, 0) + len(text)]
    raise InputError(
        f"{what} {_shown(text)} does not stand at character {start} (but {_shown(found)})",
        where=row.where,
        remedy=_remedy(text, context),
    )


def only_place(row: Row, what: str, text: str, context: str) -> int:
    """Where `text` begins in `context`.

    Raises:
        InputError: nowhere, or in more than one place.
    """
    if context.count(text) == 1:
        return context.index(text)
    times = "is not in the text" if text not in context else f"is in the text {context.count(text)} times"
    raise InputError(f"{what} {_shown(text)} {times}", where=row.where, remedy="say where it begins, or remove the row")


def _remedy(text: str, context: str) -> str:
    if context.count(text) == 1:
        return f"it begins at character {context.index(text)}: write that"
    return "correct or remove it" if text in context else "it is nowhere in the text: correct or remove it"


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…")
