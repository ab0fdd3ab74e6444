"""Examples as tokens: what is too long, what teaches nothing, what never stops."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from inkstone.core.errors import InputError
from inkstone.data.check.faults import (
    BETWEEN_TOKENS,
    CUT,
    CUT_AWAY,
    NO_STOP,
    NOT_ENCODED,
    NOTHING_LEARNED,
    TOO_LONG,
    TOO_LONG_TO_CUT,
    UNKNOWN_TOKENS,
    Found,
    found_in,
)
from inkstone.data.check.streams import Stream, runs, streams_of
from inkstone.data.examples.encoded import Encoded, SpanSequence, TaggedSequence, TooLongError
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
    was_cut: bool = False
    num_answers: int = 0
    """Stretches of it that the model learns to write."""
    num_ended: int = 0
    """Those with a stop token."""
    num_tokens: int = 0
    """Of all its streams."""
    num_trained_tokens: int = 0


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
        except TooLongError as error:
            return [], [Found(CUT_AWAY, error.cause) if self._limits.truncate else found_in(error, NOT_ENCODED)]
        except InputError as error:
            return [], [found_in(error, NOT_ENCODED)]
        if not whole:
            return [], [Found(NOTHING_LEARNED, "it has no tokens")]
        fitted, faults = [], []
        for encoding in whole:
            part, found = self._fit(encoding)
            if part.was_cut and part.encoding.num_targets == 0:
                faults.append(Found(CUT_AWAY, f"nothing that is learned is left of {part.length:,} tokens"))
                continue
            streams = streams_of(part.encoding)
            part, unended = self._count(part, streams)
            fitted.append(part)
            faults += [*found, *self._token_faults(part, streams)]
            if not part.was_cut and not isinstance(example, PlainText):
                faults += unended
        return fitted, faults

    def _fit(self, whole: T) -> tuple[Fitted[T], list[Found]]:
        limits = self._limits
        length = limits.longest(whole)
        if length <= limits.max_length:
            return Fitted(whole, length), []
        if limits.cut is None or not limits.truncate:
            fault = TOO_LONG_TO_CUT if limits.cut is None else TOO_LONG
            return Fitted(whole, length), [Found(fault, f"{length:,} tokens, and {limits.max_length:,} are allowed")]
        part = Fitted(limits.cut(whole, limits.max_length), length, True)
        return part, [Found(CUT, f"{length:,} tokens, cut to {limits.max_length:,}")]

    def _count(self, part: Fitted[T], streams: Sequence[Stream]) -> tuple[Fitted[T], list[Found]]:
        """Count tokens, what is learned to be written and what of it ends, and name what does not."""
        num_answers, num_ended, unended = 0, 0, []
        for stream in streams:
            answers = [stream.ids[run].tolist() for run in runs(stream.trained)] if stream.is_written else []
            endless = [n for n, ids in enumerate(answers, 1) if self._stop_names.keys().isdisjoint(ids)]
            num_answers += len(answers)
            num_ended += len(answers) - len(endless)
            if endless:
                stops = " or ".join(self._stop_names.values()) or "a stop token (the tokenizer has none)"
                which = f"answer {endless[0]} of {len(answers)}" if len(answers) > 1 else "the answer"
                unended.append(Found(NO_STOP, f"{which} is learned without {stops}"))
        counted = part._replace(
            num_answers=num_answers,
            num_ended=num_ended,
            num_tokens=sum(len(stream.ids) for stream in streams),
            num_trained_tokens=sum(int(stream.trained.sum()) for stream in streams),
        )
        return counted, unended

    def _token_faults(self, part: Fitted[T], streams: Sequence[Stream]) -> Iterator[Found]:
        if part.encoding.num_targets == 0:
            yield Found(NOTHING_LEARNED, "nothing is learned")
        if self._unknown_id is not None:
            num_unknown = sum(int((stream.ids == self._unknown_id).sum()) for stream in streams)
            if num_unknown >= UNKNOWN_SHARE * part.num_tokens > 0:
                cause = f"{num_unknown:,} of {part.num_tokens:,} tokens are unknown to the vocabulary"
                yield Found(UNKNOWN_TOKENS, cause)
        yield from _span_faults(part.encoding)


def _span_faults(encoding: object) -> Iterator[Found]:
    if isinstance(encoding, TaggedSequence) and encoding.num_inexact:
        yield Found(BETWEEN_TOKENS, f"{encoding.num_inexact} begin or end within a token")
    if isinstance(encoding, SpanSequence):
        if encoding.is_inexact:
            yield Found(BETWEEN_TOKENS, "the answer begins or ends within a token")
        if encoding.num_cut:
            yield Found(CUT, f"{encoding.num_cut:,} tokens of the question")
