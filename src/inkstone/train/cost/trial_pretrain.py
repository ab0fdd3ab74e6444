"""Pretraining in small: random tokens."""

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inkstone.data.corpus import SPLITS, Corpus
from inkstone.data.packing import PackedSequence
from inkstone.data.tokens import END_BYTES, framed, token_dtype
from inkstone.nn.models.base import Model
from inkstone.train.config import PretrainConfig
from inkstone.train.cost.new_model import known_tokenizer, model_outline
from inkstone.train.cost.trial import Amounts, Run, Trial, one_step
from inkstone.train.learning import build_model, equip, learning_of
from inkstone.train.loop import Examples, Loop, LoopSettings, pretrain_settings
from inkstone.train.objectives import num_tokens
from inkstone.train.objectives.base import Objective

_COUNTED = 8
"""Random examples, for their length with all that is added and taken away."""
_SAMPLED_BYTES = 1_000_000
"""Of the text that is encoded to see how many tokens a corpus has."""


class RandomSequences:
    """Endless sequences of random tokens, each one document."""

    per_epoch = 1 << 30

    def __init__(self, vocab_size: int, length: int) -> None:
        self._vocab_size, self._length = vocab_size, length

    def batch(self, start: int, size: int) -> Sequence[PackedSequence]:
        """Sequences of one segment each."""
        rows = np.random.default_rng(start).integers(self._vocab_size, size=(size, self._length))
        positions, segments = np.arange(self._length), np.zeros(self._length, dtype=np.int64)
        return [PackedSequence(row, row, positions, segments) for row in rows]


class PretrainTrial(Trial):
    """A pretraining run.

    Args:
        config: of the stage.
        inputs: the tokenizer need not be there.
    """

    config: PretrainConfig

    def __init__(self, config: PretrainConfig, inputs: Mapping[str, Path]) -> None:
        self.config = config
        tokenizer, assumed = known_tokenizer(inputs)
        self.tokenizer = equip(tokenizer, config)
        corpus = inputs.get("corpus")
        self._corpus = Corpus(corpus) if corpus and (corpus / "card.json").is_file() and not assumed else None
        self.settings = pretrain_settings(config)
        size, length = self.settings.batch_size, config.context_length
        at_once = config.chosen_micro_batch_size(self.settings.device.type)
        self.notes = {"batch": f"{size} × {length} tokens, {at_once} at a time", **assumed}
        self.micro_batch_tokens, self.longest_tokens = at_once * length, length

    @functools.cached_property
    def amounts(self) -> Amounts:  # type: ignore[override]
        """As in `Trial`; of a corpus that is there, with what it takes to encode it."""
        config, length = self.config, self.config.context_length
        objective, examples = self._learning()
        few = examples.batch(0, _COUNTED)
        example_tokens = num_tokens(objective.collate(few)) / len(few)
        validation = float(max(1, config.eval_tokens // length))
        if self._corpus is None or not self._corpus.num_bytes("train"):
            return Amounts(config.steps, self.settings.batch_size, example_tokens, validation * example_tokens)
        texts = self._corpus.sample("train", _SAMPLED_BYTES)
        began = time.perf_counter()
        sampled = sum(len(framed(ids, self.tokenizer)) for ids in self.tokenizer.encode_plain_batch(texts))
        seconds = time.perf_counter() - began
        # The corpus in samples: of all splits, and of the one that is held out.
        sampled_bytes = sum(len(text.encode()) for text in texts)
        samples, held_out = (
            sum(map(self._corpus.num_bytes, splits)) / sampled_bytes for splits in (SPLITS, ("valid",))
        )
        return Amounts(
            config.steps,
            self.settings.batch_size,
            example_tokens,
            min(validation, held_out * sampled / length) * example_tokens,
            kept_bytes=samples * sampled * token_dtype(self.tokenizer).itemsize
            + END_BYTES * sum(map(self._corpus.num_documents, SPLITS)),
            start_seconds=samples * seconds,
        )

    def _learning(self) -> tuple[Objective[Any], Examples[Any]]:
        """What is learned, and random examples of it."""
        learning = learning_of(self.config, self.tokenizer)
        return learning.objective, learning.examples(RandomSequences(self.tokenizer.vocab_size, learning.length))

    def settings_of(self, config: PretrainConfig) -> LoopSettings:
        """As in `Trial`."""
        return pretrain_settings(config)

    def base(self) -> Model:
        """As in `Trial`."""
        return model_outline(self.config, self.tokenizer)

    def outline(self, config: PretrainConfig) -> Model:
        """As in `Trial`."""
        return self.base()

    def load(self) -> Model:
        """As in `Trial`."""
        return build_model(self.config, self.tokenizer)

    def run(self, model: Model, config: PretrainConfig, out: Path, num_tokens: float = 0.0) -> Run:
        """As in `Trial`."""
        settings = pretrain_settings(config)
        objective, examples = self._learning()
        model.to(settings.device)
        at_once = config.chosen_micro_batch_size(settings.device.type)
        size = min(settings.batch_size, max(1, round(num_tokens / config.context_length / at_once)) * at_once)
        loop = Loop(model, objective, examples, one_step(settings, size), out, None)
        return Run(loop, examples.batch(0, at_once))
