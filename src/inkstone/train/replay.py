"""Replay: general text that is learned beside a job, so that it is not forgotten."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkstone.core.errors import ConfigError, InputError
from inkstone.data.corpus import Corpus
from inkstone.data.packing import PackedSequences
from inkstone.data.readers.base import Reading, ReadOptions, reader
from inkstone.data.sources import resolve
from inkstone.data.tokens import TokenStore, tokenize
from inkstone.nn.architectures import Arch
from inkstone.nn.models.base import Decoder, EncoderDecoder, Model
from inkstone.nn.models.masked_lm import MaskedLM
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import PretrainConfig, ShapeConfig
from inkstone.train.learning import Learning, equip, learning_of
from inkstone.train.micro_batches import by_count
from inkstone.train.objectives import Batch, Objective

if TYPE_CHECKING:
    from inkstone.train.loop import Examples

SHORTEST = 16
"""Tokens; less context teaches nothing about text."""
_LONGEST = 1024
_HELD_OUT = 20
"""One document of so many is held out, or that part of every document where there are fewer."""


@dataclass(frozen=True)
class Replay:
    """Text beside each step's examples: `share` of a step's tokens, on average, and of its loss.

    Sequence i of the text is a function of the seed and i, and which sequences a step reads is one of its number, so
    a resumed run reads what it would have read.
    """

    objective: Objective[Any]
    examples: "Examples[Any]"
    share: float
    length: int
    """Tokens of a sequence."""
    sequences_per_step: float
    """On average, at least 1."""
    micro_batch_size: int

    def batches(self, step: int) -> list[Batch]:
        """The micro-batches of a step, counted from 0."""
        first, last = (math.floor(number * self.sequences_per_step) for number in (step, step + 1))
        split = by_count(self.micro_batch_size)
        return [self.objective.collate(part) for part in split(self.examples.batch(first, last - first))]

    def num_targets(self, batches: Sequence[Batch]) -> int:
        """What carries loss."""
        return sum(map(self.objective.num_targets, batches))


class ReplayText:
    """The text of the input `replay` as token ids: one part to learn from, the other held out.

    Args:
        path: a corpus of `prepare`, whose validation split is held out, or a file of texts that `collect` reads.
        model: decoders learn the next token of it, the others restore it.
        tokenizer: the model's own.
        folder: for the token ids.
        seed: of the order.

    Raises:
        InputError: it is neither, there is no text, or the model has no output layer for text.
        ConfigError: the model's tokenizer has no tokens to hide text with.
    """

    def __init__(self, path: Path, model: Model, tokenizer: Tokenizer, folder: Path, seed: int) -> None:
        self._model, self._tokenizer, self._seed = model, tokenizer, seed
        self._config(_LONGEST)  # can it?
        train, valid = (Corpus(path).texts("train"), Corpus(path).texts("valid")) if path.is_dir() else _halves(path)
        self._train = tokenize(train, tokenizer, folder / "train")
        self._valid = tokenize(valid, tokenizer, folder / "valid")

    def beside(self, share: float, tokens_per_step: float, most_tokens: int) -> Replay:
        """The part to learn from.

        Args:
            share: in (0, 1).
            tokens_per_step: of the examples that are taught, on average.
            most_tokens: of a micro-batch.

        Raises:
            ConfigError: the share is less than one short sequence.
        """
        tokens = tokens_per_step * share / (1 - share)
        if tokens < SHORTEST:
            raise ConfigError(
                f"a share of {share:g} is {tokens:.1f} tokens beside the {tokens_per_step:.0f} of a step, "
                f"and text needs at least {SHORTEST}",
                where="replay_share",
                remedy="raise it or batch_size",
            )
        learning, examples = self._sequences(self._train, math.floor(min(tokens, _LONGEST)))
        return Replay(
            learning.objective,
            examples,
            share,
            learning.length,
            max(1.0, tokens / learning.length),
            max(1, most_tokens // learning.length),
        )

    def held_out(self, num_tokens: int) -> tuple[Objective[Any], Sequence[Any]]:
        """An objective, and sequences of the held-out part of up to `num_tokens` tokens for it."""
        learning, examples = self._sequences(self._valid, _LONGEST)
        count = max(1, min(examples.per_epoch, num_tokens // learning.length))
        return learning.objective, examples.batch(0, count)

    def _sequences(self, store: TokenStore, length: int) -> "tuple[Learning, Examples[Any]]":
        learning = learning_of(self._config(min(length, store.num_tokens)), self._tokenizer)
        return learning, learning.examples(PackedSequences(store, learning.length, self._seed))

    def _config(self, length: int) -> PretrainConfig:
        context: int = getattr(self._model, "context", length)
        return learning_config(self._model, self._tokenizer, min(length, context), self._seed)


def learning_config(model: Model, tokenizer: Tokenizer, length: int, seed: int) -> PretrainConfig:
    """The settings by which a model learns from plain text: as it would in `pretrain`.

    Raises:
        InputError: it has no output layer for text.
        ConfigError: its tokenizer has no tokens to hide text with.
    """
    arch: Arch
    if isinstance(model, Decoder):
        arch = "llama"
    elif isinstance(model, MaskedLM):
        arch = "bert"
    elif isinstance(model, EncoderDecoder):
        arch = "t5"
    else:
        raise InputError(
            f"a {model.config.model_type} model ({type(model).__name__}) has no output layer for text",
            where="replay",
            remedy="leave replay out, or teach a model that has one",
        )
    config = PretrainConfig(model=ShapeConfig(arch=arch), context_length=length, seed=seed)
    if equip(tokenizer, config) is not tokenizer:
        raise ConfigError(
            "the tokenizer has no tokens to hide text with (mask, or sentinels)",
            where="replay",
            remedy="leave replay out, or use a model that was pretrained with such tokens",
        )
    return config


def _halves(path: Path) -> tuple[Iterator[str], Iterator[str]]:
    """The texts of a file: those to learn from, and those held out."""
    reading = Reading(ReadOptions())
    texts = [
        document.text
        for source in resolve([str(path)]).sources
        for document in reader(source.reader).read(source, reading)
    ]
    if reading.problems:
        raise InputError(str(reading.problems[0]), where=path, remedy="correct the file")
    if len(texts) < _HELD_OUT:
        cuts = [len(text) - max(1, len(text) // _HELD_OUT) for text in texts]
        return (
            (text[:cut] for text, cut in zip(texts, cuts, strict=True)),
            (text[cut:] for text, cut in zip(texts, cuts, strict=True)),
        )
    return (
        (text for number, text in enumerate(texts) if number % _HELD_OUT),
        (text for number, text in enumerate(texts) if number % _HELD_OUT == 0),
    )
