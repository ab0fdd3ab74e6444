"""Writing the target of a source: translations, summaries, titles."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import SourceTarget, TokenSequence
from inkstone.data.examples.records import Example, Pair
from inkstone.nn.models.base import Decoder, EncoderDecoder, Model
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.taught import encode_source_target
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.base import Objective
from inkstone.train.objectives.settings import settings_of
from inkstone.train.objectives.sft import SupervisedFineTuning, cut_sequence
from inkstone.train.objectives.source_target import SequenceToSequence


def encode_target(tokenizer: Tokenizer, target: str) -> list[int]:
    """The ids that the decoder is to write, eos at the end.

    A tokenizer made for encoder–decoders, which adds eos itself, says what a target looks like; other tokenizers
    give the text, and eos follows.

    Raises:
        InputError: the tokenizer has no eos.
    """
    eos_id, tokenizer = tokenizer.eos_id, tokenizer.target
    if eos_id is None:
        raise InputError(
            "the tokenizer has no token that ends a text, so the model could not learn when to stop",
            remedy="name one in its tokenizer_config.json (eos_token)",
        )
    if eos_id in tokenizer.encode(""):
        return tokenizer.encode(target)
    return [*tokenizer.encode_rendered(target), eos_id]


def _writer(lesson: Lesson, _: Sequence[Example]) -> Model:
    """The model, where it writes texts."""
    if not isinstance(lesson.model, Decoder | EncoderDecoder):
        raise InputError(
            f"a {lesson.model.config.model_type} model ({type(lesson.model).__name__}) writes no text",
            where="model",
            remedy="use an encoder–decoder, such as a t5 or marian model, or a decoder",
        )
    return lesson.model


def _encoder(lesson: Lesson) -> Encode[Any]:
    tokenizer = lesson.tokenizer

    def for_encoder_decoder(example: Example) -> list[SourceTarget]:
        assert isinstance(example, Pair)
        with located(example.where):
            source = tokenizer.encode(example.source_text)
            if not source:
                raise InputError("the source has no tokens", remedy="leave out empty texts")
            target = encode_target(tokenizer, example.target_text)
            return [SourceTarget(np.asarray(source, dtype=np.int64), np.asarray(target, dtype=np.int64))]

    def for_decoder(example: Example) -> list[TokenSequence]:
        assert isinstance(example, Pair)
        with located(example.where):
            return [TokenSequence.of(*encode_source_target(tokenizer, example.source_text, example.target_text))]

    return for_encoder_decoder if isinstance(lesson.model, EncoderDecoder) else for_decoder


def _objective(lesson: Lesson, _: Sequence[Any]) -> Objective[Any]:
    config = settings_of(lesson, FinetuneConfig)
    if isinstance(lesson.model, EncoderDecoder):
        return SequenceToSequence(
            lesson.tokenizer.pad_id or 0, padding_side=config.padding_side, label_smoothing=config.label_smoothing
        )
    return SupervisedFineTuning(
        packed=config.packing, padding_side=config.padding_side, label_smoothing=config.label_smoothing
    )


def _cut(encoded: SourceTarget | TokenSequence, length: int) -> SourceTarget | TokenSequence:
    """The beginning of both texts; a source that ends with eos still does, a target does not: it goes on."""
    if isinstance(encoded, TokenSequence):
        return cut_sequence(encoded, length)
    source, target = encoded
    if len(source) > length and source[-1] == target[-1]:
        source = np.concatenate((source[: length - 1], source[-1:]))
    return SourceTarget(source[:length], target[:length])


PAIRS: Method[Any] = Method(
    "pairs", "finetune", ("pairs",), _encoder, _objective, cut=_cut, prepare=_writer, packs=False
)
