"""Samples of a stream in bounded memory: the same whatever the order of the documents."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, TypeVar

from inkstone.core.records import Document

BLOCK_CHARACTERS = 8192

T = TypeVar("T")


@dataclass(slots=True)
class _Reservoir(Generic[T]):
    """Bottom-k sampling: the items with the smallest hashes, up to a budget of bytes."""

    heap: list[tuple[int, int, int, T]] = field(default_factory=list)
    """(negated hash, order of arrival, bytes, item): the largest hash on top."""
    num_bytes: int = 0
    arrived: int = 0

    def add(self, item: T, priority: int, num_bytes: int, budget: int) -> None:
        if self.num_bytes + num_bytes > budget and self.heap and priority > -self.heap[0][0]:
            return
        self.arrived += 1
        heapq.heappush(self.heap, (-priority, self.arrived, num_bytes, item))
        self.num_bytes += num_bytes
        self.shrink(budget)

    def shrink(self, budget: int) -> None:
        while self.num_bytes > budget and len(self.heap) > 1:
            self.num_bytes -= heapq.heappop(self.heap)[2]

    def items(self) -> list[tuple[int, T]]:
        """(hash, item) in the order of hashes."""
        return [(-negated, item) for negated, _, _, item in sorted(self.heap, key=lambda entry: (-entry[0], entry[1]))]


def sample_blocks(
    documents: Iterable[tuple[str, str | None]],
    max_bytes: int,
    *,
    seed: int = 0,
    balance: bool = False,
    on_read: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """Blocks of about 8,192 characters, uniformly sampled from (text, language) pairs, at most `max_bytes` in all.

    Every block is kept or not by a seeded hash of its bytes, so the sample depends on the texts alone, not on their
    order, and memory is `max_bytes` however long the stream is.

    Args:
        documents: texts, each with its language or None.
        max_bytes: of the sample; the last block may not fit, but the first always does.
        seed: another seed, another sample.
        balance: give every language at most an equal share of `max_bytes`.
        on_read: called with the bytes of each document.
    """
    reservoirs: dict[str, _Reservoir[bytes]] = {}
    for text, language in documents:
        group = (language or "unknown") if balance else "all"
        if group not in reservoirs:
            reservoirs[group] = _Reservoir()
            for reservoir in reservoirs.values():
                reservoir.shrink(max_bytes // len(reservoirs))
        budget = max_bytes // len(reservoirs)
        num_bytes = 0
        for block in _blocks(text):
            raw = block.encode()
            num_bytes += len(raw)
            reservoirs[group].add(raw, _hash(raw, seed), len(raw), budget)
        if on_read is not None:
            on_read(num_bytes)
    chosen = sorted(pair for reservoir in reservoirs.values() for pair in reservoir.items())
    reservoirs.clear()
    for _, raw in chosen:
        yield raw.decode()


def sample_documents(
    documents: Iterable[Document], max_bytes: int, *, seed: int = 0, max_document_bytes: int | None = None
) -> list[Document]:
    """Whole documents, uniformly sampled by a seeded hash of their ids, at most `max_bytes` of text in all.

    Args:
        documents: the stream to sample from.
        max_bytes: of the sample's texts; one document always fits.
        seed: another seed, another sample.
        max_document_bytes: a longer document is cut to its first so many bytes (at a character), and its metadata
            says so as ``cut_from_bytes``.
    """
    reservoir: _Reservoir[Document] = _Reservoir()
    for document in documents:
        if max_document_bytes is not None and len(document.text) * 4 > max_document_bytes:
            document = _cut(document, max_document_bytes)
        reservoir.add(document, _hash(document.id.encode(), seed), len(document.text.encode()), max_bytes)
    return [document for _, document in reservoir.items()]


def _cut(document: Document, max_bytes: int) -> Document:
    raw = document.text.encode()
    if len(raw) <= max_bytes:
        return document
    text = raw[:max_bytes].decode(errors="ignore")
    return Document(text, document.id, document.source, document.lang, {**document.meta, "cut_from_bytes": len(raw)})


def _blocks(text: str) -> Iterator[str]:
    """Cut at the line end before the limit, or else at the limit."""
    start = 0
    while len(text) - start > BLOCK_CHARACTERS:
        limit = start + BLOCK_CHARACTERS
        newline = text.rfind("\n", start + BLOCK_CHARACTERS // 2, limit)
        end = limit if newline < 0 else newline + 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _hash(raw: bytes, seed: int) -> int:
    key = seed.to_bytes(8, "little", signed=True)
    return int.from_bytes(blake2b(raw, digest_size=8, key=key).digest(), "little")
