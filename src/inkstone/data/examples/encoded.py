"""Examples as token ids: what objectives collate."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inkstone.core.errors import InputError
from inkstone.nn.layers.loss import IGNORED

Ids = NDArray[np.int64]


class TooLongError(InputError):
    """An example is too long, and nothing that is learned of it can be cut."""


class Encoded(Protocol):
    """What all encodings have in common."""

    @property
    def length(self) -> int:
        """Tokens, as memory counts them."""
        ...

    @property
    def num_targets(self) -> int:
        """What carries loss."""
        ...


class TokenSequence(NamedTuple):
    """Tokens of one conversation or text; arrays of length T."""

    input_ids: Ids
    labels: Ids
    """`labels[t]` is the token after position t where that is learned, IGNORED elsewhere and at the end."""

    @classmethod
    def of(cls, token_ids: list[int], trained: list[int] | list[bool]) -> "TokenSequence":
        """The sequence of `token_ids` of which those marked in `trained` are learned (the first never is)."""
        input_ids = np.asarray(token_ids, dtype=np.int64)
        labels = np.full_like(input_ids, IGNORED)
        labels[:-1] = np.where(np.asarray(trained[1:], dtype=bool), input_ids[1:], IGNORED)
        return cls(input_ids, labels)

    @property
    def length(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def num_targets(self) -> int:
        """Tokens that carry loss."""
        return int((self.labels != IGNORED).sum())


class SequencePair(NamedTuple):
    """A preferred and a rejected sequence of the same prompt."""

    chosen: TokenSequence
    rejected: TokenSequence

    @property
    def length(self) -> int:
        """Tokens of both."""
        return self.chosen.length + self.rejected.length

    @property
    def num_targets(self) -> int:
        """One pair."""
        return int(self.chosen.num_targets > 0 and self.rejected.num_targets > 0)


class JudgedSequence(NamedTuple):
    """A sequence and whether it is desirable."""

    sequence: TokenSequence
    desirable: bool

    @property
    def length(self) -> int:
        """T."""
        return self.sequence.length

    @property
    def num_targets(self) -> int:
        """One judgment."""
        return int(self.sequence.num_targets > 0)


class LabeledSequence(NamedTuple):
    """Tokens of a text with one target for the whole of it."""

    input_ids: Ids
    token_type_ids: Ids
    text_ids: Ids
    """0 in the text, 1 in its pair, -1 for tokens that the tokenizer added."""
    target: NDArray[np.float64] | int | float
    """Index of a class, a number, or 0 and 1 for every class."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def num_targets(self) -> int:
        """One text."""
        return 1


class TaggedSequence(NamedTuple):
    """Tokens of a text with a class for each."""

    input_ids: Ids
    labels: Ids
    """(T,), IGNORED for tokens that the tokenizer added."""
    num_inexact: int = 0
    """Spans of the text that do not begin and end where tokens do."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def num_targets(self) -> int:
        """Tokens that have a class."""
        return int((self.labels != IGNORED).sum())


class SpanSequence(NamedTuple):
    """Tokens of a question and a part of its context, with the place of the answer."""

    input_ids: Ids
    token_type_ids: Ids
    start: int
    """Index of the answer's first token; 0 where this part does not hold it."""
    end: int
    """Of its last token."""
    is_inexact: bool = False
    """Whether the answer does not begin and end where tokens do."""
    num_cut: int = 0
    """Tokens cut off the question."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def num_targets(self) -> int:
        """One answer."""
        return 1


class SourceTarget(NamedTuple):
    """Tokens of a source text and of its target."""

    source_ids: Ids
    """(S,), with what the tokenizer adds."""
    target_ids: Ids
    """(T,), ending with eos; the decoder reads them shifted by one, after its start token."""

    @property
    def length(self) -> int:
        """The longer of both."""
        return max(len(self.source_ids), len(self.target_ids))

    @property
    def num_targets(self) -> int:
        """Target tokens."""
        return len(self.target_ids)
