"""Texts that become other texts: translations, summaries, titles, code."""

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from inkstone.data.examples.records import Pair
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.words import is_ideographic, token_offsets
from inkstone.nn.models.base import Decoder, EncoderDecoder, Model

_SUMMARIES_ARE_SHORTER_THAN = 0.5
"""Of their sources, in words."""


class Write(BenchmarkTask[Pair]):
    """The target of a source."""

    name: ClassVar[str] = "translate"
    kind: ClassVar[Kind] = "texts"
    formats: ClassVar[tuple[str, ...]] = ("pairs",)
    baselines: ClassVar[tuple[str, ...]] = ("copy", "lead", "nearest")
    decoding: ClassVar[tuple[str, ...]] = ("max_new_tokens", "num_beams")

    def takes(self, model: Model) -> bool:
        """Whatever writes text."""
        return isinstance(model, EncoderDecoder | Decoder)

    def predict(self, subject: Subject, examples: Sequence[Pair]) -> list[str]:
        """What the model writes for each source."""
        from inkstone.tasks.translate import translate

        config = subject.config
        return translate(
            subject.model,
            subject.tokenizer,
            [example.source_text for example in examples],
            max_new_tokens=config.max_new_tokens,
            num_beams=config.num_beams,
            truncate=config.truncate,
        )

    def metrics(self, examples: Sequence[Pair]) -> tuple[str, ...]:
        """ROUGE first for summaries, BLEU for everything else."""
        overlap, translation = ("rougeL", "rouge1", "rouge2"), ("bleu", "chrf", "exact_match")
        return (*overlap, *translation) if _are_summaries(examples) else (*translation, *overlap)

    def reference(self, example: Pair) -> str:
        """The target."""
        return example.target_text

    def shown_input(self, example: Pair) -> str:
        """The source."""
        return example.source_text


def _are_summaries(examples: Sequence[Pair]) -> bool:
    """Whether targets are in the script of their sources and much shorter."""
    sources, targets = ([each.source_text for each in examples], [each.target_text for each in examples])
    if is_ideographic(sources) != is_ideographic(targets):
        return False
    lengths = [median(len(token_offsets(text)) for text in texts) for texts in (targets, sources)]
    return lengths[0] < _SUMMARIES_ARE_SHORTER_THAN * lengths[1]
