"""A sample of a text stream in bounded memory: the same blocks whatever the order of the documents."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

BLOCK_CHARACTERS = 8192


@dataclass(slots=True)
class _Reservoir:
    """The blocks with the smallest hashes, up to a budget of bytes."""

    heap: list[tuple[int, bytes]] = field(default_factory=list)
    """(negated hash, block): the largest hash on top."""
    num_bytes: int = 0

    def add(self, block: bytes, priority: int, budget: int) -> None:
        if self.num_bytes + len(block) > budget and self.heap and priority > -self.heap[0][0]:
            return
        heapq.heappush(self.heap, (-priority, block))
        self.num_bytes += len(block)
        self.shrink(budget)

    def shrink(self, budget: int) -> None:
        while self.num_bytes > budget and len(self.heap) > 1:
            self.num_bytes -= len(heapq.heappop(self.heap)[1])


def sample_blocks(
    documents: Iterable[tuple[str, str | None]],
    max_bytes: int,
    *,
    seed: int = 0,
    balance: bool = False,
    on_read: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """Blocks of about 8,192 characters, uniformly sampled from (text, language) pairs, at most `max_bytes` in all.

    Bottom-k sampling: every block is kept or not by a seeded hash of its bytes, so the sample depends on the
    texts alone, not on their order, and memory is `max_bytes` however long the stream is.

    Args:
        documents: texts, each with its language or None.
        max_bytes: of the sample; the last block may not fit, but the first always does.
        seed: another seed, another sample.
        balance: give every language at most an equal share of `max_bytes`.
        on_read: called with the bytes of each document.
    """
    reservoirs: dict[str, _Reservoir] = {}
    for text, language in documents:
        group = (language or "unknown") if balance else "all"
        if group not in reservoirs:
            reservoirs[group] = _Reservoir()
            for reservoir in reservoirs.values():
                reservoir.shrink(max_bytes // len(reservoirs))
        budget = max_bytes // len(reservoirs)
        for block in _blocks(text):
            raw = block.encode()
            reservoirs[group].add(raw, _hash(raw, seed), budget)
        if on_read is not None:
            on_read(len(text.encode()))
    chosen = sorted((-key, raw) for reservoir in reservoirs.values() for key, raw in reservoir.heap)
    reservoirs.clear()
    for _, raw in chosen:
        yield raw.decode()


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
