"""Examples as tokens: what is too long, what teaches nothing, what never stops."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from inkstone.core.errors import InputError
from inkstone.data.check.faults import (
    BETWEEN_TOKENS,
    CUT,
    NO_STOP,
    NOT_ENCODED,
    NOTHING_LEARNED,
    TOO_LONG,
    TOO_LONG_TO_CUT,
    UNKNOWN_TOKENS,
    Found,
    with_remedy,
)
from inkstone.data.check.streams import Stream, runs, streams_of
from inkstone.data.examples.encoded import Encoded, SpanSequence, TaggedSequence
from inkstone.data.examples.records import Example, PlainText

T = TypeVar("T", bound=Encoded)
UNKNOWN_SHARE = 0.1
"""Share of unknown tokens from which a row is reported."""


@dataclass(frozen=True)
class Limits(Generic[T]):
    """What encodings must be."""

    max_length: int
    longest: Callable[[T], int]
    """Tokens of an encoding that the model reads at once."""
    cut: Callable[[T, int], T] | None
    truncate: bool


class Fitted(NamedTuple, Generic[T]):
    """An encoding that fits."""

    encoding: T
    length: int
    """Tokens before it was cut."""
    was_cut: bool


class Encodings(Generic[T]):
    """Encodes examples, within the limits.

    Args:
        encode: one example → its encodings.
        limits: of each encoding.
        stop_names: tokens that end what a model writes: id → name.
        unknown_id: the token for what the vocabulary cannot write.
    """

    def __init__(
        self,
        encode: Callable[[Example], Sequence[T]],
        limits: Limits[T],
        stop_names: dict[int, str],
        unknown_id: int | None,
    ) -> None:
        self._encode, self._limits = encode, limits
        self._stop_names, self._unknown_id = stop_names, unknown_id

    def of(self, example: Example) -> tuple[list[Fitted[T]], list[Found]]:
        """The encodings of an example, and what is wrong with them."""
        try:
            whole = self._encode(example)
        except InputError as error:
            return [], [Found(with_remedy(NOT_ENCODED, error), error.cause)]
        if not whole:
            return [], [Found(NOTHING_LEARNED, "it has no tokens")]
        fitted, faults = [], []
        for encoding in whole:
            part, found = self._fit(encoding)
            fitted.append(part)
            faults += [*found, *self._token_faults(part, stops=not isinstance(example, PlainText))]
        return fitted, faults

    def _fit(self, whole: T) -> tuple[Fitted[T], list[Found]]:
        limits = self._limits
        length = limits.longest(whole)
        if length <= limits.max_length:
            return Fitted(whole, length, False), []
        if limits.cut is None or not limits.truncate:
            fault = TOO_LONG_TO_CUT if limits.cut is None else TOO_LONG
            return Fitted(whole, length, False), [
                Found(fault, f"{length:,} tokens, and {limits.max_length:,} are allowed")
            ]
        part = Fitted(limits.cut(whole, limits.max_length), length, True)
        return part, [Found(CUT, f"{length:,} tokens, cut to {limits.max_length:,}")]

    def _token_faults(self, part: Fitted[T], stops: bool) -> Iterator[Found]:
        if part.encoding.num_targets == 0:
            what = (
                f"nothing that is learned is left of {part.length:,} tokens" if part.was_cut else "nothing is learned"
            )
            yield Found(NOTHING_LEARNED, what)
            return
        streams = streams_of(part.encoding)
        for stream in streams:
            if stops and stream.is_written and not part.was_cut:
                yield from self._endings(stream)
        ids = np.concatenate([stream.ids for stream in streams])
        num_unknown = 0 if self._unknown_id is None else int((ids == self._unknown_id).sum())
        if num_unknown >= UNKNOWN_SHARE * len(ids) > 0:
            yield Found(UNKNOWN_TOKENS, f"{num_unknown:,} of {len(ids):,} tokens are unknown to the vocabulary")
        yield from _span_faults(part.encoding)

    def _endings(self, stream: Stream) -> Iterator[Found]:
        learned = [stream.ids[run] for run in runs(stream.trained)]
        without = [n for n, ids in enumerate(learned, 1) if not _has_any(ids, self._stop_names)]
        if without:
            ends = " or ".join(self._stop_names.values()) or "any stop token: the tokenizer has none"
            which = f"part {without[0]} of {len(learned)} that is learned" if len(learned) > 1 else "what is learned"
            yield Found(NO_STOP, f"{stream.title}{': ' if stream.title else ''}{which} ends without {ends}")


def _span_faults(encoding: object) -> Iterator[Found]:
    if isinstance(encoding, TaggedSequence) and encoding.num_inexact:
        yield Found(BETWEEN_TOKENS, f"{encoding.num_inexact} begin or end within a token")
    if isinstance(encoding, SpanSequence):
        if encoding.is_inexact:
            yield Found(BETWEEN_TOKENS, "the answer begins or ends within a token")
        if encoding.num_cut:
            yield Found(CUT, f"{encoding.num_cut:,} tokens of the question")


def _has_any(ids: "np.ndarray[tuple[int], np.dtype[np.int64]]", wanted: Collection[int]) -> bool:
    return not set(ids.tolist()).isdisjoint(wanted)
