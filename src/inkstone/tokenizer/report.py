"""What a tokenizer does to real text: bytes per token by language, round trips, how much of the vocabulary works."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from inkstone.core.records import Document
from inkstone.tokenizer.tokenizer import Tokenizer

MAX_LISTED = 20
_BATCH = 64


@dataclass(slots=True)
class _Counts:
    documents: int = 0
    bytes: int = 0
    tokens: int = 0


def build_report(tokenizer: Tokenizer, documents: Iterable[Document]) -> dict[str, Any]:
    """Tokenize `documents` and say how it went, as JSON values.

    ``bytes_per_token`` counts UTF-8 bytes and no special tokens; ``round_trip`` compares every document with what its
    ids decode to, character by character.
    """
    by_language: dict[str, _Counts] = {}
    used = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    unknown = 0
    mismatches: list[dict[str, Any]] = []
    num_mismatches = 0
    for batch in _batches(documents):
        for document, ids in zip(batch, tokenizer.encode_plain_batch([d.text for d in batch]), strict=True):
            counts = by_language.setdefault(document.lang or "unknown", _Counts())
            counts.documents += 1
            counts.bytes += len(document.text.encode())
            counts.tokens += len(ids)
            used += np.bincount(np.asarray(ids, dtype=np.int64), minlength=tokenizer.vocab_size)
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            if decoded != document.text:
                num_mismatches += 1
                if len(mismatches) < MAX_LISTED:
                    mismatches.append(_mismatch(document, decoded))
    if tokenizer.unk_id is not None:
        unknown = int(used[tokenizer.unk_id])
    total = _Counts(
        sum(c.documents for c in by_language.values()),
        sum(c.bytes for c in by_language.values()),
        sum(c.tokens for c in by_language.values()),
    )
    num_special = len(tokenizer.special_tokens)
    return {
        "vocab_size": tokenizer.vocab_size,
        "special_tokens": tokenizer.special_tokens,
        "all": _row(total),
        "by_language": {language: _row(counts) for language, counts in sorted(by_language.items())},
        "round_trip": {"documents": total.documents, "mismatches": num_mismatches, "listed": mismatches},
        "unknown_tokens": unknown,
        "vocabulary_used": {
            "tokens": int(np.count_nonzero(used)),
            "of": tokenizer.vocab_size - num_special,
            "share": round(int(np.count_nonzero(used)) / max(1, tokenizer.vocab_size - num_special), 4),
        },
        "longest_tokens": _longest(tokenizer),
    }


def _row(counts: _Counts) -> dict[str, Any]:
    ratio = round(counts.bytes / counts.tokens, 4) if counts.tokens else None
    return {"documents": counts.documents, "bytes": counts.bytes, "tokens": counts.tokens, "bytes_per_token": ratio}


def _mismatch(document: Document, decoded: str) -> dict[str, Any]:
    text = document.text
    pairs = enumerate(zip(text, decoded, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(text), len(decoded)))
    return {"id": document.id, "character": at, "text": text[at : at + 20], "decoded": decoded[at : at + 20]}


def _longest(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    special = set(tokenizer.special_tokens.values())
    tokens = [
        (tokenizer.token_bytes(token_id), token_id)
        for token_id in sorted(tokenizer.backend.get_vocab().values())
        if token_id not in special
    ]
    tokens.sort(key=lambda pair: (-len(pair[0]), pair[1]))
    return [
        {"id": token_id, "bytes": len(raw), "text": raw.decode(errors="replace")}
        for raw, token_id in tokens[:MAX_LISTED]
    ]


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
