"""The tokenizer of llama2.c: SentencePiece's BPE pieces with their scores, merged by score."""

import struct
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, processors

from inkstone.core.errors import InputError
from inkstone.core.files import StrPath, atomic_file
from inkstone.tokenizer import Tokenizer

_UNK, _BOS, _EOS = "<unk>", "<s>", "</s>"
_SPECIAL = {0: _UNK, 1: _BOS, 2: _EOS}
_FIRST_BYTE = 3
_MAX_PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Llama2cVocabulary:
    """What a `tok*.bin` holds: pieces with their scores in the order of ids, a space where SentencePiece writes ▁."""

    pieces: tuple[tuple[bytes, float], ...]
    max_piece_bytes: int


def read_vocabulary(path: StrPath, vocab_size: int) -> Llama2cVocabulary:
    """Read a `tok*.bin`: the longest piece's size, then score, size and bytes of each piece.

    Raises:
        InputError: the file is truncated, or holds another number of pieces.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(error.strerror or str(error), where=path) from None
    pieces: list[tuple[bytes, float]] = []
    at = 4
    try:
        (longest,) = struct.unpack_from("<i", data)
        while at < len(data) and len(pieces) <= vocab_size:
            score, size = struct.unpack_from("<fi", data, at)
            if not 0 <= size <= min(_MAX_PIECE_BYTES, len(data) - at - 8):
                raise _damaged(path)
            pieces.append((data[at + 8 : at + 8 + size], score))
            at += 8 + size
    except struct.error:
        raise _damaged(path) from None
    if len(pieces) != vocab_size:
        raise InputError(
            f"holds {len(pieces)} pieces{' or more' * (at < len(data))}, but the model has {vocab_size} tokens",
            where=path,
            remedy="use the tok*.bin that the model was trained with",
        )
    return Llama2cVocabulary(tuple(pieces), longest)


def write_vocabulary(path: StrPath, vocabulary: Llama2cVocabulary) -> None:
    """Write a `tok*.bin`: what `read_vocabulary` reads, byte by byte."""
    with atomic_file(path, "wb") as file:
        file.write(struct.pack("<i", vocabulary.max_piece_bytes))
        for piece, score in vocabulary.pieces:
            file.write(struct.pack("<fi", score, len(piece)) + piece)


def read_tokenizer(path: StrPath, vocab_size: int) -> Tokenizer:
    """The tokenizer of a `tok*.bin`, giving bos first; errors as of `read_vocabulary`."""
    pieces = [
        (_SPECIAL.get(token_id) or _text(Path(path), piece), score)
        for token_id, (piece, score) in enumerate(read_vocabulary(path, vocab_size).pieces)
    ]
    vocab: dict[str, int] = {}
    for token_id, (piece, _) in enumerate(pieces):
        vocab.setdefault(piece, token_id)
    if len(vocab) < len(pieces) or any(vocab.get(f"<0x{byte:02X}>") != _FIRST_BYTE + byte for byte in range(256)):
        raise InputError("not a tokenizer of llama2.c: bytes or unique pieces are missing", where=path)
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=_merges(pieces, vocab), unk_token=_UNK, fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Prepend(" ")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in _SPECIAL.values()])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A", pair=f"{_BOS} $A {_BOS} $B:1", special_tokens=[(_BOS, vocab[_BOS])]
    )
    return Tokenizer.from_tokenizers(backend, bos=_BOS, eos=_EOS, unk=_UNK)


def _merges(pieces: list[tuple[str, float]], vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the piece of the highest score first.

    llama2.c merges the neighbors that make the piece of the highest score; a list of merges says the same by its order.
    """
    ranked = sorted((piece for piece in pieces[_FIRST_BYTE + 256 :]), key=lambda entry: -entry[1])
    splits = ((piece[:at], piece[at:]) for piece, _ in ranked for at in range(1, len(piece)))
    return [(left, right) for left, right in splits if left in vocab and right in vocab]


def _text(path: Path, piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        raise _damaged(path) from None


def _damaged(path: Path) -> InputError:
    return InputError("not a tokenizer of llama2.c, or a damaged one", where=path, remedy="copy it again")
