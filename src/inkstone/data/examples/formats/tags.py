"""Tags of tokens, one each: BIO, BIOES, BILOU, BMES."""

import re
from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.examples.records import Row, Span

_UNSPACED = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
"""Characters of scripts that put no spaces between words."""
_BEGINS, _GOES_ON, _ENDS = frozenset("BSU"), frozenset("IMEL"), frozenset("ELSU")


def text_and_spans(row: Row, tokens: Any, name: str, tags: Any) -> tuple[str, list[Span]]:
    """The text of `tokens` and the spans that their tags mark.

    Tokens are joined by spaces, but not beside Chinese and Japanese characters, nor where each is one character. What
    goes on without having begun begins, as in CoNLL's evaluation.

    Raises:
        InputError: no list of texts, not as many tags as tokens, or no tag of these schemes.
    """
    for column, values in (("tokens", tokens), (name, tags)):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            cause = f"`{column}` is not a list of texts"
            remedy = "write names such as B-PER and O" if column == name else 'write ["…", …]'
            raise InputError(cause, where=row.where, remedy=remedy)
    if len(tokens) != len(tags) or not all(tokens):
        raise InputError(
            f"{len(tokens)} tokens and {len(tags)} tags" if len(tokens) != len(tags) else "a token is empty",
            where=row.where,
            remedy="write one tag for each token",
        )
    text, spans, is_open = "", list[Span](), False
    characters = all(len(token) == 1 for token in tokens)
    for token, tag in zip(tokens, tags, strict=True):
        start = len(text) + (not characters and _needs_space(text, token))
        text = text.ljust(start) + token
        if tag == "O":
            is_open = False
            continue
        mark, label = _split(row, tag)
        if is_open and mark in _GOES_ON and spans[-1].label == label:
            spans[-1] = spans[-1]._replace(end=len(text))
        else:
            spans.append(Span(start, len(text), label))
        is_open = mark not in _ENDS
    return text, spans


def _needs_space(text: str, token: str) -> bool:
    return bool(text) and not _UNSPACED.match(text[-1]) and not _UNSPACED.match(token)


def _split(row: Row, tag: str) -> tuple[str, str]:
    mark, dash, label = tag.partition("-") if "-" in tag else tag.partition("_")
    if dash and label and mark in _BEGINS | _GOES_ON:
        return mark, label
    raise InputError(f"unknown tag {tag!r}", where=row.where, remedy="write B-…, I-… or O (or BIOES, BILOU, BMES)")
