"""Questions about texts that are longer than a model's context: the text in windows that overlap."""

from typing import NamedTuple

from inkstone.core.errors import InputError
from inkstone.data.examples.offsets import tokens_of, without_spaces
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.encoding import Encoding, select


class Window(NamedTuple):
    """A question with a part of its context."""

    input_ids: list[int]
    token_type_ids: list[int]
    first: int
    """Index of the first context token in `input_ids`."""
    start: int
    """The context's token that this is."""
    offsets: list[tuple[int, int]]
    """Characters of the context that each of its context tokens writes, without spaces around them."""

    def place(self, first: int, last: int) -> tuple[int, int] | None:
        """Where in `input_ids` the context's tokens `first` to `last` stand; None unless all are in this window."""
        if first < self.start or last >= self.start + len(self.offsets):
            return None
        return self.first + first - self.start, self.first + last - self.start


class QuestionInContext:
    """A question and a context as tokens, to be cut into windows.

    Args:
        tokenizer: writes a question and a context as a pair.
        question: may take half of a window.
        context: of any length.
        max_length: tokens of a window, the question's among them.
        truncate: cut a question that is longer; see `num_cut`.

    Raises:
        InputError: the question is too long, or one of the two has no tokens.
    """

    def __init__(
        self, tokenizer: Tokenizer, question: str, context: str, max_length: int, *, truncate: bool = False
    ) -> None:
        encoding, self.num_cut = _cut_question(
            tokenizer.encode_with_offsets(question, context), max_length, truncate=truncate
        )
        of_context = [index for index, text in enumerate(encoding.sequence_ids) if text == 1]
        if not of_context or 0 not in encoding.sequence_ids:
            missing = "context" if not of_context else "question"
            raise InputError(f"the {missing} has no tokens", remedy="leave out what is empty")
        self._encoding = encoding
        self._first, self._end = of_context[0], of_context[-1] + 1
        self.offsets = without_spaces(context, encoding.offsets[self._first : self._end])
        """Of all the context's tokens."""
        self.room = max_length - (len(encoding) - len(of_context))
        """Context tokens of a window."""

    def windows(self, overlap: int) -> list[Window]:
        """Windows that together hold all of the context; each but the last is full.

        Args:
            overlap: context tokens that a window has in common with the one before it, half a window at most.
        """
        step = self.room - min(overlap, self.room // 2)
        num_tokens = len(self.offsets)
        starts = range(0, max(1, num_tokens - self.room + step), step)
        return [self.window(start) for start in starts]

    def window(self, start: int) -> Window:
        """The window that begins with the context's token `start`."""
        ids, types = self._encoding.ids, self._encoding.token_type_ids
        here = slice(self._first + start, min(self._first + start + self.room, self._end))
        return Window(
            [*ids[: self._first], *ids[here], *ids[self._end :]],
            [*types[: self._first], *types[here], *types[self._end :]],
            self._first,
            start,
            self.offsets[start : start + self.room],
        )

    def tokens_of(self, start: int, end: int) -> tuple[int, int]:
        """The context's first and last token of characters `start` to `end`.

        Raises:
            InputError: no token writes any of them.
        """
        tokens = tokens_of(self.offsets, start, end)
        if not tokens:
            raise InputError(
                f"characters {start} to {end} of the context have no tokens", remedy="leave out answers of spaces"
            )
        return tokens[0], tokens[-1]


def _cut_question(encoding: Encoding, max_length: int, *, truncate: bool) -> tuple[Encoding, int]:
    """The pair with a question that leaves room for the context, and how many tokens were cut off it."""
    of_question = [index for index, text in enumerate(encoding.sequence_ids) if text == 0]
    allowed = (max_length - encoding.sequence_ids.count(None)) // 2
    if len(of_question) <= allowed:
        return encoding, 0
    if allowed < 1:
        raise InputError(f"no question fits into windows of {max_length} tokens", remedy="raise max_length")
    if not truncate:
        raise InputError(
            f"the question has {len(of_question):,} tokens, and may have {allowed:,}, half of a window",
            remedy="shorten it, or set truncate to cut off its end",
        )
    cut = set(of_question[allowed:])
    return select(encoding, [index for index in range(len(encoding)) if index not in cut]), len(cut)
