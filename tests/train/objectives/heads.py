"""Tiny models about to be given a head, and what every such method must do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from inkstone.data.examples.records import Example
from inkstone.nn.models.base import Model
from inkstone.nn.models.masked_lm import BertForMaskedLM, MaskedLM, RobertaForMaskedLM
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train_subwords import train_word_pieces
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import Lesson, Method
from inkstone.train.teach import teach_settings
from tests.tiny_models import TEXTS, randomized, tiny_bert_config, tiny_model, tiny_tokenizer
from tests.train.objectives.lessons import Step, assert_same_step, step_of

Kind = Literal["encoder", "decoder"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder")
SENTENCES = (
    "The stone is wet; the ink is black.",
    "磨墨者先注水,然後慢慢研磨。",
    "筆走龍蛇",
    "the brush begins to write and the ink is black and the stone is wet",
    "墨",
    "The ink, 墨, is ground on the stone.",
)


def tiny_encoder(tokenizer: Tokenizer, *, roberta: bool = False) -> MaskedLM:
    config = tiny_bert_config(
        tokenizer.vocab_size,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **({"model_type": "roberta", "type_vocab_size": 1} if roberta else {}),
    )
    if roberta:
        return randomized(RobertaForMaskedLM(config), 1, spread=0.1)
    return randomized(BertForMaskedLM(config), 1, spread=0.1)


def word_pieces() -> Tokenizer:
    """WordPiece, `[CLS] … [SEP]`."""
    return train_word_pieces([*TEXTS, *SENTENCES] * 3, 300)


def lesson_of(kind: Kind | Model, out: Path = Path(), tokenizer: Tokenizer | None = None, **config: Any) -> Lesson:
    """A lesson about a tiny model: an encoder with WordPiece, or a decoder with byte-level BPE."""
    if kind == "encoder":
        tokenizer = tokenizer or word_pieces()
        model: Model = tiny_encoder(tokenizer)
    elif kind == "decoder":
        tokenizer = tokenizer or tiny_tokenizer()
        model = tiny_model(vocab_size=tokenizer.vocab_size)
    else:
        assert tokenizer is not None
        model = kind
    settings = FinetuneConfig(device="cpu", dtype="float32", **config)
    return Lesson(model, tokenizer, settings, teach_settings(settings, 8, packed=False), {}, out)


def prepared(method: Method[Any], lesson: Lesson, examples: Sequence[Example]) -> list[Any]:
    """The encodings of examples; the lesson's model has its head."""
    lesson.model = method.prepare(lesson, examples)
    with torch.no_grad():
        for name, parameter in lesson.model.named_parameters():
            if "pooler" in name or "score" in name or "classifier" in name or "qa_outputs" in name:
                parameter.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    encode = method.encoder(lesson)
    return [each for example in examples for each in encode(example)]


def step(method: Method[Any], lesson: Lesson, encoded: Sequence[Any], most_tokens: int = 1 << 20) -> Step:
    """One step as the loop computes it, without an update."""
    return step_of(method.objective(lesson, encoded), lesson.model, encoded, most_tokens)


def layout_changes_nothing(method: Method[Any], kind: Kind, examples: Sequence[Example], **config: Any) -> None:
    """Accumulation, grouping by length, order and padding side leave loss, gradient and metrics as they are."""
    lesson = lesson_of(kind, **config)
    encoded = prepared(method, lesson, examples)
    together = step(method, lesson, encoded)
    assert together[0] > 0.01
    assert any(gradient.abs().max() > 1e-4 for gradient in together[1].values())
    longest = max(each.length for each in encoded)
    for most_tokens in (1, 2 * longest):
        assert_same_step(step(method, lesson, encoded[::-1], most_tokens), together)
    lesson.config = lesson.config.model_copy(update={"padding_side": "left"})
    assert_same_step(step(method, lesson, encoded), together)
