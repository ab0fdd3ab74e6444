"""The UTF-8 bytes that a token stands for, whatever alphabet its kind of vocabulary writes them in."""

import re
from collections.abc import Callable

import tokenizers
from tokenizers import decoders

from inkstone.tokenizer.convert import SPACE

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def bytes_of_token(backend: tokenizers.Tokenizer) -> Callable[[str], bytes]:
    """The function from a token to its bytes: byte-level, SentencePiece (``▁``, ``<0x0A>``) or plain text."""
    if isinstance(backend.decoder, decoders.ByteLevel):
        alphabet = _bytes_of_printable()
        return lambda token: bytes(alphabet[character] for character in token)
    if SPACE in repr(backend.decoder):
        return _sentencepiece_bytes
    return str.encode


def _sentencepiece_bytes(token: str) -> bytes:
    match = _BYTE_PIECE.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else token.replace(SPACE, " ").encode()


def _bytes_of_printable() -> dict[str, int]:
    """GPT-2's printable alphabet for bytes: itself where printable, else the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}
