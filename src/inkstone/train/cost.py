"""What a run will cost: counted where it can be counted, timed over a few steps where it cannot."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inkstone.core.device import tune_allocator
from inkstone.data.packing import PackedSequence
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import PretrainConfig
from inkstone.train.loop import Loop, LoopSettings
from inkstone.train.objectives.pretrain import Pretrain

_ASSUMED_VOCABULARY = 8192
_TIMED_STEPS = 3
_OPTIMIZER_VALUES = {"adamw": 2, "muon": 2, "sgd": 1}


def estimate(config: PretrainConfig, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Parameters, memory, disk, tokens and seconds of a pretraining run, from a few timed steps on random tokens."""
    vocab_size, known = _vocabulary(inputs)
    shape = config.shape(vocab_size)
    tune_allocator()
    settings = LoopSettings.choose(config)
    seconds = _seconds_per_step(shape, settings, config.context_length)
    parameters = shape.num_parameters()
    tokens = config.steps * settings.batch_size * config.context_length
    rows = {} if known else {"vocabulary": f"assumed {vocab_size:,}: the tokenizer is not trained yet"}
    return {
        "parameters": parameters,
        "tokens": tokens,
        "memory_bytes": memory_bytes(shape, config, settings.micro_batch_size),
        "disk_bytes": parameters * 4 * (1 + 2 * (1 + _OPTIMIZER_VALUES[config.optimizer.name])),
        "seconds": seconds * config.steps,
        "tokens_per_second": round(settings.batch_size * config.context_length / seconds),
        "batch": f"{settings.batch_size} × {config.context_length} tokens, {settings.micro_batch_size} at a time",
        "learning_rate": settings.learning_rate,
        "dtype": str(settings.dtype).removeprefix("torch."),
        **rows,
    }


def memory_bytes(shape: LlamaConfig, config: PretrainConfig, micro_batch_size: int) -> int:
    """Peak memory of training in bytes: weights, gradients, optimizer, activations, logits, all as float32."""
    tokens = micro_batch_size * config.context_length
    weights = shape.num_parameters() * (2 + _OPTIMIZER_VALUES[config.optimizer.name])
    per_block = tokens * (10 * shape.hidden_size + 4 * shape.intermediate_size)
    attention = micro_batch_size * shape.num_attention_heads * config.context_length**2
    activations = shape.num_hidden_layers * (per_block + attention)
    logits = min(tokens * shape.vocab_size, 1 << 24) * 3
    return 4 * (weights + activations + logits) + (400 << 20)


def _vocabulary(inputs: Mapping[str, Path]) -> tuple[int, bool]:
    folder = inputs.get("tokenizer")
    if folder is None or not (folder / "tokenizer.json").is_file():
        return _ASSUMED_VOCABULARY, False
    return Tokenizer.load(folder).vocab_size, True


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


def _seconds_per_step(shape: LlamaConfig, settings: LoopSettings, length: int) -> float:
    model = LlamaForCausalLM(shape)
    model.init_weights(torch.Generator().manual_seed(0))
    model.to(settings.device)
    examples = RandomSequences(shape.vocab_size, length)
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(model, Pretrain(), examples, settings, Path(folder), None)
        times = []
        for number in range(1 + _TIMED_STEPS):
            began = time.perf_counter()
            loop.accumulate_gradient(number * settings.batch_size)
            for optimizer in loop.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            times.append(time.perf_counter() - began)
    return sorted(times[1:])[_TIMED_STEPS // 2]
