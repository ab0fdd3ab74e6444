"""Pairs of texts in one sequence: where the first ends and the second begins must be seen."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import tokenizers

from inkstone.core.errors import InputError
from inkstone.tokenizer.extend import with_backend
from inkstone.tokenizer.tokenizer import Tokenizer


def with_separated_pairs(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with a token between the two texts of a pair.

    Tokenizers of encoders have their own form, such as BERT's ``[CLS] A [SEP] B [SEP]``, and stay as they are. Those of
    decoders write one text right after the other; they get their sep or eos token between both, and token type 1
    for the second: ``<bos> A <eos> B``. Single texts do not change. `transformers` reads the form from tokenizer.json.

    Raises:
        InputError: there is neither a sep nor an eos token.
    """
    sequence_ids = tokenizer.encode_with_offsets("a", "b").sequence_ids
    last_of_first = len(sequence_ids) - 1 - sequence_ids[::-1].index(0)
    if sequence_ids[last_of_first + 1] is None:
        return tokenizer
    separator = tokenizer.special.sep or tokenizer.special.eos
    if separator is None:
        raise InputError(
            "two texts cannot be told apart: the tokenizer has neither a sep nor an eos token",
            where="tokenizer",
            remedy="name one in its tokenizer_config.json (sep_token or eos_token)",
        )
    return with_backend(tokenizer, _separating(tokenizer, separator))


def _separating(tokenizer: Tokenizer, separator: str) -> tokenizers.Tokenizer:
    single = tokenizer.encode_with_offsets("a")
    texts = [n for n, sequence in enumerate(single.sequence_ids) if sequence is not None]
    names = [str(tokenizer.backend.id_to_token(token)) for token in single.ids]
    begin, end = names[: texts[0]], names[texts[-1] + 1 :]
    template = {
        "type": "TemplateProcessing",
        "single": [*_added(begin, 0), _text("A", 0), *_added(end, 0)],
        "pair": [*_added(begin, 0), _text("A", 0), *_added([separator], 0), _text("B", 1), *_added(end, 1)],
        "special_tokens": {
            name: {"id": name, "ids": [tokenizer.backend.token_to_id(name)], "tokens": [name]}
            for name in sorted({*begin, *end, separator})
        },
    }
    state = json.loads(tokenizer.backend.to_str())
    others = [each for each in _parts(state["post_processor"]) if each["type"] == "ByteLevel"]
    state["post_processor"] = {"type": "Sequence", "processors": [*others, template]} if others else template
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _added(names: Iterable[str], type_id: int) -> list[dict[str, Any]]:
    return [{"SpecialToken": {"id": name, "type_id": type_id}} for name in names]


def _text(name: str, type_id: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": type_id}}


def _parts(processor: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A post-processor's parts, those that give offsets without spaces among them."""
    if processor is None:
        return
    if processor["type"] == "Sequence":
        for part in processor["processors"]:
            yield from _parts(part)
    else:
        yield processor
