"""Computing by native steps: the whole batch in one call."""

from collections.abc import Sequence as AbstractSequence
from itertools import accumulate

import torch

from inkstone.engine.calibrate import threads_by_rows
from inkstone.engine.sampler import Predictions
from inkstone.engine.scheduler import Chunk
from inkstone.engine.torch_runner import matrix_bytes, vocab_size_of, window_of
from inkstone.nn.kernels.decoder_step import BITS, BLOCK_SIZE, KeptFormat, NativeDecoder, WeightFormat
from inkstone.nn.models.base import Decoder


class NativeRunner:
    """A decoder with packed weights. Its results for a token do not depend on what else is computed in the step.

    Args:
        model: that `unsupported` has nothing against.
        weights: how matrices are kept.
        num_blocks: of the cache.
        num_threads: that compute.
        kept: how keys and values are kept.
        calibrated: take fewer threads for steps that are measured to be as fast with fewer.
    """

    reuses = True
    reads_sources = False
    block_size = BLOCK_SIZE

    def __init__(
        self,
        model: Decoder,
        weights: WeightFormat,
        num_blocks: int,
        num_threads: int,
        *,
        kept: KeptFormat,
        calibrated: bool = False,
    ) -> None:
        self.num_blocks, self.context, self.window = num_blocks, model.context, window_of(model)
        self.vocab_size, self.input_vocab_size = vocab_size_of(model), model.config.vocab_size
        self.weight_bytes = matrix_bytes(model, BITS[weights])
        self._decoder = NativeDecoder(model, weights, num_blocks, num_threads, kept=kept)
        self._threads = threads_by_rows(self._decoder) if calibrated else {1: num_threads}

    def compute(self, chunks: AbstractSequence[Chunk], copies: AbstractSequence[tuple[int, int]]) -> Predictions:
        """As in `Runner`."""
        for source, target in copies:
            self._decoder.copy_block(source, target)
        token_ids = [token for chunk in chunks for token in chunk.token_ids]
        tables = [block for chunk in chunks for block in chunk.sequence.blocks]
        first_row = [0, *accumulate(len(chunk.token_ids) for chunk in chunks)]
        first_block = [0, *accumulate(len(chunk.sequence.blocks) for chunk in chunks)]
        past = [chunk.sequence.num_computed for chunk in chunks]
        rows = [
            row for chunk, end in zip(chunks, first_row[1:], strict=True) for row in range(end - chunk.num_logits, end)
        ]
        arguments = (token_ids, first_row, past, first_block, tables, rows)
        tensors = (torch.tensor(each, dtype=torch.int64) for each in arguments)
        num_threads = self._threads[max(rows for rows in self._threads if rows <= len(token_ids))]
        logits, likeliest = self._decoder.step(*tensors, num_threads=num_threads)
        return Predictions(logits, likeliest.tolist())

    def forget(self, request_id: int) -> None:
        """As in `Runner`."""
