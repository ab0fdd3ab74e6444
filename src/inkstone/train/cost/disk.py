"""Disk that a run takes."""

import tempfile
from pathlib import Path

from inkstone.tokenizer import Tokenizer
from inkstone.train.config import LoopConfig
from inkstone.train.cost.counts import FLOAT_BYTES, Counts

LOOSE_BYTES = 60_000
"""Of a run's files beside tensors and tokens: random streams, states, curves, cards."""
_LOGGED_BYTES = 700
"""Of a line of metrics, in JSON and as TensorBoard has it."""


def checkpoint_bytes(config: LoopConfig, counts: Counts, steps: int, *, validated: bool = True) -> int:
    """Training checkpoints: the last one, the best weights, and those that `keep_every` keeps.

    Args:
        config: of the run.
        counts: of its model.
        steps: of the run.
        validated: there are validation examples, by which the best weights are chosen.
    """
    kept = steps // config.keep_every if config.keep_every else 0
    return last_bytes(config, counts) + FLOAT_BYTES * (validated + kept) * counts.trained


def last_bytes(config: LoopConfig, counts: Counts) -> int:
    """The checkpoint that a run goes on from: weights, what the optimizers remember, averages."""
    return FLOAT_BYTES * ((1 + (config.ema > 0)) * counts.trained + counts.optimizer_values)


def log_bytes(config: LoopConfig, steps: int) -> int:
    """Metrics, and what lies beside tensors."""
    return LOOSE_BYTES + _LOGGED_BYTES * (steps // config.log_every)


def tokenizer_bytes(tokenizer: Tokenizer) -> int:
    """The files of a tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        return sum(file.stat().st_size for file in Path(folder).iterdir())
