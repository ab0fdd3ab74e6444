"""Distillation: a student learns to say what its teacher says."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from inkstone.checkpoint.heads import with_head
from inkstone.core.errors import InputError
from inkstone.data.examples.encoded import LabeledSequence, SourceTarget, TaggedSequence, TokenSequence
from inkstone.data.examples.records import Chat, Completion, Example, LabeledSpans, LabeledText, Pair, PlainText
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Decoder, EncoderDecoder, Model
from inkstone.train.config_distill import DistillConfig
from inkstone.train.loop import Examples
from inkstone.train.method import Encode, Lesson, Method, method_named
from inkstone.train.objectives.base import Objective
from inkstone.train.objectives.distill_head import HeadDistillation, with_teacher_logits
from inkstone.train.objectives.distill_logits import LogitDistillation, Reading, Taught, with_likeliest_tokens
from inkstone.train.objectives.distill_on_policy import WithOwnAnswers
from inkstone.train.objectives.distill_teacher import load_teacher, outline, shared_tokenizer
from inkstone.train.objectives.headed import RowLayout
from inkstone.train.objectives.settings import settings_of
from inkstone.train.objectives.sft import SupervisedFineTuning
from inkstone.train.objectives.source_target import SequenceToSequence
from inkstone.train.order import shuffled

_OF_DECODERS: Mapping[type[Example], str] = {
    Chat: "chat",
    Completion: "chat",
    Pair: "pairs",
    PlainText: "text",
}
_OF_ENCODER_DECODERS: Mapping[type[Example], str] = {Pair: "pairs"}
_OF_HEADS: Mapping[str, Mapping[type[Example], str]] = {
    "sequence": {LabeledText: "classify"},
    "token": {LabeledSpans: "tokens"},
}
_CUT_AS = {TokenSequence: "chat", SourceTarget: "pairs", LabeledSequence: "classify", TaggedSequence: "tokens"}


def _prepare(lesson: Lesson, _: Sequence[Example]) -> Model:
    """The student, with a head like the teacher's where that has one; both have the teacher's tokenizer from now on."""
    teacher = outline(lesson)
    _methods(teacher)
    lesson.tokenizer = shared_tokenizer(lesson)
    student, config = lesson.model, settings_of(lesson, DistillConfig)
    if config.on_policy and not isinstance(teacher, Decoder):
        raise InputError(
            f"on_policy is for decoders, the teacher is a {type(teacher).__name__}", where="on_policy", remedy="set 0"
        )
    if isinstance(teacher, HeadedModel):
        return _with_head_of(teacher, student, config.seed)
    kind = Decoder if isinstance(teacher, Decoder) else EncoderDecoder
    if not isinstance(student, kind):
        raise InputError(
            f"the student is a {type(student).__name__}, the teacher a {type(teacher).__name__}",
            where="model",
            remedy="teach a student of the teacher's kind: decoder, encoder–decoder, or with a head",
        )
    return student


def _with_head_of(teacher: HeadedModel, student: Model, seed: int) -> HeadedModel:
    head = teacher.head_config
    if not isinstance(student, HeadedModel):
        return with_head(student, head, torch.Generator().manual_seed(seed))
    own = student.head_config
    if (own.kind, own.labels) != (head.kind, head.labels) or (own.kind == "sequence" and own.problem != head.problem):
        raise InputError(
            f"the student's head says {_described(student)}, the teacher's {_described(teacher)}",
            where="model",
            remedy="teach a student without a head: it is given one like the teacher's",
        )
    return student


def _described(model: HeadedModel) -> str:
    head = model.head_config
    return f"{head.kind} ({', '.join(head.labels)})"


def _methods(model: Model) -> Mapping[type[Example], str]:
    """Kind of example → the method of `finetune` by which such a model learns from it."""
    if isinstance(model, Decoder):
        return _OF_DECODERS
    if isinstance(model, EncoderDecoder):
        return _OF_ENCODER_DECODERS
    if isinstance(model, HeadedModel) and model.head_config.kind in _OF_HEADS:
        return _OF_HEADS[model.head_config.kind]
    raise InputError(
        f"a {type(model).__name__} cannot be distilled",
        where="teacher",
        remedy="use a decoder, an encoder–decoder, or a model that classifies texts or tokens",
    )


def _encoder(lesson: Lesson) -> Encode[Any]:
    methods = _methods(lesson.model)
    encoders: dict[str, Encode[Any]] = {}

    def encode(example: Example) -> Sequence[Any]:
        name = methods.get(type(example))
        if name is None:
            raise InputError(
                f"a {type(lesson.model).__name__} cannot learn from examples of the kind {type(example).__name__}",
                where=example.where,
                remedy=f"give examples of the kind {' or '.join(kind.__name__ for kind in methods)}",
            )
        if name not in encoders:
            encoders[name] = method_named(name, "finetune").encoder(lesson)
        return encoders[name](example)

    return encode


def _cut(encoded: Any, max_length: int) -> Any:
    cut = method_named(_CUT_AS[type(encoded)], "finetune").cut
    assert cut is not None
    return cut(encoded, max_length)


def _complete(lesson: Lesson, encoded: Sequence[Any], split: str) -> Sequence[Any]:
    config = settings_of(lesson, DistillConfig)
    if isinstance(lesson.model, HeadedModel):
        return with_teacher_logits(lesson, encoded, split)
    if config.top_k is None:
        return [Taught(each) for each in encoded]
    return with_likeliest_tokens(lesson, config, _reading(lesson), _vocab_size(lesson), encoded, split)


def _objective(lesson: Lesson, _: Sequence[Any]) -> Objective[Any]:
    config, model = settings_of(lesson, DistillConfig), lesson.model
    if isinstance(model, HeadedModel):
        return HeadDistillation(config, model.head_config, RowLayout.of(lesson))
    teacher: Any = load_teacher(lesson) if config.top_k is None else None
    return LogitDistillation(config, _reading(lesson), _vocab_size(lesson), teacher)


def _draw(lesson: Lesson, examples: Sequence[Any]) -> Examples[Any]:
    config, drawn = settings_of(lesson, DistillConfig), shuffled(lesson, examples)
    return WithOwnAnswers(drawn, lesson, config) if config.on_policy else drawn


def _reading(lesson: Lesson) -> Reading:
    config = lesson.config
    if isinstance(lesson.model, EncoderDecoder):
        return SequenceToSequence(lesson.tokenizer.pad_id or 0, padding_side=config.padding_side)
    return SupervisedFineTuning(packed=config.packing, padding_side=config.padding_side)


def _vocab_size(lesson: Lesson) -> int:
    """Logits that student and teacher both have; the matrix of one may be padded further than the other's."""
    return min(lesson.model.config.vocab_size, outline(lesson).config.vocab_size)


DISTILL = Method[Any](
    "distill",
    "distill",
    ("chat", "completion", "labels", "spans", "pairs", "text"),
    _encoder,
    _objective,
    cut=_cut,
    prepare=_prepare,
    complete=_complete,
    draw=_draw,
    packs=False,
)
