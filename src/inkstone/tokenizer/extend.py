"""A tokenizer with further special tokens."""

from collections.abc import Sequence
from dataclasses import replace

import tokenizers

from inkstone.tokenizer.tokenizer import Tokenizer


def extend_tokenizer(tokenizer: Tokenizer, tokens: Sequence[str], **parts: str) -> Tokenizer:
    """A copy of a tokenizer with more special tokens; all other ids stay as they are.

    Args:
        tokenizer: is not changed.
        tokens: get the next free ids, in this order; those that it has already keep theirs.
        parts: fields of `SpecialTokens` → the token that plays that part.
    """
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens(list(tokens))
    return with_backend(tokenizer, backend, **parts)


def with_backend(tokenizer: Tokenizer, backend: tokenizers.Tokenizer, **parts: str) -> Tokenizer:
    """The tokenizer with another backend, made from its own; `parts` as in `extend_tokenizer`."""
    return Tokenizer(
        backend,
        replace(tokenizer.special, **parts),
        tokenizer.chat_template,
        tokenizer._config,
        named_templates=tokenizer.named_templates,
    )
