"""How the examples of a step are computed: some at a time. It changes memory and speed, never the loss."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

E = TypeVar("E")
Split = Callable[[Sequence[Any]], list[Sequence[Any]]]
"""The examples of a step → its micro-batches."""


def by_count(size: int) -> Split:
    """`size` examples at a time, in their order: for examples of one length."""

    def split(examples: Sequence[E]) -> list[Sequence[E]]:
        return [examples[start : start + size] for start in range(0, len(examples), size)]

    return split


def by_length(most_tokens: int, *, packed: bool) -> Split:
    """Examples of similar length together, the longest first, as many as fit into `most_tokens`.

    Args:
        most_tokens: of a micro-batch, padding included; a single longer example is a micro-batch of its own.
        packed: rows are packed, so that there is no padding to count.
    """

    def split(examples: Sequence[Any]) -> list[Sequence[Any]]:
        parts: list[list[Any]] = []
        used = longest = 0
        for example in sorted(examples, key=lambda example: -example.length):
            size = example.length if packed else longest
            if not parts or used + size > most_tokens:
                parts.append([])
                used, longest = 0, example.length
                size = longest
            parts[-1].append(example)
            used += size
        return list(parts)

    return split


class _Numbered(NamedTuple, Generic[E]):
    number: int
    example: E

    @property
    def length(self) -> int:
        length: int = self.example.length  # type: ignore[attr-defined]
        return length


def numbered(split: Split, examples: Sequence[E]) -> list[tuple[list[int], list[E]]]:
    """The micro-batches of `examples`, each with the numbers that its examples have there."""
    parts = split([_Numbered(*each) for each in enumerate(examples)])
    return [([each.number for each in part], [each.example for each in part]) for part in parts]
