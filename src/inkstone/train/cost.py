"""What a run will cost: counted where it can be counted, timed over a few steps where it cannot."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models

from inkstone.core.device import tune_allocator
from inkstone.data.packing import PackedSequence
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import LoopConfig, PretrainConfig
from inkstone.train.learning import Learning, build_model, equip, learning_of
from inkstone.train.loop import Loop, LoopSettings, pretrain_settings

_ASSUMED_VOCABULARY = 8192
_TIMED_STEPS = 3
_OPTIMIZER_VALUES = {"adamw": 2, "muon": 2, "sgd": 1}


def estimate(config: PretrainConfig, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Parameters, memory, disk, tokens and seconds of a pretraining run, from a few timed steps on random tokens."""
    tokenizer, known = _tokenizer(inputs, config)
    tune_allocator()
    settings = pretrain_settings(config)
    model = build_model(config, tokenizer)
    parameters = model.num_parameters()
    micro_batch_size = config.chosen_micro_batch_size(settings.device.type)
    seconds = _seconds_per_step(model.to(settings.device), learning_of(config, tokenizer), settings)
    tokens = config.steps * settings.batch_size * config.context_length
    rows = {} if known else {"vocabulary": f"assumed {tokenizer.vocab_size:,}: the tokenizer is not trained yet"}
    return {
        "parameters": parameters,
        "tokens": tokens,
        "memory_bytes": memory_bytes(parameters, tokenizer.vocab_size, config, micro_batch_size),
        "disk_bytes": parameters * 4 + checkpoint_bytes(config, parameters, config.steps),
        "seconds": seconds * config.steps,
        "tokens_per_second": round(settings.batch_size * config.context_length / seconds),
        "batch": f"{settings.batch_size} × {config.context_length} tokens, {micro_batch_size} at a time",
        "learning_rate": settings.learning_rate,
        "dtype": str(settings.dtype).removeprefix("torch."),
        **rows,
    }


def checkpoint_bytes(config: LoopConfig, trained: int, steps: int) -> int:
    """Disk that a run's checkpoints take, in bytes: the last one, the best weights, and those that `keep_every` keeps.

    Args:
        config: of the run.
        trained: number of values that are trained.
        steps: of the run.
    """
    last = 1 + _OPTIMIZER_VALUES[config.optimizer.name] + (config.ema > 0)
    kept = steps // config.keep_every if config.keep_every else 0
    return 4 * trained * (last + 1 + kept)


def memory_bytes(parameters: int, vocab_size: int, config: PretrainConfig, micro_batch_size: int) -> int:
    """Peak memory of training in bytes: weights, gradients, optimizer, activations, logits, all as float32."""
    sizes = config.sizes()
    tokens = micro_batch_size * config.context_length
    weights = parameters * (2 + _OPTIMIZER_VALUES[config.optimizer.name])
    feed_forward = sizes.get("intermediate_size", 0) * sizes.get("num_experts_per_tok", 1)
    per_block = tokens * (10 * sizes["hidden_size"] + 4 * feed_forward)
    attention = micro_batch_size * sizes.get("num_attention_heads", 0) * config.context_length**2
    num_stacks = 2 if config.architecture.learning == "corrupted_spans" else 1
    activations = num_stacks * sizes["num_hidden_layers"] * (per_block + attention)
    logits = min(tokens * vocab_size, 1 << 24) * 3
    return 4 * (weights + activations + logits) + (400 << 20)


def _tokenizer(inputs: Mapping[str, Path], config: PretrainConfig) -> tuple[Tokenizer, bool]:
    """The tokenizer of the run or, where it is not trained yet, one of a likely size."""
    folder = inputs.get("tokenizer")
    if folder is not None and (folder / "tokenizer.json").is_file():
        return equip(Tokenizer.load(folder), config), True
    words = {f"token {number}": number for number in range(_ASSUMED_VOCABULARY)}
    return equip(Tokenizer(tokenizers.Tokenizer(models.WordLevel(words, unk_token="token 0"))), config), False


class RandomSequences:
    """Endless sequences of random tokens, for timing."""

    per_epoch = 1 << 30

    def __init__(self, vocab_size: int, length: int) -> None:
        self._vocab_size, self._length = vocab_size, length

    def batch(self, start: int, size: int) -> Sequence[PackedSequence]:
        """Sequences of one segment each."""
        rows = np.random.default_rng(start).integers(self._vocab_size, size=(size, self._length))
        positions, segments = np.arange(self._length), np.zeros(self._length, dtype=np.int64)
        return [PackedSequence(row, row, positions, segments) for row in rows]


def _seconds_per_step(model: Model, learning: Learning, settings: LoopSettings) -> float:
    examples = learning.examples(RandomSequences(model.config.vocab_size, learning.length))
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(model, learning.objective, examples, settings, Path(folder), None)
        times = []
        for number in range(1 + _TIMED_STEPS):
            began = time.perf_counter()
            loop.accumulate_gradient(number * settings.batch_size)
            for optimizer in loop.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            times.append(time.perf_counter() - began)
    return sorted(times[1:])[_TIMED_STEPS // 2]
