"""What the engine needs of whatever computes."""

from collections.abc import Sequence as AbstractSequence
from typing import Protocol

from inkstone.engine.sampler import Predictions
from inkstone.engine.scheduler import Chunk


class Runner(Protocol):
    """Computes chunks of sequences, and holds the content of the blocks."""

    num_blocks: int
    block_size: int
    """Tokens of a block."""
    context: int
    """Longest sequence, in tokens."""
    vocab_size: int
    """Logits that it gives."""
    input_vocab_size: int
    """Tokens that it reads."""
    reads_sources: bool
    """Whether it is an encoder–decoder's: prompts are beginnings of targets."""
    window: int | None
    """Tokens that any layer sees, itself included; None where one sees all."""
    weight_bytes: int
    """Of the matrices that every token is multiplied with, as they are kept."""
    reuses: bool
    """Whether a beginning that is in the blocks can be used again by others."""

    def compute(self, chunks: AbstractSequence[Chunk], copies: AbstractSequence[tuple[int, int]]) -> Predictions:
        """Copy blocks, (from, to), then read all chunks at once.

        Returns:
            Of what comes after the last `num_logits` tokens of each chunk, in order.
        """

    def forget(self, request_id: int) -> None:
        """Free what is kept for a request besides blocks."""
