"""Columns of a row, checked."""

from collections.abc import Collection, Iterable
from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.examples.records import Row


def first_of(columns: Collection[str], *names: str) -> str | None:
    """The first of `names` that is among `columns`."""
    return next((name for name in names if name in columns), None)


def filled(row: Row, names: Iterable[str]) -> str | None:
    """The first of `names` that the row has a value for: not null."""
    return next((name for name in names if row.values.get(name) is not None), None)


def required(row: Row, *names: str) -> Any:
    """The value of the first of `names` that the row has one for.

    Raises:
        InputError: it has none.
    """
    name = filled(row, names)
    if name is None:
        has = ", ".join(name for name, value in row.values.items() if value is not None) or "nothing"
        raise InputError(f"has no `{names[0]}` (it has {has})", where=row.where, remedy="complete or remove the row")
    return row.values[name]


def required_text(row: Row, *names: str) -> str:
    """The text in the first of `names` that the row has a value for.

    Raises:
        InputError: there is none, it is empty, or it is no text.
    """
    return checked_text(row, filled(row, names) or names[0], required(row, *names))


def optional_text(row: Row, *names: str) -> str | None:
    """The text in the first of `names` that the row has a value for; None where it has none, or an empty one.

    Raises:
        InputError: it is no text.
    """
    name = filled(row, names)
    if name is None or row.values[name] == "":
        return None
    return checked_text(row, name, row.values[name])


def checked_text(row: Row, name: str, value: Any) -> str:
    """`value`, which must be a text that is not blank.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, str):
        raise InputError(f"`{name}` is {kind(value)}, not a text", where=row.where, remedy="write a string")
    if not value or value.isspace():
        raise InputError(f"`{name}` is empty", where=row.where, remedy="complete or remove the row")
    return value


def kind(value: Any) -> str:
    """`a list`, `a number` … for messages."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
