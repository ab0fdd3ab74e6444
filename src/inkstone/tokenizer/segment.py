"""Texts through a backend of the `tokenizers` library: errors as ours, special tokens as plain text."""

import contextlib
import json
from collections.abc import Iterator, Sequence

import tokenizers

from inkstone.core.errors import InputError


def encode_ids(backend: tokenizers.Tokenizer, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
    """The ids of every text, in parallel.

    Raises:
        InputError: a text has a lone surrogate, which UTF-8 cannot write.
    """
    with _library_errors(texts):
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
    return [encoding.ids for encoding in encodings]


def encode_each(
    backend: tokenizers.Tokenizer, texts: Sequence[str], pairs: Sequence[str] | None, *, add_special_tokens: bool
) -> list[tokenizers.Encoding]:
    """Every text, or pair of texts, with its offsets.

    Raises:
        InputError: a text has a lone surrogate, which UTF-8 cannot write.
    """
    rows = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
    with _library_errors([*texts, *(pairs or ())]):
        encodings: list[tokenizers.Encoding] = backend.encode_batch(rows, add_special_tokens=add_special_tokens)
    return encodings


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


def is_panic(error: BaseException) -> bool:
    """Whether the library's Rust code failed on what it did not foresee; such an error is no `Exception`."""
    return type(error).__name__ == "PanicException"


@contextlib.contextmanager
def _library_errors(texts: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except TypeError:  # what the library makes of a text that is not UTF-8
        _check_surrogates(texts)
        raise
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            raise InputError(
                f"the tokenizer cannot encode this text: {error}", remedy="its files are damaged: copy them again"
            ) from None
        raise


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
