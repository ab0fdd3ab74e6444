"""Encodings of every kind as streams of tokens, some of which are learned; and how to show them."""

import codecs
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import decoders

from inkstone.data.examples.encoded import (
    Ids,
    JudgedSequence,
    LabeledSequence,
    SequencePair,
    SourceTarget,
    SpanSequence,
    TaggedSequence,
    TokenSequence,
)
from inkstone.nn.layers.loss import IGNORED
from inkstone.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Stream:
    """Tokens in a row."""

    title: str
    ids: Ids
    """(T,)"""
    trained: NDArray[np.bool_]
    """(T,), the tokens that are learned, at their own place."""
    is_written: bool = False
    """Whether what is learned is to be written by the model, which has to know where to stop."""
    tags: Sequence[int] | None = None
    """The class of each token that is trained."""
    is_target: bool = False
    """Whether these are tokens of the tokenizer's `target`."""


class Piece(NamedTuple):
    """The text of a token."""

    text: str
    trained: bool
    tag: str = ""
    """Its class."""


class Part(NamedTuple):
    """One of the texts of an example."""

    title: str
    pieces: list[Piece]


@singledispatch
def streams_of(encoding: object) -> list[Stream]:
    """The streams of an encoding. Of a kind from elsewhere, its `input_ids`; nothing is known to be learned of them."""
    ids = np.asarray(getattr(encoding, "input_ids", ()), dtype=np.int64)
    return [_unlearned("", ids)]


@streams_of.register
def _(encoding: TokenSequence) -> list[Stream]:
    return [_written("", encoding)]


@streams_of.register
def _(encoding: SequencePair) -> list[Stream]:
    return [_written("chosen", encoding.chosen), _written("rejected", encoding.rejected)]


@streams_of.register
def _(encoding: JudgedSequence) -> list[Stream]:
    return [_written("desirable" if encoding.desirable else "undesirable", encoding.sequence)]


@streams_of.register
def _(encoding: LabeledSequence) -> list[Stream]:
    return [_unlearned("", encoding.input_ids)]


@streams_of.register
def _(encoding: TaggedSequence) -> list[Stream]:
    return [Stream("", encoding.input_ids, encoding.labels != IGNORED, tags=encoding.labels.tolist())]


@streams_of.register
def _(encoding: SpanSequence) -> list[Stream]:
    places = np.arange(len(encoding.input_ids))
    answer = (encoding.start <= places) & (places <= encoding.end) & (encoding.start > 0)
    title = f"tokens {encoding.start} to {encoding.end}" if encoding.start else "no answer here"
    return [Stream(title, encoding.input_ids, answer)]


@streams_of.register
def _(encoding: SourceTarget) -> list[Stream]:
    learned = np.ones(len(encoding.target_ids), dtype=bool)
    return [
        _unlearned("source", encoding.source_ids),
        Stream("target", encoding.target_ids, learned, is_written=True, is_target=True),
    ]


def _unlearned(title: str, ids: Ids) -> Stream:
    return Stream(title, ids, np.zeros(len(ids), dtype=bool))


def _written(title: str, sequence: TokenSequence) -> Stream:
    learned = np.zeros(sequence.length, dtype=bool)
    learned[1:] = sequence.labels[:-1] != IGNORED
    return Stream(title, sequence.input_ids, learned, is_written=True)


def runs(trained: NDArray[np.bool_]) -> Iterator[slice]:
    """Where tokens are learned, one stretch after the other."""
    edges = np.flatnonzero(np.diff(trained, prepend=False, append=False))
    return (slice(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True))


def rendered(encoding: object, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> list[Part]:
    """The texts of an encoding token by token, with what is learned of them.

    Args:
        encoding: of any kind in `inkstone.data.examples.encoded`.
        tokenizer: that made it.
        labels: names of the classes of tokens.
    """
    title = f"target {_target(encoding, labels)}" if isinstance(encoding, LabeledSequence) else ""
    return [
        Part(title or stream.title, list(_pieces(stream, tokenizer.target if stream.is_target else tokenizer, labels)))
        for stream in streams_of(encoding)
    ]


def marked(parts: Sequence[Part]) -> str:
    """Rendered parts as plain text, what is learned between ⟦ and ⟧."""
    return "\n".join(f"{part.title}: {_marked(part.pieces)}" if part.title else _marked(part.pieces) for part in parts)


def _marked(pieces: Sequence[Piece]) -> str:
    text = ""
    for trained, tag, stretch in stretches(pieces):
        words = "".join(piece.text for piece in stretch)
        text += f"⟦{words}{f'|{tag}' if tag else ''}⟧" if trained else words
    return text


def stretches(pieces: Sequence[Piece]) -> Iterator[tuple[bool, str, list[Piece]]]:
    """Neighboring pieces that are trained alike: whether they are, their tag, and the pieces."""
    for (trained, tag), group in itertools.groupby(pieces, key=lambda piece: (piece.trained, piece.tag)):
        yield trained, tag, list(group)


def _pieces(stream: Stream, tokenizer: Tokenizer, labels: Sequence[str]) -> Iterator[Piece]:
    """A character that several tokens write together is shown at the last of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    words = isinstance(tokenizer.backend.decoder, decoders.WordPiece)
    for n, (token_id, trained) in enumerate(zip(stream.ids.tolist(), stream.trained.tolist(), strict=True)):
        text = decoder.decode(tokenizer.token_bytes(token_id))
        if words:
            text = text.removeprefix("##") if text.startswith("##") else f"{' ' if n else ''}{text}"
        tag = "" if stream.tags is None or not trained else _name(stream.tags[n], labels)
        yield Piece(text, trained, tag)


def _target(encoding: LabeledSequence, labels: Sequence[str]) -> str:
    target = encoding.target
    if isinstance(target, np.ndarray):
        return ", ".join(_name(int(index), labels) for index in np.flatnonzero(target)) or "none"
    return f"{target:g}" if isinstance(target, float) else _name(target, labels)


def _name(index: int, labels: Sequence[str]) -> str:
    return labels[index] if index < len(labels) else str(index)
