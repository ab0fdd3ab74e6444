"""From characters to tokens and back."""

from collections.abc import Sequence

Offsets = Sequence[tuple[int, int]]
"""Of each token the first character and the one after the last, without spaces around them."""


def without_spaces(text: str, offsets: Offsets) -> list[tuple[int, int]]:
    """Offsets of tokens in `text` without the spaces at their ends, which many tokenizers count to a word."""
    return [_trimmed(text, start, end) for start, end in offsets]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def begins_unit(offsets: Offsets) -> list[bool]:
    """Whether each token begins where all tokens before it have ended: the others write characters in common.

    A character of several tokens, such as the bytes of a Chinese one, is a unit; so are two characters with a token
    that has bytes of both.
    """
    begins = []
    reached = 0
    for start, end in offsets:
        begins.append(start >= reached)
        reached = max(reached, end)
    return begins


def tokens_of(offsets: Offsets, start: int, end: int) -> list[int]:
    """Indices of the tokens that write something of characters `start` to `end`."""
    return [index for index, (first, last) in enumerate(offsets) if first < last and first < end and last > start]


def extent(offsets: Offsets) -> tuple[int, int]:
    """First character and the one after the last of what tokens write, of which one at least writes something."""
    written = [(start, end) for start, end in offsets if start < end]
    return min(start for start, _ in written), max(end for _, end in written)
