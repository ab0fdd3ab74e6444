"""What a tokenizer will be like, before its corpus is there."""

from collections.abc import Callable, Mapping
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_bytes_bpe, train_characters
from inkstone.tokenizer.train_subwords import train_unigram, train_word_pieces

ASSUMED_VOCABULARY = 8192
_ANY_TEXT = ("An inkstone: 墨與硯。",)
_MADE: Mapping[str, Callable[[], Tokenizer]] = {
    "bytes_bpe": lambda: train_bytes_bpe(_ANY_TEXT, 300),
    "wordpiece": lambda: train_word_pieces(_ANY_TEXT, 64),
    "unigram": lambda: train_unigram(_ANY_TEXT, 64),
    "characters": lambda: train_characters(_ANY_TEXT),
}
_PIECES = r"\p{Han}| ?\p{L}{1,5}| ?\p{N}| ?[^\s\p{L}\p{N}]|\s"
"""What counts as a token: up to five letters, one Chinese character, a digit, a sign."""
_CHARACTERS = r"[\s\S]"
_ASSUMED = "assumed_tokenizer"
"""The file of `mark_assumed`."""


def assumed_tokenizer(kind: str = "bytes_bpe", vocab_size: int = ASSUMED_VOCABULARY) -> Tokenizer:
    """A tokenizer with the special tokens of its kind, which makes about as many tokens of a text as a trained one.

    Args:
        kind: of the stage `tokenizer`.
        vocab_size: of all tokens.
    """
    made = _MADE.get(kind, _MADE["bytes_bpe"])()
    kept = made.special_tokens
    taken = set(kept.values())
    words = {f"assumed {number}": number for number in range(vocab_size) if number not in taken}
    backend = tokenizers.Tokenizer.from_str(made.backend.to_str())
    backend.model = models.WordLevel(words | kept, unk_token=next(iter(words | kept)))
    backend.decoder = decoders.Fuse()
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_CHARACTERS if kind == "characters" else _PIECES), "isolated")
    return Tokenizer(backend, made.special, made.chat_template)


def mark_assumed(folder: Path) -> None:
    """Say of a folder that its tokenizer, or its model's, stands for one that is not trained yet."""
    (folder / _ASSUMED).touch()


def is_assumed(folder: Path) -> bool:
    """Whether that was said."""
    return (folder / _ASSUMED).exists()
