"""Reading a SentencePiece BPE model (`tokenizer.model`), as older Llama and Mistral folders have, without that library.

The file is a protocol buffer; of `sentencepiece_model.proto` only the fields below are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, processors

from inkstone.core.errors import InputError

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_BPE = 2
_IDENTITY = "identity"


@dataclass(slots=True)
class SentencePieceModel:
    """What a tokenizer.model holds."""

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    """(piece, score, type) in the order of ids."""
    model_type: int = 1
    normalization: str = ""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Parse a tokenizer.model.

    Raises:
        InputError: it is damaged, or no such file at all.
    """
    model = SentencePieceModel()
    try:
        for number, value in _fields(path.read_bytes()):
            if number == 1 and isinstance(value, bytes):
                entry = dict(_fields(value))
                score = struct.unpack("<f", entry.get(2, b"\0\0\0\0"))[0]
                model.pieces.append((entry[1].decode(), score, entry.get(3, _NORMAL)))
            elif number == 2 and isinstance(value, bytes):
                model.model_type = dict(_fields(value)).get(3, 1)
            elif number == 3 and isinstance(value, bytes):
                rules = dict(_fields(value))
                model.normalization = rules.get(1, b"").decode()
                model.add_dummy_prefix = bool(rules.get(3, 1))
                model.remove_extra_whitespaces = bool(rules.get(4, 1))
    except (ValueError, KeyError, IndexError, struct.error, AttributeError) as error:
        raise InputError("not a SentencePiece model, or a damaged one", where=path, remedy="copy it again") from error
    if not model.pieces:
        raise InputError("a SentencePiece model without pieces", where=path, remedy="copy it again")
    return model


def convert_sentencepiece(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a tokenizer.model, giving bos first as Llama's does.

    Raises:
        InputError: it is damaged, is no BPE model, or changes the text before it tokenizes.
    """
    model = read_sentencepiece(path)
    if model.model_type != _BPE or model.normalization != _IDENTITY or model.remove_extra_whitespaces:
        raise InputError(
            "a SentencePiece model that is not plain BPE",
            where=path,
            remedy="convert it with `transformers` (AutoTokenizer, save_pretrained) and give the new folder",
        )
    vocab = {piece: token_id for token_id, (piece, _, _) in enumerate(model.pieces)}
    unknown = next((piece for piece, _, kind in model.pieces if kind == _UNKNOWN), None)
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=_merges(model, vocab), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    prefix = [normalizers.Prepend("▁")] if model.add_dummy_prefix else []
    backend.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if model.add_dummy_prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip],
    )
    for piece, _, kind in model.pieces:
        if kind in (_UNKNOWN, _CONTROL):
            backend.add_special_tokens([AddedToken(piece, special=True, normalized=False)])
        elif kind == _USER_DEFINED:
            backend.add_tokens([AddedToken(piece, normalized=False)])
    if "<s>" in vocab:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", vocab["<s>"])]
        )
    return backend


def _merges(model: SentencePieceModel, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the piece of the highest score first.

    SentencePiece merges the pair that makes the best piece; a merge list says the same by its order.
    """
    found: list[tuple[float, tuple[str, str]]] = []
    for piece, score, kind in model.pieces:
        if kind != _NORMAL:
            continue
        splits = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        known = [pair for pair in splits if pair[0] in vocab and pair[1] in vocab]
        known.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        found.extend((-score, pair) for pair in known)
    found.sort(key=lambda entry: entry[0])
    return [pair for _, pair in found]


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
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
