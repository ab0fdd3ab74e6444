"""What a format is: it knows its columns, turns a row into an example, and an example back into a row."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar

from inkstone.core.registry import lookup, names
from inkstone.data.examples.records import Example, Row

X = TypeVar("X", bound=Example)
AUTO = ("preferences", "judged", "questions", "spans", "labels", "chat", "completion", "pairs", "problems")
"""Formats that are told from a file's columns, the most particular first; plain texts must be asked for."""


class Format(Protocol[X]):
    """Reads and writes one kind of row. A plug-in of the entry point group `inkstone.formats`."""

    name: ClassVar[str]
    example: ClassVar[type[Example]]
    """The kind of its examples."""
    columns: ClassVar[tuple[str, ...]]
    """Columns that a row may have, after mapping; unknown ones are ignored."""
    wants: ClassVar[tuple[tuple[str, ...], ...]]
    """Columns that a row must have: all those of one of these, the commonest first. Messages name them."""

    def recognizes(self, columns: Collection[str]) -> bool:
        """Whether rows with these columns can be meant."""
        return any(set(wanted) <= set(columns) for wanted in self.wants)

    def unfold(self, row: Row) -> Iterable[Row]:
        """The rows of one example each that `row` is made of: as a rule itself; a SQuAD article has many."""
        return (row,)

    def parse(self, row: Row) -> X:
        """The example of a row.

        Raises:
            InputError: malformed; names the row, the column, the cause and the remedy.
        """
        ...

    def to_row(self, example: X) -> Mapping[str, Any]:
        """The row, in the ecosystem's own schema, that `parse` reads back as the same example."""
        ...


def format_named(name: str) -> Format[Any]:
    """The format registered as `name`.

    Raises:
        ConfigError: there is none.
    """
    found: Format[Any] = lookup("formats", name)()
    return found


def all_formats() -> Iterator[Format[Any]]:
    """Every registered format."""
    for name in names("formats"):
        yield format_named(name)


@cache
def known_columns() -> frozenset[str]:
    """The columns of all formats."""
    return frozenset(column for known in all_formats() for column in known.columns)
