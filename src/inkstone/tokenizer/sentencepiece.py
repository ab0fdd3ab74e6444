"""Reading a SentencePiece model (``tokenizer.model``, ``spiece.model``, ``source.spm`` …) without that library.

The file is a protocol buffer; of `sentencepiece_model.proto` only the fields below are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from inkstone.core.errors import InputError

MAX_PIECE_BYTES = 512

UNIGRAM, BPE = 1, 2
"""The kinds of model that tokenizers of language models have; the others are words and characters."""


class PieceType(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """An entry of the vocabulary."""

    text: str
    score: float
    """Unigram: log-probability. BPE: minus the order of its merge."""
    type: int


@dataclass(slots=True)
class SentencePieceModel:
    """What the file holds."""

    pieces: list[Piece] = field(default_factory=list)
    """In the order of ids."""
    model_type: int = UNIGRAM
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    normalization: str = ""
    charsmap: bytes = b""
    """The compiled rules of normalization: a trie and what its entries become."""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Parse a model file.

    Raises:
        InputError: it is damaged, or no such file at all.
    """
    try:
        return parse_sentencepiece(path.read_bytes())
    except OSError as error:
        raise InputError(error.strerror or str(error), where=path) from None
    except InputError as error:
        raise InputError(error.cause, where=path, remedy=error.remedy) from None


def parse_sentencepiece(data: bytes) -> SentencePieceModel:
    """The model that the bytes of a file hold.

    Raises:
        InputError: they hold none.
    """
    model = SentencePieceModel()
    try:
        for number, value in _fields(data):
            if number == 1:
                model.pieces.append(_piece(dict(_fields(value))))
            elif number == 2:
                _read_trainer(model, dict(_fields(value)))
            elif number == 3:
                _read_normalizer(model, dict(_fields(value)))
    except (ValueError, KeyError, IndexError, TypeError, struct.error, AttributeError) as error:
        raise InputError("not a SentencePiece model, or a damaged one", remedy="copy it again") from error
    if not model.pieces:
        raise InputError("a SentencePiece model without pieces", remedy="copy it again")
    return model


def _piece(entry: dict[int, Any]) -> Piece:
    score = struct.unpack("<f", entry.get(2, b"\0\0\0\0"))[0]
    if score != score:
        raise ValueError("a score that is no number")
    if len(entry[1]) > MAX_PIECE_BYTES:
        raise ValueError("a piece longer than any")
    return Piece(entry[1].decode(), score, PieceType(entry.get(3, PieceType.NORMAL)))


def _read_trainer(model: SentencePieceModel, spec: dict[int, Any]) -> None:
    model.model_type = spec.get(3, UNIGRAM)
    model.whitespace_as_suffix = bool(spec.get(24, 0))
    model.byte_fallback = bool(spec.get(35, 0))


def _read_normalizer(model: SentencePieceModel, spec: dict[int, Any]) -> None:
    model.normalization = spec.get(1, b"").decode()
    model.charsmap = bytes(spec.get(2, b""))
    model.add_dummy_prefix = bool(spec.get(3, 1))
    model.remove_extra_whitespaces = bool(spec.get(4, 1))
    model.escape_whitespaces = bool(spec.get(5, 1))


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a protocol-buffer message: varints as int, everything else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value: Any
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            size = 8 if kind == 1 else 4
            if kind == 2:
                size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("truncated")
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
