"""Learning on from plain texts, as each kind of model does."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import Ids, SourceTarget, TokenSequence
from inkstone.data.examples.records import Example, PlainText
from inkstone.data.masking import Masker, noise_of
from inkstone.data.noise import NoiseConfig
from inkstone.data.span_corruption import SpanCorruption, count_noise
from inkstone.data.tokens import framed
from inkstone.nn.models.base import Decoder, EncoderDecoder, Model
from inkstone.nn.models.masked_lm import MaskedLM
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.special import sentinel
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.loop import Examples
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.base import Objective
from inkstone.train.objectives.masked_lm import MaskedLanguageModeling
from inkstone.train.objectives.settings import settings_of
from inkstone.train.objectives.sft import SupervisedFineTuning
from inkstone.train.objectives.source_target import SequenceToSequence
from inkstone.train.order import shuffled

N = TypeVar("N")


class WholeText(NamedTuple):
    """Tokens of a text, or of a part of it, before something of it is hidden."""

    input_ids: Ids

    @property
    def length(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def num_targets(self) -> int:
        """All that can be hidden."""
        return self.length


class Hidden(Generic[N]):
    """Endless texts with something hidden, at random and otherwise each time one comes up; it depends on the seed."""

    def __init__(self, texts: Examples[WholeText], hide: "Hide[N]", seed: int) -> None:
        self.per_epoch = texts.per_epoch
        self._texts, self._hide, self._seed = texts, hide, seed

    def batch(self, start: int, size: int) -> Sequence[N]:
        """Texts `start` to `start + size`, counted over all epochs."""
        texts = self._texts.batch(start, size)
        return [self._hide(text.input_ids, noise_of(self._seed, start + n)) for n, text in enumerate(texts)]


Hide = Callable[[Ids, np.random.Generator], N]


def _model(lesson: Lesson, _: Sequence[Example]) -> Model:
    if not isinstance(lesson.model, Decoder | MaskedLM | EncoderDecoder):
        raise InputError(
            f"a {lesson.model.config.model_type} model ({type(lesson.model).__name__}) has no output layer for text",
            where="model",
            remedy="use a decoder, a masked language model or an encoder–decoder",
        )
    return lesson.model


def _encoder(lesson: Lesson) -> Encode[Any]:
    tokenizer, model = lesson.tokenizer, lesson.model
    if isinstance(model, Decoder):
        return lambda example: [
            TokenSequence.of(part, [True] * len(part))
            for part in _windows(framed(_ids(tokenizer, example), tokenizer), lesson.max_length, overlap=1)
        ]
    if isinstance(model, MaskedLM):
        before, after = _frame(tokenizer)
        room = lesson.max_length - len(before) - len(after)
    else:
        before, after = [] if tokenizer.bos_id is None else [tokenizer.bos_id], []
        noise = settings_of(lesson, FinetuneConfig).noise
        room = _longest_to_corrupt(tokenizer, noise, lesson.max_length) - len(before)

    def encode(example: Example) -> list[WholeText]:
        parts = _windows(_ids(tokenizer, example), room)
        return [WholeText(np.asarray(before + part + after, dtype=np.int64)) for part in parts]

    return encode


def _ids(tokenizer: Tokenizer, example: Example) -> list[int]:
    assert isinstance(example, PlainText)
    with located(example.where):
        ids = tokenizer.encode_plain(example.text)
        if len(ids) < _FEWEST:
            raise InputError(f"the text has {len(ids)} tokens", remedy=f"leave out texts of fewer than {_FEWEST}")
        return ids


_FEWEST = 2
"""Tokens, so that one of them can be told from the others."""


def _windows(ids: list[int], size: int, overlap: int = 0) -> list[list[int]]:
    """A text in parts of like length, at most `size`, each `overlap` tokens over the one before it."""
    step = size - overlap
    num_parts = max(1, -(-(len(ids) - overlap) // step))
    borders = np.linspace(0, len(ids) - overlap, num_parts + 1).round().astype(int).tolist()
    return [ids[start : end + overlap] for start, end in pairwise(borders)]


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What stands before and after a text for an encoder."""
    special, ids = tokenizer.special, tokenizer.special_tokens
    first, last = special.cls or special.bos, special.sep or special.eos
    return [ids[first]] if first in ids else [], [ids[last]] if last in ids else []


def _longest_to_corrupt(tokenizer: Tokenizer, noise: NoiseConfig, max_length: int) -> int:
    """Tokens of a text for whose spans there are sentinels, and that with them and eos fits."""
    num_sentinels = len(_sentinels(tokenizer))
    for length in range(max_length - 1, 3, -1):
        if count_noise(length, noise.density, noise.mean_span_length)[1] < num_sentinels:
            return length
    raise InputError(
        "the tokenizer has no sentinels (<extra_id_0> …), which stand for spans that are cut out of a text",
        where="model",
        remedy="use a model of `pretrain` or `initialize`, or a T5",
    )


def _sentinels(tokenizer: Tokenizer) -> list[int]:
    ids = list[int]()
    while (token := tokenizer.special_tokens.get(sentinel(len(ids)))) is not None:
        ids.append(token)
    return ids


def _hide(lesson: Lesson) -> Hide[Any]:
    """What a model that restores texts is given instead of a text."""
    tokenizer, noise = lesson.tokenizer, settings_of(lesson, FinetuneConfig).noise
    if isinstance(lesson.model, MaskedLM):
        if tokenizer.special.mask is None:
            raise InputError(
                "the tokenizer has no mask token", where="model", remedy="use a model of `pretrain` or `initialize`"
            )
        return Masker(tokenizer, noise.density, whole_words=noise.whole_words).mask
    corruption = SpanCorruption(
        _sentinels(tokenizer),
        tokenizer.eos_id,
        noise.density,
        noise.mean_span_length,
        whole_text=noise.restore == "text",
    )
    return lambda ids, random: SourceTarget(*corruption.corrupt(ids, random))


def _complete(lesson: Lesson, texts: Sequence[Any], split: str) -> Sequence[Any]:
    """Validation texts are hidden once, training texts when they are drawn."""
    if split == "train" or isinstance(lesson.model, Decoder):
        return texts
    hide = _hide(lesson)
    return [hide(text.input_ids, noise_of(lesson.config.seed, n)) for n, text in enumerate(texts)]


def _draw(lesson: Lesson, texts: Sequence[Any]) -> Examples[Any]:
    examples = shuffled(lesson, texts)
    if isinstance(lesson.model, Decoder):
        return examples
    return Hidden(examples, _hide(lesson), lesson.config.seed)


def _objective(lesson: Lesson, _: Sequence[Any]) -> Objective[Any]:
    config, pad_id = lesson.config, lesson.tokenizer.pad_id or 0
    if isinstance(lesson.model, Decoder):
        return SupervisedFineTuning(packed=config.packing, padding_side=config.padding_side)
    if isinstance(lesson.model, MaskedLM):
        first_position = lesson.model.config.first_position
        return MaskedLanguageModeling(pad_id, padding_side=config.padding_side, first_position=first_position)
    return SequenceToSequence(pad_id, padding_side=config.padding_side)


TEXT: Method[Any] = Method(
    "text",
    "finetune",
    ("text",),
    _encoder,
    _objective,
    prepare=_model,
    complete=_complete,
    draw=_draw,
    packs=False,
)
