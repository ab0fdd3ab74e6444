"""Texts through a backend of the `tokenizers` library: errors, cuts, and special tokens read as plain text."""

import json
from collections.abc import Sequence

import tokenizers

from inkstone.core.errors import InputError
from inkstone.tokenizer.encoding import share_of_each


def encode_ids(backend: tokenizers.Tokenizer, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
    """The ids of every text, in parallel.

    Raises:
        InputError: a text has a lone surrogate, which UTF-8 cannot write.
    """
    try:
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
    except TypeError:
        _check_surrogates(texts)
        raise
    return [encoding.ids for encoding in encodings]


def encode_each(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> list[tokenizers.Encoding]:
    """Every text with its offsets, without added tokens.

    Raises:
        InputError: a text has a lone surrogate, which UTF-8 cannot write.
    """
    try:
        encodings: list[tokenizers.Encoding] = backend.encode_batch(list(texts), add_special_tokens=False)
    except TypeError:
        _check_surrogates(texts)
        raise
    return encodings


def cut_to_room(first: tokenizers.Encoding, second: tokenizers.Encoding | None, room: int, side: str) -> int:
    """Cut a text, or the longer text of a pair first, down to `room` tokens; how many that were."""
    lengths = len(first.ids), 0 if second is None else len(second.ids)
    kept = share_of_each(*lengths, room) if second is not None else (min(lengths[0], room), 0)
    for encoding, length, keep in zip((first, second), lengths, kept, strict=True):
        if encoding is not None and keep < length:
            encoding.truncate(keep, direction=side)
    return sum(lengths) - sum(kept)


def without_special_tokens(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A copy that reads the names of special tokens as ordinary text.

    A Unigram model would find them among its pieces, so there they get names that no text has.
    """
    if not isinstance(backend.model, tokenizers.models.Unigram):
        plain = tokenizers.Tokenizer.from_str(backend.to_str())
        plain.encode_special_tokens = True
        return plain
    state = json.loads(backend.to_str())
    special = {token["content"] for token in state["added_tokens"] if token["special"]}
    state["added_tokens"] = [token for token in state["added_tokens"] if not token["special"]]
    state["post_processor"] = None
    for entry in state["model"]["vocab"]:
        if entry[0] in special:
            entry[0] = f"\0{entry[0]}\0"
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _check_surrogates(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = f"U+{ord(text[error.start]):04X}"
            raise InputError(
                f"character {error.start} is a lone surrogate ({code}), which no text may contain",
                remedy="read the text again with its right encoding",
            ) from None
